#!/usr/bin/env python3
"""Prunes a Llama model by a published recipe in plain PyTorch, and recovers it by distillation within a number of seconds.

    rival.py MODEL OUT --train train.jsonl --validation validation.jsonl --target-params 100e6 --seconds 600

Importance comes from a calibration part of the training text. Shapes of the target size are cut and judged on a few windows of the
validation text, and the best one is trained: the intact model's predictions (forward KL) teach all weights by AdamW. The
seconds count from the start of the program to the written folder. Only the last judgement comes after them. OUT/rival.json has the
settings, the shape, the seconds, the steps and the perplexities.
"""
import time

START = time.monotonic()  # the packages below take seconds to load, and these count

import argparse  # noqa: E402
import ctypes  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
from pathlib import Path  # noqa: E402

import torch  # noqa: E402
from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: E402

from perplexity import text_tokens, window_losses, windows_of  # noqa: E402
from pruning import METHODS, Shape, cut, group_heads, importance_of, shapes_for  # noqa: E402

WRITING_SECONDS = 3.0  # kept back for the folder
CHUNK = 256  # tokens whose predictions are in memory at once


def elapsed() -> float:
    return time.monotonic() - START


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a Hugging Face folder of a Llama model")
    parser.add_argument("out", help="the folder to write")
    parser.add_argument("--train", required=True, help="a JSON-lines file with a field text")
    parser.add_argument("--validation", required=True, help="such a file, which chooses the shape and judges the result")
    parser.add_argument("--method", choices=METHODS, default="minitron")
    parser.add_argument("--target-params", type=lambda text: int(float(text)), required=True)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--seconds", type=float, help="from the start of the program to the written folder")
    length.add_argument("--steps", type=int, help="a fixed number of steps, for trials on a busy machine")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--beta2", type=float, default=0.95)
    parser.add_argument("--warmup", type=float, default=0.05, help="the part of the training in which the rate rises")
    parser.add_argument("--decay", choices=("cosine", "linear"), default="cosine")
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--layer-loss", type=float, default=0.0,
                        help="the weight of the squared difference of states, over the teacher's squares")
    parser.add_argument("--precision", choices=("auto", "bf16", "f32"), default="auto", help="auto times both in the first steps")
    parser.add_argument("--layers", type=int, help="pins the number of layers")
    parser.add_argument("--heads", type=int, help="the query heads of each key-value group, if --layers and --units are pinned too")
    parser.add_argument("--units", type=int, help="pins the number of MLP units, with --layers")
    parser.add_argument("--kept", choices=("single", "run"), default="single",
                        help="the layers that go: the least important ones one by one, or one run of neighbours")
    parser.add_argument("--calibration", type=int, default=8, help="windows of 512 tokens for importance")
    parser.add_argument("--scan", type=int, default=6, help="windows of 512 tokens that judge each shape")
    parser.add_argument("--judge", type=int, help="windows of 512 tokens for the last judgement; all by default")
    parser.add_argument("--trials", help="a JSON-lines file that gets a line with settings and figures, beside OUT/rival.json")
    return parser.parse_args()


class Distillation(torch.autograd.Function):
    """The mean over tokens of KL(teacher, student), with gradients made chunk by chunk beside the value: a batch's predictions
    over the whole vocabulary would fill memory several times."""

    @staticmethod
    def forward(ctx, states, head, teacher_states, teacher_head, temperature, dtype):
        states_gradient = torch.empty_like(states)
        head_gradient = torch.zeros_like(head)
        head_cast, scale, total = head.to(dtype), temperature / len(states), 0.0
        for at in range(0, len(states), CHUNK):
            part = states[at:at + CHUNK].to(dtype)
            wanted = torch.log_softmax((teacher_states[at:at + CHUNK] @ teacher_head.T).float() / temperature, dim=-1)
            given = torch.log_softmax((part @ head_cast.T).float() / temperature, dim=-1)
            likely = wanted.exp()
            total += torch.sum(likely * (wanted - given)).item()
            gradient = ((given.exp_() - likely) * scale).to(dtype)
            states_gradient[at:at + CHUNK] = gradient @ head_cast
            head_gradient += gradient.T @ part
        ctx.save_for_backward(states_gradient, head_gradient)
        return states.new_tensor(total * scale * temperature, dtype=torch.float32)

    @staticmethod
    def backward(ctx, upstream):
        states_gradient, head_gradient = ctx.saved_tensors
        return states_gradient * upstream, head_gradient * upstream, None, None, None, None


def loss_of(student, teacher, kept, tokens, args, dtype) -> torch.Tensor:
    """Returns the loss of one batch: the difference of predictions, and with --layer-loss that of the states behind kept layers."""
    between = args.layer_loss > 0
    with torch.no_grad():
        taught = teacher.model(tokens, output_hidden_states=between)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        learned = student.model(tokens, output_hidden_states=between)
    loss = Distillation.apply(learned.last_hidden_state.flatten(0, 1), student.lm_head.weight,
                              taught.last_hidden_state.flatten(0, 1), teacher.lm_head.weight, args.temperature, dtype)
    if between:
        # Behind kept layer k the student shall be where the teacher is in front of the next kept layer.
        for place, end in enumerate(kept[1:]):
            mine, right = learned.hidden_states[place + 1].float(), taught.hidden_states[end].float()
            loss = loss + args.layer_loss / len(kept[1:]) * ((mine - right).square().sum(-1) / right.square().sum(-1)).mean()
    return loss


def rate_at(progress: float, args) -> float:
    """Returns the learning rate: it rises, then falls to nothing."""
    if progress < args.warmup:
        return args.lr * progress / args.warmup
    rest = (progress - args.warmup) / (1 - args.warmup)
    return args.lr * (0.5 * (1 + math.cos(math.pi * rest)) if args.decay == "cosine" else 1 - rest)


def train(student, teacher, kept, windows, args) -> dict:
    """Trains for the steps or the seconds that are left, and returns what it measured. By seconds, the clock moves the rate."""
    student.float().train().requires_grad_(True)
    optimizer = torch.optim.AdamW(student.parameters(), lr=args.lr, betas=(0.9, args.beta2), weight_decay=0.0, fused=True)
    order = torch.Generator().manual_seed(args.seed)
    queue, losses, times = [], [], {torch.bfloat16: [], torch.float32: []}
    begun, processor = elapsed(), time.process_time()
    left = None if args.steps else args.seconds - WRITING_SECONDS - begun
    precision = {"bf16": torch.bfloat16, "f32": torch.float32}.get(args.precision)
    last, dtype = 0.0, precision
    while True:
        passed = elapsed() - begun
        if len(losses) == args.steps or (left is not None and passed + last > left):
            break
        if len(queue) < args.batch:
            queue = torch.randperm(len(windows), generator=order).tolist()
        tokens = windows[[queue.pop() for _ in range(args.batch)]]
        if precision is None and len(losses) == 6:  # the first step of each precision also prepares memory and kernels
            precision = min(times, key=lambda dtype: min(times[dtype][1:]))
        dtype = precision or (torch.bfloat16, torch.float32)[len(losses) % 2]
        progress = (len(losses) + 0.5) / args.steps if args.steps else (passed + last / 2) / left
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress, args)
        loss = loss_of(student, teacher, kept, tokens, args, dtype)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), args.clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        last = elapsed() - begun - passed
        times[dtype].append(last)
        if len(losses) % 20 == 0:
            print(f"{elapsed():7.1f} s  step {len(losses)}  loss {sum(losses[-20:]) / 20:.4f}  {last:.2f} s a step", flush=True)
    steps = len(losses)
    return {"steps": steps, "seconds_before_training": round(begun, 1), "step_seconds": round((elapsed() - begun) / max(steps, 1), 3),
            "step_processor_seconds": round((time.process_time() - processor) / max(steps, 1), 3),
            "precision": str(dtype).removeprefix("torch."), "last_loss": round(sum(losses[-20:]) / max(len(losses[-20:]), 1), 4)}


def mean_perplexity(losses: torch.Tensor) -> float:
    return round(math.exp(losses.mean().item()), 3)


def candidates(config, args) -> list[Shape]:
    """Returns the shapes to judge: by the arguments, or all of the target size."""
    if args.layers and args.units:
        return [Shape(args.layers, args.heads or group_heads(config), args.units)]
    found = [shape for shape in shapes_for(config, args.target_params, by_depth=args.method == "minitron")
             if args.layers in (None, shape.layers)]
    if not found:
        raise SystemExit("No shape has the target size and so many layers. Pin both --layers and --units.")
    return found


def scanned(teacher, importance, windows, args) -> list[tuple[float, Shape]]:
    """Judges shapes: every other one, then the neighbours of the best. Returns them with their perplexities, the best one first."""
    shapes, judged = candidates(teacher.config, args), {}

    def judge(places):
        for place in places:
            smaller, _ = cut(teacher, shapes[place], importance, args.kept)
            judged[place] = mean_perplexity(window_losses(smaller, windows))
            print(f"{elapsed():7.1f} s  {shapes[place]}: perplexity {judged[place]}", flush=True)

    judge(range(0, len(shapes), 2))
    best = min(judged, key=judged.get)
    judge(place for place in (best - 1, best + 1) if 0 <= place < len(shapes))
    return [(judged[place], shapes[place]) for place in sorted(judged, key=judged.get)]


def main() -> None:
    args = arguments()
    torch.manual_seed(args.seed)
    ctypes.CDLL(None).mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: large tensors come from memory that is kept,
    ctypes.CDLL(None).mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: and goes back to it, so that it is not cleared each time
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    teacher = LlamaForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16).eval().requires_grad_(False)
    text = text_tokens(tokenizer, args.train)
    judging = windows_of(text_tokens(tokenizer, args.validation), 512)
    calibration = windows_of(text, 512)[:args.calibration]
    importance = importance_of(teacher, calibration, args.method)
    print(f"{elapsed():7.1f} s  importance is known", flush=True)
    scan = scanned(teacher, importance, judging[:args.scan], args)
    before, shape = scan[0]
    student, kept = cut(teacher, shape, importance, args.kept)
    measured = train(student, teacher, kept, windows_of(text, args.seq), args)
    student.eval().requires_grad_(False).save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    seconds = elapsed()
    judge = judging[:args.judge]
    after, intact = window_losses(student.to(torch.bfloat16), judge), window_losses(teacher, judging[:args.scan])
    paths = ("model", "out", "train", "validation", "trials")
    report = {
        "method": args.method, "settings": {k: v for k, v in vars(args).items() if k not in paths},
        "weights": sum(p.numel() for p in student.parameters()), "shape": shape.as_dict(), "kept_layers": kept,
        "seconds": round(seconds, 1), **measured, "threads": torch.get_num_threads(),
        "scan": [{**one.as_dict(), "perplexity": value} for value, one in scan],
        "scan_windows": {"intact": mean_perplexity(intact), "before": before, "after": mean_perplexity(after[:args.scan])},
        "judged_windows": len(judge), "perplexity": mean_perplexity(after),
    }
    (Path(args.out) / "rival.json").write_text(json.dumps(report, indent=1) + "\n")
    if args.trials:
        with open(args.trials, "a", encoding="utf-8") as trials:
            trials.write(json.dumps(report) + "\n")
    print(json.dumps({k: v for k, v in report.items() if k not in ("settings", "kept_layers", "scan")}))


if __name__ == "__main__":
    main()
