"""Importance of layers, heads and MLP units by three methods, and models cut to a shape.

A shape has a number of layers, of query heads in each key-value group, and of MLP units. All layers of a shape have the same
widths, because a Hugging Face configuration knows only one. Hidden units are kept: on SmolLM2-135M they cost most for a weight.
"""
import copy
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM

METHODS = ("minitron", "wanda", "taylor")


@dataclass(frozen=True)
class Shape:
    layers: int
    heads: int  # query heads in each key-value group
    units: int

    def weights(self, config: LlamaConfig) -> int:
        """Returns the number of weights of a model of this shape. A head that is tied to the embedding counts once."""
        hidden, groups = config.hidden_size, config.num_key_value_heads
        head = hidden // config.num_attention_heads
        attention = 2 * hidden * groups * head * (self.heads + 1)
        ends = config.vocab_size * hidden * (1 if config.tie_word_embeddings else 2) + hidden
        return ends + self.layers * (attention + 3 * hidden * self.units + 2 * hidden)

    def as_dict(self) -> dict:
        return asdict(self)


@dataclass
class Importance:
    layers: torch.Tensor  # layers
    heads: torch.Tensor  # layers, groups, heads of a group
    units: torch.Tensor  # layers, units


def group_heads(config: LlamaConfig) -> int:
    """Returns the number of query heads in each key-value group of an intact model."""
    return config.num_attention_heads // config.num_key_value_heads


def shapes_for(config: LlamaConfig, target: int, by_depth: bool, multiple: int = 16) -> list[Shape]:
    """Returns the widest shape within the target for each depth with all heads, or else for each number of heads with all layers.
    At least half of the units are left, if layers may go."""
    found = []
    least = config.intermediate_size // (2 if by_depth else 8)
    for layers in range(config.num_hidden_layers, 0 if by_depth else config.num_hidden_layers - 1, -1):
        for heads in range(group_heads(config), group_heads(config) - 1 if by_depth else 0, -1):
            without = Shape(layers, heads, 0).weights(config)
            most = (target - without) // (3 * config.hidden_size * layers)
            units = min(config.intermediate_size, most // multiple * multiple)
            if least <= units and most < 1.1 * config.intermediate_size:
                found.append(Shape(layers, heads, units))
    return found


@contextmanager
def watched(pairs):
    """Calls a function with the input of each module as long as the context is open."""
    handles = [module.register_forward_pre_hook(lambda _, inputs, act=act: act(inputs[0])) for module, act in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def watch(model: LlamaForCausalLM, windows: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    """Runs windows through a model. Returns for each layer the mean size and the norm of its projections' inputs, and how much
    the whole layer turns its input (block importance: one less the mean cosine of input and output)."""
    layers = model.model.layers
    sizes = {key: [0.0] * len(layers) for key in ("units", "unit_norms", "heads", "head_norms", "mlp_norms", "turns")}

    def add(key, layer, values):
        sizes[key][layer] = sizes[key][layer] + values

    def sizes_of(key, norms, layer):
        def act(x):
            x = x.float().flatten(0, 1)
            add(key, layer, x.abs().sum(0))
            add(norms, layer, x.square().sum(0))
        return act

    pairs = []
    for index, layer in enumerate(layers):
        pairs += [(layer.mlp.down_proj, sizes_of("units", "unit_norms", index)),
                  (layer.self_attn.o_proj, sizes_of("heads", "head_norms", index)),
                  (layer.mlp.gate_proj, lambda x, index=index: add("mlp_norms", index, x.float().flatten(0, 1).square().sum(0)))]
    with watched(pairs):
        for window in windows:
            states = model.model(window[None], output_hidden_states=True).hidden_states
            for index in range(len(layers) - 1):  # the last state is behind the model's last norm, so the last layer is not judged
                turn = 1 - torch.cosine_similarity(states[index].float(), states[index + 1].float(), dim=-1)
                add("turns", index, turn.mean())
    sizes["turns"][-1] = torch.tensor(float("inf"))
    return sizes


def by_head(values: torch.Tensor, config: LlamaConfig) -> torch.Tensor:
    """Sums values of the inputs of the output projection over each head: groups, heads of a group."""
    return values.view(config.num_key_value_heads, group_heads(config), -1).sum(-1)


def importance_of(model: LlamaForCausalLM, windows: torch.Tensor, method: str) -> Importance:
    """Judges by a method: sizes of activations (minitron), weights times norms of inputs (wanda), weights times gradients (taylor)."""
    config = model.config
    seen = watch(model, windows)
    turns = torch.stack(seen["turns"])
    if method == "minitron":
        heads = [by_head(x, config) for x in seen["heads"]]
        return Importance(turns, torch.stack(heads), torch.stack(seen["units"]))
    heads, units = [], []
    if method == "taylor":
        model = gradients_of(model, windows)
    for index, layer in enumerate(model.model.layers):
        gate, up, down, out = (part.weight for part in (layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj,
                                                        layer.self_attn.o_proj))
        if method == "wanda":
            inputs = seen["mlp_norms"][index].sqrt()
            unit = (down.float().abs().sum(0) * seen["unit_norms"][index].sqrt()
                    + (gate.float().abs() + up.float().abs()) @ inputs)
            head = out.float().abs().sum(0) * seen["head_norms"][index].sqrt()
        else:
            change = [(w * w.grad).abs() for w in (gate, up, down, out)]
            unit = change[0].sum(1) + change[1].sum(1) + change[2].sum(0)
            head = change[3].sum(0)
        heads.append(by_head(head.detach(), config))
        units.append(unit.detach())
    return Importance(turns, torch.stack(heads), torch.stack(units))


def gradients_of(model: LlamaForCausalLM, windows: torch.Tensor) -> LlamaForCausalLM:
    """Returns a copy in f32 with the gradients of the language loss over all windows."""
    judged = copy.deepcopy(model).float().requires_grad_(True)
    for window in windows:
        judged(window[None], labels=window[None]).loss.backward()
    return judged


def kept_layers(turns: torch.Tensor, count: int, choice: str) -> list[int]:
    """Returns the layers that stay: all but the least important ones, or all but the run of layers that turns its input least."""
    gone = len(turns) - count
    if choice == "single" or gone == 0:
        return sorted(turns.topk(count).indices.tolist())
    first = min(range(len(turns) - gone), key=lambda at: turns[at:at + gone].sum().item())
    return [layer for layer in range(len(turns)) if not first <= layer < first + gone]


def cut(model: LlamaForCausalLM, shape: Shape, importance: Importance, choice: str) -> tuple[LlamaForCausalLM, list[int]]:
    """Returns a smaller model with the most important parts of a model, and the layers of the model that it kept."""
    kept = kept_layers(importance.layers, shape.layers, choice)
    config = copy.deepcopy(model.config)
    groups, size = config.num_key_value_heads, config.hidden_size // config.num_attention_heads
    config.head_dim = size
    config.num_hidden_layers, config.intermediate_size = shape.layers, shape.units
    config.num_attention_heads = groups * shape.heads
    source, tensors = model.state_dict(), {}
    for name in ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"):
        tensors[name] = source[name]
    for place, layer in enumerate(kept):
        units = importance.units[layer].topk(shape.units).indices.sort().values
        heads = importance.heads[layer].topk(shape.heads).indices.sort().values  # groups, heads of a group
        heads = (heads + torch.arange(groups)[:, None] * group_heads(model.config)).flatten()
        rows = (heads[:, None] * size + torch.arange(size)).flatten()
        for name, tensor in source.items():
            if not name.startswith(f"model.layers.{layer}."):
                continue
            part = name.removeprefix(f"model.layers.{layer}.")
            if part in ("mlp.gate_proj.weight", "mlp.up_proj.weight"):
                tensor = tensor[units]
            elif part == "mlp.down_proj.weight":
                tensor = tensor[:, units]
            elif part == "self_attn.q_proj.weight":
                tensor = tensor[rows]
            elif part == "self_attn.o_proj.weight":
                tensor = tensor[:, rows]
            tensors[f"model.layers.{place}.{part}"] = tensor
    with torch.device("meta"):
        smaller = LlamaForCausalLM(config)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    smaller.load_state_dict(tensors, strict=True, assign=True)
    smaller.tie_weights()
    smaller.model.rotary_emb = copy.deepcopy(model.model.rotary_emb)
    return smaller.eval(), kept
