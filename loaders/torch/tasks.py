#!/usr/bin/env python3
"""Recomputes what `espalier eval --samples FILE` wrote, by code that shares nothing with Espalier: prompts, tokenizer and model.

    tasks.py MODEL DATA SAMPLES [--most N] [--tokens N]
                                               compares in float64; one JSON object with the largest difference of each task. Of bbh, whose
                                               texts are written anew token by token (the first N), which differ
    tasks.py MODEL DATA SAMPLES --speed        the same sequences in float32, padded batches sorted by length: seconds and tokens

MODEL is a LLaMA folder with a byte-level tokenizer.json, DATA the --task-data of the evaluation. Ends with status 3 where there is no
PyTorch.
"""

import json
import math
import os
import re
import sys
import time
import unicodedata

try:
    import torch
    from torch.nn import functional as F
except ImportError:
    sys.exit(3)

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class Tokenizer:
    """Byte-level BPE with the pattern of GPT-2; <s> in front."""

    def __init__(self, folder):
        with open(os.path.join(folder, "tokenizer.json")) as file:
            model = json.load(file)["model"]
        self.vocab = model["vocab"]
        merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
        self.rank = {pair: place for place, pair in enumerate(merges)}
        printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
        spelled, extra = {b: chr(b) for b in printable}, 0
        for b in range(256):
            if b not in spelled:
                spelled[b] = chr(256 + extra)
                extra += 1
        self.spelled, self.known = spelled, {}

    def words(self, text):
        """'s|'t|'re|'ve|'m|'ll|'d| ?letters| ?numbers| ?others|spaces not before a word|spaces"""
        kind = lambda c: {"L": "L", "N": "N"}.get(unicodedata.category(c)[0], "S" if c.isspace() else "O")
        at, out = 0, []
        while at < len(text):
            found = re.match(r"'(?:s|t|re|ve|m|ll|d)", text[at:])
            if found:
                out.append(found.group())
                at += found.end()
                continue
            first = at + 1 if text[at] == " " and at + 1 < len(text) and kind(text[at + 1]) != "S" else at
            end, of = first, kind(text[first])
            while end < len(text) and kind(text[end]) == of:
                end += 1
            if of == "S" and end < len(text) and end - at > 1:
                end -= 1  # the last space belongs to the next word
            out.append(text[at:end])
            at = end
        return out

    def piece(self, word):
        if word in self.known:
            return self.known[word]
        parts = [self.spelled[b] for b in word.encode()]
        while len(parts) > 1:
            ranks = [self.rank.get(pair, math.inf) for pair in zip(parts, parts[1:])]
            best = min(ranks)
            if best == math.inf:
                break
            at = ranks.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        self.known[word] = [self.vocab[p] for p in parts]
        return self.known[word]

    def encode(self, text):
        return [1] + [token for word in self.words(text) for token in self.piece(word)]

    def decode(self, ids):
        byte_of = {c: b for b, c in self.spelled.items()}
        names = {i: t for t, i in self.vocab.items()}
        return bytes(byte_of[c] for i in ids for c in names[i] if c in byte_of).decode("utf-8", "replace")


def rows_of(folder, split):
    with open(os.path.join(folder, split + ".jsonl")) as file:
        return [json.loads(line) for line in file]


def clean(text):
    text = re.sub("\\[.*?\\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def mmlu(data):
    dev = rows_of(os.path.join(data, "mmlu"), "dev")

    def asked(row):
        lines = [f"{letter}. {choice}" for letter, choice in zip("ABCD", row["choices"])]
        return "\n".join([row["question"].strip(), *lines, "Answer:"])

    def pairs(row):
        subject = row["subject"]
        shots = [asked(r) + " " + "ABCD"[r["answer"]] + "\n\n" for r in dev if r["subject"] == subject][:5]
        about = subject.replace("_", " ")
        head = f"The following are multiple choice questions (with answers) about {about}.\n\n"
        return [(head + "".join(shots) + asked(row), " " + letter) for letter in "ABCD"]

    return pairs


def detokenized(page):
    """WikiText's own tokens as running text."""
    for old, new in (("s '", "s'"),):
        page = page.replace(old, new)
    page = re.sub("/' [0-9]/", "/'[0-9]/", page)
    for mark in "-,.":
        page = page.replace(f" @{mark}@ ", mark)
    for mark in ":;.!?,":
        page = page.replace(f" {mark} ", f"{mark} ")
    for opening, inner, closing in (("\\(", "[^)]", "\\)"), ("\\[", "[^\\]]", "\\]"), ("\\{", "[^}]", "\\}"), ('"', '[^"]', '"'), ("'", "[^']", "'")):
        found = f"{opening}\\s*({inner}*?)\\s*{closing}"
        page = re.sub(found, lambda m: m.group()[0] + m.group(1) + m.group()[-1], page)
    for old, new in (("= = = =", "===="), ("= = =", "==="), ("= =", "=="), (" \u00b0 ", "\u00b0"), (" \n", "\n"), ("\n ", "\n"), (" N ", " 1 "), (" 's", "'s")):
        page = page.replace(old, new)
    return page


def windows(tokenizer, page, most):
    """Each token once; BOS in front of the text, and before it once more as the first window's context."""
    ids = [1] + tokenizer.encode(detokenized(page))
    out, done = [], 1
    while done < len(ids):
        end = min(done + most, len(ids))
        out.append((ids[max(end - most - 1, 0) : end], end - done))
        done = end
    return out


def bbh_rows(data):
    """(group, row) in the order of the folders' names."""
    folder = os.path.join(data, "bbh")
    groups = sorted(g for g in os.listdir(folder) if os.path.exists(os.path.join(folder, g, "test.jsonl")))
    return [(group, row) for group in groups for row in rows_of(os.path.join(folder, group), "test")]


def bbh_prompt(data, group, row, direct):
    with open(os.path.join(data, "bbh", "cot-prompts", group + ".txt")) as file:
        shots = file.read().split("-----\n", 1)[1].strip()
    if direct:
        head, *examples = shots.split("\n\nQ: ")
        answered = []
        for example in examples:
            question, reasoning = re.split(r"\nA: Let's think step by step\.\s", example, maxsplit=1)
            answer = re.findall(r"the answer is (.*)", reasoning)[-1]
            answered.append(f"{question}\nA: {answer[:-1] if answer.endswith('.') else answer}")
        return "\n\nQ: ".join([head, *answered]) + f"\n\nQ: {row['input']}\nA:"
    return shots + f"\n\nQ: {row['input']}\nA: Let's think step by step.\n"


TASKS = {
    "boolq": ("boolq", "validation", lambda r: [(f"{r['passage']}\nQuestion: {r['question']}?\nAnswer:", c) for c in (" no", " yes")]),
    "piqa": ("piqa", "validation", lambda r: [(f"Question: {r['goal']}\nAnswer:", " " + r[s]) for s in ("sol1", "sol2")]),
    "hellaswag": (
        "hellaswag",
        "validation",
        lambda r: [(clean(f"{r['activity_label']}: {r['ctx_a']} {r['ctx_b'].capitalize()}"), " " + clean(e)) for e in r["endings"]],
    ),
    "winogrande": (
        "winogrande_xl",
        "validation",
        lambda r: [
            (r["sentence"][: r["sentence"].index("_")] + r[o], " " + r["sentence"][r["sentence"].index("_") + 1 :].strip())
            for o in ("option1", "option2")
        ],
    ),
    "arc_easy": ("arc_easy", "test", lambda r: [(f"Question: {r['question']}\nAnswer:", " " + c) for c in r["choices"]["text"]]),
    "arc_challenge": ("arc_challenge", "test", lambda r: [(f"Question: {r['question']}\nAnswer:", " " + c) for c in r["choices"]["text"]]),
    "openbookqa": ("openbookqa", "test", lambda r: [(r["question_stem"], " " + c) for c in r["choices"]["text"]]),
    "mmlu": ("mmlu", "test", None),
    "wikitext": ("wikitext_document_level", "test", None),
    "lambada": ("lambada_openai", "test", lambda r: [(" ".join(r["text"].split(" ")[:-1]), " " + r["text"].split(" ")[-1])]),
}


def sequence(tokenizer, context, continuation, most):
    spaces = len(context) - len(context.rstrip())
    if spaces:
        continuation, context = context[-spaces:] + continuation, context[:-spaces]
    before = tokenizer.encode(context)
    after = tokenizer.encode(context + continuation)[len(before) :]
    ids = (before + after)[-(most + 1) :]
    return ids, min(len(after), len(ids) - 1)


class Model:
    def __init__(self, folder, dtype):
        with open(os.path.join(folder, "config.json")) as file:
            self.config = json.load(file)
        with open(os.path.join(folder, "model.safetensors"), "rb") as file:
            data = bytearray(file.read())
        length = int.from_bytes(data[:8], "little")
        self.weights, self.packed, self.dtype = {}, {}, dtype
        for name, entry in json.loads(data[8 : 8 + length]).items():
            if name != "__metadata__":
                first, end = (8 + length + offset for offset in entry["data_offsets"])
                raw = torch.frombuffer(data, dtype=torch.uint8, count=end - first, offset=first).clone()
                self.weights[name] = raw.view(DTYPES[entry["dtype"]]).reshape(entry["shape"]).to(dtype)

    def multiply(self, x, name):
        """In float32 by oneDNN: Debian's PyTorch has the reference BLAS, which is some ten times slower."""
        if self.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
            return F.linear(x, self.weights[name])
        if name not in self.packed:
            self.packed[name] = self.weights[name].contiguous().to_mkldnn()
        return torch.ops.aten.mkldnn_linear(x.contiguous().to_mkldnn(), self.packed[name]).to_dense()

    def angles(self, tokens):
        config, half = self.config, self.config["head_dim"] // 2
        frequencies = []
        scaling = config.get("rope_scaling")
        for j in range(half):
            f = config["rope_theta"] ** (-j / half)
            if scaling:
                wavelength, original = 2 * math.pi / f, scaling["original_max_position_embeddings"]
                low, high = original / scaling["low_freq_factor"], original / scaling["high_freq_factor"]
                smooth = min(max((original / wavelength - scaling["low_freq_factor"]) / (scaling["high_freq_factor"] - scaling["low_freq_factor"]), 0), 1)
                f = f if wavelength < high else f / scaling["factor"] if wavelength > low else f * (smooth + (1 - smooth) / scaling["factor"])
            frequencies.append(f)
        turns = torch.outer(torch.arange(tokens).double(), torch.tensor(frequencies).double())
        return turns.cos().to(self.dtype), turns.sin().to(self.dtype)

    def __call__(self, ids):
        """ids [batch, tokens] to the normed hidden states."""
        w, config = self.weights, self.config
        batch, tokens = ids.shape
        heads, kv, d = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
        cos, sin = self.angles(tokens)

        def norm(x, name):
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"]) * w[name]

        def split(y, count, turned):
            y = y.view(batch, tokens, count, d).transpose(1, 2)
            if turned:
                a, b = y[..., : d // 2], y[..., d // 2 :]
                y = torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
            return y.repeat_interleave(heads // count, 1)

        x = w["model.embed_tokens.weight"][ids]
        for layer in range(config["num_hidden_layers"]):
            p = f"model.layers.{layer}."
            h = norm(x, p + "input_layernorm.weight")
            q, k, v = (split(self.multiply(h, f"{p}self_attn.{n}_proj.weight"), heads if n == "q" else kv, n != "v") for n in "qkv")
            h = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, tokens, heads * d)
            x = x + self.multiply(h, p + "self_attn.o_proj.weight")
            h = norm(x, p + "post_attention_layernorm.weight")
            h = F.silu(self.multiply(h, p + "mlp.gate_proj.weight")) * self.multiply(h, p + "mlp.up_proj.weight")
            x = x + self.multiply(h, p + "mlp.down_proj.weight")
        return norm(x, "model.norm.weight")

    def likelihoods(self, sequences, batch):
        """Sorted by length, padded at the end; logits of scored places only."""
        head = "model.embed_tokens.weight" if self.config.get("tie_word_embeddings") else "lm_head.weight"
        out = [0.0] * len(sequences)
        order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i][0]))
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            longest = len(sequences[part[0]][0]) - 1
            ids = torch.tensor([sequences[i][0][:-1] + [0] * (longest - len(sequences[i][0]) + 1) for i in part])
            hidden = self(ids)
            for row, i in enumerate(part):
                tokens, scored = sequences[i]
                last = len(tokens) - 1
                logits = self.multiply(hidden[row, last - scored : last], head)
                out[i] = -F.cross_entropy(logits.double(), torch.tensor(tokens[-scored:]), reduction="sum").item()
        return out


    def text_after(self, tokenizer, prompt, stops, ends, tokens):
        """Greedily, at most half of the model's positions and 1,024 tokens, until a stop text."""
        most = self.config["max_position_embeddings"]
        room = min(1024, most // 2)
        ids, text = tokenizer.encode(prompt)[-(most - room) :], ""
        head = self.weights["model.embed_tokens.weight" if self.config.get("tie_word_embeddings") else "lm_head.weight"]
        made = []
        while len(made) < min(room, tokens):
            token = F.linear(self(torch.tensor([ids + made]))[0, -1], head).argmax().item()
            if token in ends:
                break
            made.append(token)
            text = tokenizer.decode(made)
            found = [text.index(stop) for stop in stops if stop in text]
            if found:
                return text[: min(found)]
        return text


def compare_texts(model, tokenizer, data, task, own, tokens):
    rows = bbh_rows(data)
    ends = model.config.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [ends]
    different = []
    for sample in own:
        prompt = bbh_prompt(data, *rows[sample["index"]], task == "bbh_direct")
        text = model.text_after(tokenizer, prompt, ["</s>", "Q", "\n\n"], ends, tokens)
        if sample["text"][: len(text)] != text:
            different.append({"index": sample["index"], "ours": text, "theirs": sample["text"]})
    return {"questions": len(own), "different": different}


@torch.no_grad()
def main():
    folder, data, samples = sys.argv[1:4]
    speed = "--speed" in sys.argv
    tokens = int(sys.argv[sys.argv.index("--tokens") + 1]) if "--tokens" in sys.argv else 1 << 30
    most = int(sys.argv[sys.argv.index("--most") + 1]) if "--most" in sys.argv else None
    tokenizer, model = Tokenizer(folder), Model(folder, torch.float32 if speed else torch.float64)
    by_task = {}
    with open(samples) as file:
        for line in file:
            sample = json.loads(line)
            by_task.setdefault(sample["task"], []).append(sample)
    out = {}
    for task, own in by_task.items():
        own = own[:most]
        if task in ("bbh", "bbh_direct"):
            out[task] = compare_texts(model, tokenizer, data, task, own, tokens)
            continue
        if task not in TASKS:
            continue
        name, split, pairs = TASKS[task]
        pairs = pairs or (mmlu(data) if task == "mmlu" else None)
        rows = rows_of(os.path.join(data, name), split)
        positions = model.config["max_position_embeddings"]
        if task == "wikitext":
            asked = [windows(tokenizer, rows[s["index"]]["page"], positions) for s in own]
        else:
            asked = [[sequence(tokenizer, *pair, positions) for pair in pairs(rows[s["index"]])] for s in own]
        flat = [one for question in asked for one in question]
        started = time.perf_counter()
        found = model.likelihoods(flat, 32 if speed else 4)
        seconds = time.perf_counter() - started
        if task == "wikitext":  # one sum a page
            sums = iter(found)
            found = [sum(next(sums) for _ in question) for question in asked]
        theirs = [one for s in own for one in s["loglikelihoods"]]
        out[task] = {
            "questions": len(own),
            "sequences": len(flat),
            "tokens": sum(len(ids) for ids, _ in flat),
            "largestDifference": max(abs(a - b) for a, b in zip(found, theirs, strict=True)),
            "seconds": round(seconds, 2),
        }
    print(json.dumps(out, indent=2))


main()
