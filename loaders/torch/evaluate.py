#!/usr/bin/env python3
"""Evaluates an exported Hugging Face folder with PyTorch, by code that shares nothing with Espalier's engine.

    evaluate.py FOLDER < request      a JSON object: {"window": N, "ids": [...]}

Prints one JSON object: the mean negative log-likelihood over windows of token ids. Folders that bring a class of their own
(`modeling_espalier.py`) are run by it; others by the stock semantics of LLaMA, Mistral and Qwen2, written here. Ends with
status 3 where there is no PyTorch.
"""

import importlib.util
import json
import math
import os
import sys
from types import SimpleNamespace

try:
    import torch
    from torch.nn import functional as F
except ImportError:
    sys.exit(3)

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


class StockModel:
    """What transformers' LlamaForCausalLM, MistralForCausalLM and Qwen2ForCausalLM compute."""

    def __init__(self, config, weights):
        self.config, self.weights = config, weights
        heads, hidden = config["num_attention_heads"], config["hidden_size"]
        if config["architectures"] == ["LlamaForCausalLM"] and hidden % heads != 0:
            raise ValueError(f"transformers refuses a hidden size of {hidden} with {heads} heads")
        self.d = config.get("head_dim") or hidden // heads
        self.heads, self.kv = heads, config.get("num_key_value_heads") or heads

    def linear(self, x, name):
        return F.linear(x, self.weights[name + ".weight"], self.weights.get(name + ".bias"))

    def norm(self, x, name):
        return self.weights[name] * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.config["rms_norm_eps"])

    def frequencies(self):
        scaling = self.config.get("rope_scaling") or self.config.get("rope_parameters") or {}
        theta = scaling.get("rope_theta", self.config.get("rope_theta", 10000.0))
        frequency = 1.0 / theta ** (torch.arange(0, self.d, 2).double() / self.d)
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind == "linear":
            return frequency / scaling["factor"]
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

    def mask(self, tokens):
        config = self.config
        mask = torch.ones(tokens, tokens, dtype=torch.bool).tril()
        kind = config["architectures"][0]
        window = config.get("sliding_window", 4096 if kind == "MistralForCausalLM" else None)
        slides = kind == "MistralForCausalLM" or (
            kind == "Qwen2ForCausalLM" and config.get("use_sliding_window") and config.get("max_window_layers", 28) == 0
        )
        return mask & ~mask.tril(-window) if slides and window else mask

    def __call__(self, ids):
        x = self.weights["model.embed_tokens.weight"][ids]
        tokens = len(ids)
        angles = torch.outer(torch.arange(tokens).double(), self.frequencies())
        cos, sin = torch.cat([angles.cos()] * 2, -1).float(), torch.cat([angles.sin()] * 2, -1).float()

        def split(y, heads):
            return y.view(tokens, heads, self.d).transpose(0, 1)

        def rotate(y):
            half = self.d // 2
            return y * cos + torch.cat((-y[..., half:], y[..., :half]), -1) * sin

        mask = self.mask(tokens)
        for layer in range(self.config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            h = self.norm(x, prefix + "input_layernorm.weight")
            q = rotate(split(self.linear(h, prefix + "self_attn.q_proj"), self.heads))
            k = rotate(split(self.linear(h, prefix + "self_attn.k_proj"), self.kv)).repeat_interleave(self.heads // self.kv, 0)
            v = split(self.linear(h, prefix + "self_attn.v_proj"), self.kv).repeat_interleave(self.heads // self.kv, 0)
            scores = (q @ k.transpose(-1, -2) / math.sqrt(self.d)).masked_fill(~mask, float("-inf"))
            h = (scores.softmax(-1) @ v).transpose(0, 1).reshape(tokens, -1)
            x = x + self.linear(h, prefix + "self_attn.o_proj")
            h = self.norm(x, prefix + "post_attention_layernorm.weight")
            h = F.silu(self.linear(h, prefix + "mlp.gate_proj")) * self.linear(h, prefix + "mlp.up_proj")
            x = x + self.linear(h, prefix + "mlp.down_proj")
        x = self.norm(x, "model.norm.weight")
        tied = self.config.get("tie_word_embeddings", False)
        return F.linear(x, self.weights["model.embed_tokens.weight" if tied else "lm_head.weight"])


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

    def __call__(self, ids):
        return F.linear(self.decoder(ids[None])[0], self.head)


@torch.no_grad()
def main():
    folder = sys.argv[1]
    request = json.load(sys.stdin)
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
    name = f"modeling_espalier.py (PyTorch {torch.__version__})" if own else f"stock LLaMA in PyTorch {torch.__version__}"
    print(json.dumps({"loader": name, "negativeLogLikelihood": total / predictions, "predictions": predictions}))


main()
