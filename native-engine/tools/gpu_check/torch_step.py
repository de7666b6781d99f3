"""A step of the same work as step_bench's, in PyTorch, written with its own parts.

The intact teacher's forward pass, the student's under masks and with LoRA, the loss of each layer's output and the divergence of the
predictions, gradients of LoRA and masks, AdamW. Random weights of the shape; masks are all open, as in step_bench without sparsity. Prints one
line of JSON.

PyTorch keeps more for the backward pass than the engine does: a batch of 16 x 512 of 7B does not fit 80 GB by arithmetic. Where memory runs out
the batch is taken in twice as many parts, whose gradients add up to the same step. "parts" in the line says in how many.
"""

import argparse
import json
import sys
import time

import torch
import torch.nn.functional as F

# The shapes of bench/bench_models.h: hidden, layers, heads, key/value heads, intermediate, vocabulary.
SHAPES = {
    "factbook-llama-3m": (192, 6, 6, 6, 512, 2048),
    "mid": (768, 12, 12, 12, 2048, 8192),
    "1b": (2048, 22, 32, 4, 5632, 32000),
    "7b": (4096, 32, 32, 32, 11008, 32000),
}
RANK, TEMPERATURE, LAYER_WEIGHT, KL_WEIGHT = 8, 2 / 3, 0.9, 0.1


def rms_norm(x):
    return x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-5)


def rotate(x, cos, sin):
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


class Model:
    def __init__(self, shape, tokens, device, dtype):
        self.hidden, self.layers, self.heads, self.kv_heads, self.units, self.vocabulary = SHAPES[shape]
        self.head_size = self.hidden // self.heads
        self.dtype = dtype

        def weight(rows, cols):
            return torch.randn(rows, cols, device=device, dtype=dtype) * 0.02

        kv = self.kv_heads * self.head_size
        widths = {
            "q": (self.hidden, self.hidden),
            "k": (kv, self.hidden),
            "v": (kv, self.hidden),
            "o": (self.hidden, self.hidden),
            "gate": (self.units, self.hidden),
            "up": (self.units, self.hidden),
            "down": (self.hidden, self.units),
        }
        self.embedding, self.head = weight(self.vocabulary, self.hidden), weight(self.vocabulary, self.hidden)
        self.weights = [{name: weight(*size) for name, size in widths.items()} for _ in range(self.layers)]
        self.lora = [
            {
                name: (
                    torch.nn.Parameter(torch.randn(RANK, cols, device=device) * 0.02),
                    torch.nn.Parameter(torch.zeros(rows, RANK, device=device)),
                )
                for name, (rows, cols) in widths.items()
            }
            for _ in range(self.layers)
        ]
        ones = lambda *size: torch.nn.Parameter(torch.ones(*size, device=device))  # noqa: E731
        self.z = {"head": ones(self.layers, self.heads), "unit": ones(self.layers, self.units), "hidden": ones(self.hidden)}
        angles = torch.arange(tokens, device=device)[:, None] / 10000 ** (
            torch.arange(0, self.head_size, 2, device=device) / self.head_size
        )
        self.cos, self.sin = angles.cos().to(dtype), angles.sin().to(dtype)

    def parameters(self):
        return [p for layer in self.lora for pair in layer.values() for p in pair] + list(self.z.values())

    def project(self, layer, name, x, trained):
        y = F.linear(x, self.weights[layer][name])
        if not trained:
            return y
        a, b = self.lora[layer][name]
        return y + F.linear(F.linear(x, a.to(self.dtype)), b.to(self.dtype))

    def forward(self, ids, trained):
        """Logits, and the residual stream after each layer. The stream is f32."""
        z = self.z if trained else None
        x = F.embedding(ids, self.embedding).float()
        if trained:
            x = x * z["hidden"]
        outputs = []
        batch, tokens = ids.shape
        for layer in range(self.layers):
            h = rms_norm(x).to(self.dtype)
            heads = lambda name, count: self.project(layer, name, h, trained).view(batch, tokens, count, -1).transpose(1, 2)  # noqa: B023,E731
            q, k = (rotate(heads(name, count), self.cos, self.sin) for name, count in (("q", self.heads), ("k", self.kv_heads)))
            v = heads("v", self.kv_heads)
            if self.kv_heads < self.heads:
                k, v = (t.repeat_interleave(self.heads // self.kv_heads, 1) for t in (k, v))
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            if trained:
                out = out * z["head"][layer].to(self.dtype)[None, :, None, None]
            added = self.project(layer, "o", out.transpose(1, 2).reshape(batch, tokens, -1), trained)
            x = x + (added * z["hidden"] if trained else added)
            h = rms_norm(x).to(self.dtype)
            units = F.silu(self.project(layer, "gate", h, trained)) * self.project(layer, "up", h, trained)
            if trained:
                units = units * z["unit"][layer].to(self.dtype)
            added = self.project(layer, "down", units, trained)
            x = x + (added * z["hidden"] if trained else added)
            outputs.append(x)
        return F.linear(rms_norm(x).to(self.dtype), self.head), outputs

    def loss(self, ids):
        with torch.no_grad():
            expected, teacher = self.forward(ids, False)
        logits, student = self.forward(ids, True)
        layers = sum((s - t).pow(2).mean() for s, t in zip(student, teacher, strict=True))
        divergence = F.kl_div(
            F.log_softmax(logits.float() / TEMPERATURE, -1),
            F.log_softmax(expected.float() / TEMPERATURE, -1),
            reduction="sum",
            log_target=True,
        )
        return LAYER_WEIGHT * layers + KL_WEIGHT * TEMPERATURE**2 * divergence / len(ids)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seq", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--parts", type=int, default=1)
    options = parser.parse_args()
    on_card = options.device.startswith("cuda")
    if on_card and not torch.cuda.is_available():
        sys.exit("this PyTorch sees no card")
    torch.manual_seed(1)
    model = Model(options.shape, options.seq, options.device, torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, **({"fused": True} if on_card else {}))
    loss_of = torch.compile(model.loss) if options.compiled else model.loss
    ids = torch.randint(model.vocabulary, (options.batch, options.seq), device=options.device)

    def wait():
        if on_card:
            torch.cuda.synchronize()

    def step(parts):
        start = time.perf_counter()
        loss = 0.0
        for part in ids.chunk(parts):
            share = loss_of(part) / parts
            share.backward()
            loss += share.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        wait()
        return time.perf_counter() - start, float(loss)

    parts = options.parts
    while True:
        try:
            first_loss = step(parts)[1]
            break
        except torch.cuda.OutOfMemoryError:
            if parts >= options.batch:
                raise
        parts *= 2
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    step(parts)
    times = []
    begin = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - begin < options.seconds and len(times) < 400):
        times.append(step(parts)[0])
    seconds = sorted(times)[len(times) // 2]
    print(
        json.dumps(
            {
                "pytorch": torch.__version__,
                "compiled": options.compiled,
                "model": options.shape,
                "batch": options.batch,
                "seq": options.seq,
                "parts": parts,
                "steps": len(times),
                "s_per_step": round(seconds, 6),
                "tokens_per_s": round(options.batch * options.seq / seconds, 1),
                "first_loss": first_loss,
                "device": torch.cuda.get_device_name() if on_card else "cpu",
                "peak_bytes": torch.cuda.max_memory_allocated() if on_card else 0,
            }
        )
    )


if __name__ == "__main__":
    main()
