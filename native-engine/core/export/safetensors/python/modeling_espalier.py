"""A model whose layers differ in width, as Espalier writes it.

config.json's `espalier` object holds the widths of each layer, and in `computation` how the layers of its architecture compute. Attention heads, MLP units and hidden units that were pruned are
gone; a layer may have no attention or no MLP at all.

`EspalierDecoder` needs nothing but torch. `EspalierCompactedForCausalLM` around it is for transformers (`trust_remote_code=True`).
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


def fact(config, name):
    """How the architecture computes, as config.json says it."""
    return config.espalier["computation"][name]


class RMSNorm(nn.Module):
    def __init__(self, width, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = config.rms_norm_eps
        self.offset = fact(config, "norm_offset")

    def forward(self, x):
        h = x.float()
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + self.eps)
        return ((self.weight + self.offset) * h).to(x.dtype)


def rope_scaling_of(config):
    parameters = getattr(config, "rope_parameters", None) or {}
    parameters = parameters.get("full_attention") or parameters
    return parameters, getattr(config, "rope_scaling", None) or parameters


def rotary_frequencies(config):
    """The angle of each pair of a head's dimensions per position; plain, linear, llama3 and yarn scaling."""
    parameters, scaling = rope_scaling_of(config)
    theta = parameters.get("rope_theta") or getattr(config, "rope_theta", None) or fact(config, "absent_rope_theta")
    d = config.head_dim
    frequency = 1.0 / theta ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "linear":
        frequency = frequency / scaling["factor"]
    elif kind == "llama3":
        turns = scaling["original_max_position_embeddings"] * frequency / (2 * math.pi)
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        kept = ((turns - low) / (high - low)).clamp(0, 1)
        frequency = kept * frequency + (1 - kept) * frequency / scaling["factor"]
    elif kind == "yarn":
        length = scaling.get("original_max_position_embeddings") or config.max_position_embeddings
        fast, slow = scaling.get("beta_fast") or 32, scaling.get("beta_slow") or 1
        first, last = (d * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta)) for turns in (fast, slow))
        if scaling.get("truncate", True):
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, d - 1)
        ramp = ((torch.arange(d // 2).double() - first) / ((last - first) or 0.001)).clamp(0, 1)
        frequency = (1 - ramp) * frequency + ramp * frequency / scaling["factor"]
    return frequency


def local_frequencies(config):
    """The same for the layers that config.json lists as those with a sliding window."""
    parameters = (getattr(config, "rope_parameters", None) or {}).get("sliding_attention") or {}
    theta = parameters.get("rope_theta") or getattr(config, "rope_local_base_freq", None) or 10000.0
    return 1.0 / theta ** (torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim)


def attention_factor(config):
    """By which queries and keys are multiplied when they are turned."""
    _, scaling = rope_scaling_of(config)
    if scaling.get("rope_type", scaling.get("type", "default")) != "yarn":
        return 1.0
    if scaling.get("attention_factor") is not None:
        return scaling["attention_factor"]

    def of(scale):
        return 0.1 * scale * math.log(scaling["factor"]) + 1 if scaling["factor"] > 1 else 1.0

    scale, every = scaling.get("mscale"), scaling.get("mscale_all_dim")
    return of(scale) / of(every) if scale and every else of(1)


def rotate(x, angles, factor):
    cos, sin = (angles.cos() * factor).to(x.dtype), (angles.sin() * factor).to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def cap_of(config, key, absent):
    """The largest magnitude of scores or logits in architectures that cap them; None: no cap."""
    return getattr(config, key, absent) if fact(config, "caps") else None


def capped(x, cap):
    return torch.tanh(x / cap) * cap if cap else x


class Attention(nn.Module):
    def __init__(self, config, widths, cache_index, rotary):
        super().__init__()
        self.head_dim = config.head_dim
        self.rotary, self.factor = rotary, attention_factor(config)
        self.score_scale = multiplier(config, "attention_multiplier", None)
        if fact(config, "score_divisor"):
            self.score_scale = getattr(config, "query_pre_attn_scalar", 256) ** -0.5
        self.score_cap = cap_of(config, "attn_logit_softcapping", 50.0)
        self.cache_index = cache_index
        self.kv_of_query = list(widths["query_to_kv"])
        queries, kv = widths["num_attention_heads"] * self.head_dim, widths["num_key_value_heads"] * self.head_dim
        bias = fact(config, "qkv_bias")
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, kv, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, kv, bias=bias)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=False)
        self.whole_norms = fact(config, "whole_norms")  # of all heads together
        if fact(config, "head_norms"):
            self.q_norm = RMSNorm(queries if self.whole_norms else self.head_dim, config)
            self.k_norm = RMSNorm(kv if self.whole_norms else self.head_dim, config)
        else:
            self.q_norm = self.k_norm = nn.Identity()

    def heads(self, x):
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def forward(self, x, angles, mask, cache):
        q, k, v = self.q_proj(x), self.k_proj(x), self.heads(self.v_proj(x))
        if self.whole_norms:
            q, k = self.heads(self.q_norm(q)), self.heads(self.k_norm(k))
        else:
            q, k = self.q_norm(self.heads(q)), self.k_norm(self.heads(k))
        if self.rotary:
            q, k = rotate(q, angles, self.factor), rotate(k, angles, self.factor)
        if cache is not None:
            k, v = cache.update(k, v, self.cache_index)
        k, v = k[:, self.kv_of_query], v[:, self.kv_of_query]
        if self.score_cap:
            scores = capped((q @ k.transpose(-1, -2)) * self.score_scale, self.score_cap).masked_fill(~mask, float("-inf"))
            h = scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v
        else:
            h = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.score_scale)
        return self.o_proj(h.transpose(1, 2).flatten(-2))


class MLP(nn.Module):
    def __init__(self, config, width):
        super().__init__()
        self.gelu = fact(config, "gelu")
        self.gate_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.down_proj = nn.Linear(width, config.hidden_size, bias=False)

    def forward(self, x):
        gate = self.gate_proj(x)
        return self.down_proj((F.gelu(gate, approximate="tanh") if self.gelu else F.silu(gate)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config, widths, cache_index, rotary):
        super().__init__()
        self.residual_multiplier = multiplier(config, "residual_multiplier")
        # In front of attention and MLP, and behind them; the names are those of each architecture's files.
        before, behind = fact(config, "pre_norms"), fact(config, "post_norms")
        mlp_norm = "pre_feedforward_layernorm" if behind else "post_attention_layernorm"
        names = [*(["input_layernorm", mlp_norm] if before else []), *(["post_attention_layernorm", "post_feedforward_layernorm"] if behind else [])]
        for name in names:
            setattr(self, name, RMSNorm(config.hidden_size, config))
        self.norms_before = [getattr(self, name) for name in names[:2]] if before else [nn.Identity()] * 2
        self.norms_behind = [getattr(self, name) for name in names[-2:]] if behind else [nn.Identity()] * 2
        self.self_attn = Attention(config, widths, cache_index, rotary) if widths["num_attention_heads"] > 0 else None
        self.mlp = MLP(config, widths["intermediate_size"]) if widths["intermediate_size"] > 0 else None

    def forward(self, x, angles, mask, cache):
        if self.self_attn is not None:
            x = x + self.norms_behind[0](self.self_attn(self.norms_before[0](x), angles, mask, cache)) * self.residual_multiplier
        if self.mlp is not None:
            x = x + self.norms_behind[1](self.mlp(self.norms_before[1](x))) * self.residual_multiplier
        return x


class EspalierDecoder(nn.Module):
    """Token ids to hidden states, divided as logits are. `config` is anything with the fields of config.json as attributes."""

    def __init__(self, config):
        super().__init__()
        self.window = window_of(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        layers, attention_count = [], 0
        rotary = rotary_layers(config)
        for index, widths in enumerate(config.espalier["layers"]):
            layers.append(Layer(config, widths, attention_count, rotary[index]))
            attention_count += widths["num_attention_heads"] > 0
        self.layers = nn.ModuleList(layers)
        self.norm = RMSNorm(config.hidden_size, config)
        self.slides = sliding_layers(config)
        self.config = config

    def forward(self, input_ids=None, inputs_embeds=None, padding_mask=None, positions=None, past=0, cache=None):
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        x = x * (math.sqrt(self.config.hidden_size) if fact(self.config, "scaled_embeddings") else multiplier(self.config, "embedding_multiplier"))
        tokens = x.shape[1]
        here = torch.arange(past, past + tokens, device=x.device)
        if positions is None:
            positions = here[None]
        places = positions[:, None, :, None].double()
        angles = local = places * rotary_frequencies(self.config).to(x.device)
        if fact(self.config, "local_rope"):
            local = places * local_frequencies(self.config).to(x.device)
        there = torch.arange(past + tokens, device=x.device)
        full = there[None] <= here[:, None]
        within = full & (there[None] > here[:, None] - self.window) if self.window else full

        def padded(mask):
            mask = mask[None, None]
            if padding_mask is None:
                return mask
            # A query in the padding reads itself, so that no row is empty.
            return (mask & padding_mask[:, None, None, :].bool()) | (there[None] == here[:, None])[None, None]

        full, within = padded(full), padded(within)
        for layer, slides in zip(self.layers, self.slides):
            x = layer(x, local if slides else angles, within if slides else full, cache)
        return self.norm(x) / multiplier(self.config, "logits_scaling")


def multiplier(config, key, other=1.0):
    """A constant of an architecture that has multipliers; `other` in all other models."""
    return getattr(config, key, 1.0) if fact(config, "multipliers") else other


def rotary_layers(config):
    """For each layer whether it turns queries and keys."""
    count = len(config.espalier["layers"])
    if not fact(config, "rotary_by_layer"):
        return [True] * count
    interval = getattr(config, "no_rope_layer_interval", 4) or 4
    listed = getattr(config, "no_rope_layers", None)
    return [bool(one) for one in listed] if listed else [(index + 1) % interval != 0 for index in range(count)]


def sliding_layers(config):
    """For each layer whether its queries read back no further than the window."""
    count = len(config.espalier["layers"])
    if fact(config, "window") != "listed":
        return [True] * count
    return [kind == "sliding_attention" for kind in config.layer_types]


def window_of(config):
    """Tokens that a query reads back; 0: all."""
    said, absent = fact(config, "window"), fact(config, "absent_window")
    if said == "none":
        return 0
    if said == "listed":
        return getattr(config, "sliding_window", absent) or 0
    switched = said == "switched"
    if switched and not getattr(config, "use_sliding_window", False):
        return 0
    kinds = getattr(config, "layer_types", None)
    if kinds:
        slides = kinds[0] == "sliding_attention"
    else:
        slides = not switched or getattr(config, "max_window_layers", 28) == 0
    return (getattr(config, "sliding_window", absent) or 0) if slides else 0


try:
    from transformers import GenerationMixin, PreTrainedModel
    from transformers.cache_utils import DynamicCache
    from transformers.modeling_outputs import CausalLMOutputWithPast

    from .configuration_espalier import EspalierCompactedConfig
except ImportError:
    PreTrainedModel = None

if PreTrainedModel is not None:
    # Newer versions of transformers name the keys and values of earlier tokens cache, and warn of the older name.
    CACHE = "cache" if "cache" in getattr(CausalLMOutputWithPast, "__dataclass_fields__", {}) else "past_key_values"

    class EspalierCompactedForCausalLM(PreTrainedModel, GenerationMixin):
        config_class = EspalierCompactedConfig
        base_model_prefix = "model"
        _no_split_modules = ["Layer"]  # for device_map="auto": a layer adds to what it was given, so it lies on one device
        _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

        def __init__(self, config):
            super().__init__(config)
            self.model = EspalierDecoder(config)
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
            self.post_init()

        def get_input_embeddings(self):
            return self.model.embed_tokens

        def set_input_embeddings(self, value):
            self.model.embed_tokens = value

        def get_output_embeddings(self):
            return self.lm_head

        def set_output_embeddings(self, value):
            self.lm_head = value

        def forward(
            self,
            input_ids=None,
            attention_mask=None,
            position_ids=None,
            past_key_values=None,
            inputs_embeds=None,
            labels=None,
            use_cache=None,
            logits_to_keep=0,
            cache=None,
            **_,
        ):
            cache = past_key_values if cache is None else cache
            # A cache by config.json forgets tokens outside a layer's window. But layers without attention have no place in the cache, so a
            # layer that sees all tokens could get the place of one with a window.
            forgets = cache is not None and cache.get_seq_length() == 0 and any(getattr(cache, "is_sliding", ()))
            if forgets or (use_cache and cache is None):
                cache = DynamicCache()
            past = 0 if cache is None else cache.get_seq_length()
            h = self.model(input_ids, inputs_embeds, attention_mask, position_ids, past, cache)
            logits = self.lm_head(h[:, -logits_to_keep:] if logits_to_keep else h)
            logits = capped(logits, cap_of(self.config, "final_logit_softcapping", 30.0))
            loss = None
            if labels is not None:
                loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100)
            return CausalLMOutputWithPast(loss=loss, logits=logits, **{CACHE: cache})
