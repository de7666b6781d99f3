#!/usr/bin/env python3
"""Evaluates an exported Hugging Face folder with PyTorch, by code that shares nothing with Espalier's engine.

    evaluate.py FOLDER < request      a line of JSON: {"window": N, "ids": [...]}
    --exit-with-stdin                 gives up when the input ends, which the asking process keeps open

Prints one JSON object: the mean negative log-likelihood over windows of token ids; one that is not finite is written as
its name ("NaN", "Infinity"). Folders that bring a class of their own
(`modeling_espalier.py`) are run by it; others by the stock semantics of the architectures below, written here.
Ends with status 3 where there is no PyTorch.
"""

import importlib.util
import json
import math
import os
import sys
import threading
from types import SimpleNamespace

try:
    import torch
    from torch.nn import functional as F
except ImportError:
    sys.exit(3)

# How each architecture computes in transformers. A fact that a row lacks has the value of USUAL.
USUAL = {
    "head_dim": None,  # where config.json has none; None: hidden_size / num_attention_heads
    "theta": 10000.0,
    "tied": False,
    "fused": False,  # q, k and v lie in one tensor, and gate and up in another
    "head_norms": False,
    "whole_norms": False,  # of all heads together
    "pre_norms": True,
    "post_norms": False,
    "norm_offset": 0,
    "gelu": False,
    "scaled_embeddings": False,
    "score_divisor": False,
    "caps": False,  # of scores and logits
    "local_rope": False,  # layers with a window turn by rope_local_base_freq
    "pattern": None,  # all layers but every N-th have the window, where config.json does not list them
    "rotary_by_layer": False,
    "multipliers": False,
    "window": None,  # "number", "switched" (use_sliding_window) or "listed" (layer_types)
    "absent_window": None,
}
ARCHITECTURES = {
    "LlamaForCausalLM": {},
    "MistralForCausalLM": {"window": "number", "absent_window": 4096},
    "Qwen2ForCausalLM": {"window": "switched"},
    "Qwen3ForCausalLM": {"window": "switched", "head_dim": 128, "head_norms": True},
    "SmolLM3ForCausalLM": {"theta": 2000000.0, "tied": True, "rotary_by_layer": True},
    "GraniteForCausalLM": {"multipliers": True},
    "Phi3ForCausalLM": {"window": "number", "fused": True},
    "GemmaForCausalLM": {"head_dim": 256, "tied": True, "norm_offset": 1, "gelu": True, "scaled_embeddings": True},
    "Gemma2ForCausalLM": {
        "window": "listed", "absent_window": 4096, "pattern": 2, "head_dim": 256, "tied": True, "post_norms": True, "norm_offset": 1,
        "gelu": True, "scaled_embeddings": True, "score_divisor": True, "caps": True,
    },
    "Gemma3ForCausalLM": {
        "window": "listed", "pattern": 6, "local_rope": True, "head_dim": 256, "theta": 1000000.0, "tied": True, "head_norms": True,
        "post_norms": True, "norm_offset": 1, "gelu": True, "scaled_embeddings": True, "score_divisor": True,
    },
    "Olmo2ForCausalLM": {"head_norms": True, "whole_norms": True, "pre_norms": False, "post_norms": True},
}

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def read_file(path):
    with open(path, "rb") as file:
        data = bytearray(file.read())
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, end = (8 + length + offset for offset in entry["data_offsets"])
        flat = torch.frombuffer(data, dtype=torch.uint8, count=end - first, offset=first).clone()
        tensors[name] = flat.view(DTYPES[entry["dtype"]]).reshape(entry["shape"]).float()
    return tensors


def read_weights(folder):
    index = os.path.join(folder, "model.safetensors.index.json")
    if not os.path.exists(index):
        return read_file(os.path.join(folder, "model.safetensors"))
    with open(index) as file:
        names = sorted(set(json.load(file)["weight_map"].values()))
    return {key: value for name in names for key, value in read_file(os.path.join(folder, name)).items()}


def capped(x, cap):
    return torch.tanh(x / cap) * cap if cap else x


class StockModel:
    """What transformers computes for the ForCausalLM of an architecture."""

    def __init__(self, config, weights):
        self.config, self.weights = config, weights
        heads, hidden = config["num_attention_heads"], config["hidden_size"]
        if config["architectures"] == ["LlamaForCausalLM"] and hidden % heads != 0:
            raise ValueError(f"transformers refuses a hidden size of {hidden} with {heads} heads")
        self.kind = config["architectures"][0]
        self.facts = SimpleNamespace(**USUAL | ARCHITECTURES[self.kind])
        self.d = config.get("head_dim") or self.facts.head_dim or hidden // heads
        self.heads, self.kv = heads, config.get("num_key_value_heads") or heads

    def linear(self, x, name):
        return F.linear(x, self.weights[name + ".weight"], self.weights.get(name + ".bias"))

    def norm(self, x, name):
        weight = self.facts.norm_offset + self.weights[name]
        return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.config["rms_norm_eps"])

    def scaling(self):
        return self.config.get("rope_scaling") or self.config.get("rope_parameters") or {}

    def yarn(self, frequency, theta):
        scaling = self.scaling()
        length = scaling.get("original_max_position_embeddings") or self.config["max_position_embeddings"]

        def dimension(rotations):
            return self.d * math.log(length / (rotations * 2 * math.pi)) / (2 * math.log(theta))

        low, high = dimension(scaling.get("beta_fast") or 32), dimension(scaling.get("beta_slow") or 1)
        if scaling.get("truncate", True):
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, self.d - 1)
        if low == high:
            high += 0.001
        out = []
        for pair, f in enumerate(frequency.tolist()):
            extrapolated = 1 - min(1.0, max(0.0, (pair - low) / (high - low)))
            out.append(f / scaling["factor"] * (1 - extrapolated) + f * extrapolated)
        return torch.tensor(out).double()

    def attention_factor(self):
        scaling = self.scaling()
        if scaling.get("rope_type", scaling.get("type")) != "yarn":
            return 1.0
        if scaling.get("attention_factor") is not None:
            return scaling["attention_factor"]
        factor, mscale, all_dim = scaling["factor"], scaling.get("mscale"), scaling.get("mscale_all_dim")

        def get(by):
            return 1.0 if factor <= 1 else 0.1 * by * math.log(factor) + 1.0

        return get(mscale) / get(all_dim) if mscale and all_dim else get(1)

    def turns(self, layer):
        if not self.facts.rotary_by_layer:
            return True
        listed = self.config.get("no_rope_layers")
        return bool(listed[layer]) if listed else (layer + 1) % self.config.get("no_rope_layer_interval", 4) != 0

    def slides(self, layer):
        """Whether a layer has the sliding window, where config.json lists these."""
        kinds = self.config.get("layer_types")
        if kinds:
            return kinds[layer] == "sliding_attention"
        return bool((layer + 1) % self.config.get("sliding_window_pattern", self.facts.pattern))

    def local_frequencies(self):
        return 1.0 / self.config.get("rope_local_base_freq", 10000.0) ** (torch.arange(0, self.d, 2).double() / self.d)

    def frequencies(self):
        scaling = self.scaling()
        theta = scaling.get("rope_theta", self.config.get("rope_theta", self.facts.theta))
        frequency = 1.0 / theta ** (torch.arange(0, self.d, 2).double() / self.d)
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind == "linear":
            return frequency / scaling["factor"]
        if kind == "yarn":
            return self.yarn(frequency, theta)
        if kind != "llama3":
            return frequency
        length, factor = scaling["original_max_position_embeddings"], scaling["factor"]
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        out = []
        for f in frequency.tolist():
            wavelength = 2 * math.pi / f
            if wavelength < length / high:
                out.append(f)
            elif wavelength > length / low:
                out.append(f / factor)
            else:
                smooth = (length / wavelength - low) / (high - low)
                out.append((1 - smooth) * f / factor + smooth * f)
        return torch.tensor(out).double()

    def mask(self, tokens, layer):
        config = self.config
        mask = torch.ones(tokens, tokens, dtype=torch.bool).tril()
        window, said = config.get("sliding_window", self.facts.absent_window), self.facts.window
        slides = said == "number" or (said == "listed" and self.slides(layer)) or (
            said == "switched" and config.get("use_sliding_window") and config.get("max_window_layers", 28) == 0
        )
        return mask & ~mask.tril(-window) if slides and window else mask

    def __call__(self, ids):
        hidden = self.config["hidden_size"]
        facts, scaled = self.facts, self.facts.multipliers
        by = {key: self.config.get(key, 1.0) if scaled else 1.0 for key in ("embedding_multiplier", "residual_multiplier", "logits_scaling")}
        score_scale = self.config.get("attention_multiplier", 1.0) if scaled else 1 / math.sqrt(self.d)
        if facts.score_divisor:
            score_scale = self.config.get("query_pre_attn_scalar", 256) ** -0.5
        if facts.scaled_embeddings:
            by["embedding_multiplier"] = math.sqrt(hidden)
        x = self.weights["model.embed_tokens.weight"][ids] * by["embedding_multiplier"]
        tokens = len(ids)

        def table(frequencies, factor):
            angles = torch.outer(torch.arange(tokens).double(), frequencies)
            return tuple(torch.cat([of] * 2, -1).mul(factor).float() for of in (angles.cos(), angles.sin()))

        usual = table(self.frequencies(), self.attention_factor())
        local = table(self.local_frequencies(), 1.0) if facts.local_rope else usual
        score_cap = self.config.get("attn_logit_softcapping", 50.0) if facts.caps else None
        logits_cap = self.config.get("final_logit_softcapping", 30.0) if facts.caps else None

        def split(y, heads):
            return y.view(tokens, heads, self.d).transpose(0, 1)

        def position(y, layer, norm):
            if facts.head_norms and not facts.whole_norms:
                y = self.norm(y, f"model.layers.{layer}.self_attn.{norm}.weight")
            if not self.turns(layer):
                return y
            half = self.d // 2
            cos, sin = local if facts.local_rope and self.slides(layer) else usual
            return y * cos + torch.cat((-y[..., half:], y[..., :half]), -1) * sin

        for layer in range(self.config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            mask = self.mask(tokens, layer)
            h = self.norm(x, prefix + "input_layernorm.weight") if facts.pre_norms else x
            if facts.fused:
                sizes = [heads * self.d for heads in (self.heads, self.kv, self.kv)]
                q, k, v = self.linear(h, prefix + "self_attn.qkv_proj").split(sizes, -1)
            else:
                q, k, v = (self.linear(h, f"{prefix}self_attn.{part}_proj") for part in "qkv")
            if facts.whole_norms:
                q, k = self.norm(q, prefix + "self_attn.q_norm.weight"), self.norm(k, prefix + "self_attn.k_norm.weight")
            q = position(split(q, self.heads), layer, "q_norm")
            k = position(split(k, self.kv), layer, "k_norm").repeat_interleave(self.heads // self.kv, 0)
            v = split(v, self.kv).repeat_interleave(self.heads // self.kv, 0)
            scores = capped(q @ k.transpose(-1, -2) * score_scale, score_cap).masked_fill(~mask, float("-inf"))
            h = (scores.softmax(-1) @ v).transpose(0, 1).reshape(tokens, -1)
            h = self.linear(h, prefix + "self_attn.o_proj")
            if facts.post_norms:
                x = x + self.norm(h, prefix + "post_attention_layernorm.weight")
                h = self.norm(x, prefix + "pre_feedforward_layernorm.weight") if facts.pre_norms else x
            else:
                x = x + h * by["residual_multiplier"]
                h = self.norm(x, prefix + "post_attention_layernorm.weight")
            if facts.fused:
                gate, up = self.linear(h, prefix + "mlp.gate_up_proj").chunk(2, -1)
            else:
                gate, up = self.linear(h, prefix + "mlp.gate_proj"), self.linear(h, prefix + "mlp.up_proj")
            h = self.linear((F.gelu(gate, approximate="tanh") if facts.gelu else F.silu(gate)) * up, prefix + "mlp.down_proj")
            if facts.post_norms:
                x = x + self.norm(h, prefix + "post_feedforward_layernorm.weight")
            else:
                x = x + h * by["residual_multiplier"]
        x = self.norm(x, "model.norm.weight")
        tied = self.config.get("tie_word_embeddings", facts.tied)
        logits = F.linear(x, self.weights["model.embed_tokens.weight" if tied else "lm_head.weight"]) / by["logits_scaling"]
        return capped(logits, logits_cap)


class OwnModel:
    """The class that the folder brings."""

    def __init__(self, folder, config, weights):
        spec = importlib.util.spec_from_file_location("modeling_espalier", os.path.join(folder, "modeling_espalier.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.decoder = module.EspalierDecoder(SimpleNamespace(**config))
        body = {name.removeprefix("model."): value for name, value in weights.items() if name.startswith("model.")}
        self.decoder.load_state_dict(body)
        self.head = body["embed_tokens.weight"] if config.get("tie_word_embeddings") else weights["lm_head.weight"]
        caps = config["espalier"]["computation"].get("caps")
        self.cap = config.get("final_logit_softcapping", 30.0) if caps else None

    def __call__(self, ids):
        return capped(F.linear(self.decoder(ids[None])[0], self.head), self.cap)


def exit_with_stdin():
    while os.read(0, 1 << 16):  # not through sys.stdin, whose lock would be missed when Python ends
        pass
    os._exit(1)


def number_or_name(value):
    """JSON knows no NaN and no infinity: these go by their names."""
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


@torch.no_grad()
def main():
    folder = sys.argv[1]
    request = json.loads(sys.stdin.readline())
    if "--exit-with-stdin" in sys.argv[2:]:
        threading.Thread(target=exit_with_stdin, daemon=True).start()
    if request.get("threads"):
        torch.set_num_threads(request["threads"])
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    weights = read_weights(folder)
    own = os.path.exists(os.path.join(folder, "modeling_espalier.py"))
    model = OwnModel(folder, config, weights) if own else StockModel(config, weights)
    total, predictions = 0.0, 0
    ids, window = request["ids"], request["window"]
    for start in range(0, len(ids) - window + 1, window):
        tokens = torch.tensor(ids[start : start + window])
        logits = model(tokens)[:-1].double()
        total += F.cross_entropy(logits, tokens[1:], reduction="sum").item()
        predictions += window - 1
    kind = config["architectures"][0].removesuffix("ForCausalLM").replace("Llama", "LLaMA")
    name = f"modeling_espalier.py (PyTorch {torch.__version__})" if own else f"stock {kind} in PyTorch {torch.__version__}"
    print(json.dumps({"loader": name, "negativeLogLikelihood": number_or_name(total / predictions), "predictions": predictions}))


main()
