#!/usr/bin/env python3
"""Measures the perplexity of a Hugging Face folder with transformers alone, in windows that do not overlap.

    perplexity.py FOLDER --text validation.jsonl
    perplexity.py FOLDER --wikitext test.jsonl --tokens 60000
    perplexity.py FOLDER --text validation.jsonl --tokens 16384 --repeated

A text is a JSON-lines file with a field "text". The tokens of its rows follow each other, each row with the end-of-text token
behind it. WikiText-2 is a file of lines instead: its rows are joined without anything between them, as in the raw file.
With --repeated, each window is its first half twice, and only the second half is judged: how well the model copies.
"""
import argparse
import json
import math

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def read_rows(path: str) -> list[str]:
    """Returns the texts of a JSON-lines file."""
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def text_tokens(tokenizer, path: str) -> torch.Tensor:
    """Returns the tokens of all rows in their order, with the end-of-text token behind each row."""
    rows = tokenizer(read_rows(path), add_special_tokens=False)["input_ids"]
    return torch.tensor([token for row in rows for token in (*row, tokenizer.eos_token_id)])


def wikitext_tokens(tokenizer, path: str) -> torch.Tensor:
    """Returns the tokens of WikiText-2. An empty row is an empty line, which the raw file writes as a blank and a line break."""
    text = "".join(row or " \n" for row in read_rows(path))
    return tokenizer(text, add_special_tokens=False, return_tensors="pt", verbose=False)["input_ids"][0]


def windows_of(tokens: torch.Tensor, length: int) -> torch.Tensor:
    """Cuts tokens into rows of equal length. The rest that fills no window is left out."""
    count = len(tokens) // length
    return tokens[:count * length].view(count, length)


def repeated(windows: torch.Tensor) -> torch.Tensor:
    """Returns windows that have their first half twice."""
    half = windows[:, :windows.shape[1] // 2]
    return torch.cat([half, half], 1)


@torch.no_grad()
def window_losses(model, windows: torch.Tensor, first: int = 1) -> torch.Tensor:
    """Returns the mean loss of each window's tokens from `first` on. The first token of a window is not predicted."""
    return torch.stack([torch.nn.functional.cross_entropy(model(window[None]).logits[0, first - 1:-1].float(), window[first:])
                        for window in windows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", help="a JSON-lines file of documents")
    source.add_argument("--wikitext", help="the JSON-lines file of WikiText-2's test part")
    parser.add_argument("--tokens", type=int, help="use only so many tokens from the beginning")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--repeated", action="store_true", help="judge the second half of windows that repeat their first half")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.folder)
    tokens = text_tokens(tokenizer, args.text) if args.text else wikitext_tokens(tokenizer, args.wikitext)
    windows = windows_of(tokens[:args.tokens], args.window)
    model = AutoModelForCausalLM.from_pretrained(args.folder, dtype=torch.bfloat16 if args.precision == "bf16" else torch.float32)
    if args.repeated:
        windows = repeated(windows)
    value = math.exp(window_losses(model.eval(), windows, windows.shape[1] // 2 if args.repeated else 1).mean())
    print(json.dumps({"folder": args.folder, "text": args.text or args.wikitext, "tokens": windows.numel(),
                      "window": args.window, "repeated": args.repeated, "perplexity": round(value, 3)}))


if __name__ == "__main__":
    main()
