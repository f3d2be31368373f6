"""Every command of ``backbone`` and ``cil-run`` that computes, on the second device: a program of its own.

    python second_device_commands.py FOLDER [NAME ...]

It prints a line for each command: its name, whether weights were on the device, the exit code and what was said.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch
from command_lines import backbone, cil, zero
from second_device import NAME, Far, second_device

from backbones.catalog import load_backbone
from backbones.deltas import save_delta
from backbones.pat import PATS
from backbones.testing import tiny_bert
from backbones.testing_models import WORDS
from zeroshot.testing_models import tiny_bert as tiny_masked
from zeroshot.testing_models import tiny_gpt2

FEW = ("--train", 4, "--test", 2)
PATTERNS = """
[[patterns]]
relation = "runs"
left = "head"
cues = ["runs to"]
[[patterns]]
relation = "sleeps"
left = "head"
cues = ["sleeps near"]
"""
STEPS = ("--epochs", 1, "--batch", 8)


def prepare(root: Path) -> None:
    """Write a small encoder, a masked model, labelled texts, a corpus, pairs, and a trained delta."""
    model = tiny_bert()
    for part in (model.module, model.preprocessing.tokenizer):  # type: ignore[attr-defined]
        part.save_pretrained(root / "model")
    tiny_masked(root / "masked"), tiny_gpt2(root / "causal")
    rows = [[f"the {a} {b} now", a] for a in ("cat", "dog") for b in WORDS[4:12]]
    (root / "data.json").write_text(json.dumps({"train": rows, "test": rows[::3]}))
    (root / "corpus.txt").write_text(
        "\n\n".join(f"the {a} runs to the {b}. The {b} sleeps near the {a}." for a in WORDS for b in WORDS[2:6])
    )
    (root / "cloze.jsonl").write_text(json.dumps({"sentence": "Two soldiers met an [MASK] there.", "answer": "agent"}))
    (root / "minimal.json").write_text(
        json.dumps({"all": [["Two soldiers were injured.", "Two soldiers was injured."]]})
    )
    (root / "own.toml").write_text(PATTERNS)
    base = load_backbone(str(root / "model"))
    delta = PATS.load("lora")().grow(base, 0)
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter += 0.05
    save_delta(delta, root / "delta", str(root / "model"), 0)


def commands(root: Path) -> Iterator[tuple[str, list[object]]]:
    """Yield a name and the words of each command, in an order in which each finds what it needs."""
    model, data = root / "model", ("--data-root", root / "data.json")
    yield (
        "compress",
        [
            "compress",
            model,
            *data,
            *FEW,
            "--bits",
            "8,4",
            "--sparsity",
            "0,0.5",
            "--steps",
            2,
            "--rounds",
            1,
            "--recover",
            2,
        ],
    )
    yield "export", ["export", model, *data, *FEW, "--format", "torch-export", "--rounds", 1]
    yield (
        "offsite split",
        ["offsite", "split", model, "--bottom", 1, "--top", 1, "--distil", root / "corpus.txt", "--samples", 8, *STEPS],
    )
    yield "offsite tune", ["offsite", "tune", root / "offsite split", "--pat", "lora", *data, *FEW, *STEPS]
    yield (
        "offsite plug",
        [
            "offsite",
            "plug",
            model,
            root / "offsite tune" / "adapter",
            *data,
            *FEW,
            "--head",
            "refit",
            "--against-full",
            root / "offsite split",
        ],
    )
    yield "infuse acquire", ["infuse", "acquire", root / "corpus.txt", "--patterns", root / "own.toml"]
    yield (
        "infuse train",
        ["infuse", "train", model, "--pairs", root / "infuse acquire", "--bottleneck", 4, *STEPS, "--held-out", 0.3],
    )
    yield (
        "infuse distill",
        ["infuse", "distill", root / "infuse train", "--corpus", root / "corpus.txt", "--sentences", 8, *STEPS],
    )
    yield (
        "distill",
        [
            "distill",
            model,
            *data,
            *FEW,
            "--corpus",
            root / "corpus.txt",
            "--layers",
            1,
            "--width",
            16,
            "--batch",
            8,
            "--layer-epochs",
            1,
            "--answer-epochs",
            1,
            "--tune-epochs",
            1,
            "--augment",
            "neighbours",
            "--variants",
            1,
        ],
    )
    yield "probe", ["probe", model, *data, "--train", 6, "--what", "layers,mdl,curve", "--finetune", 2]
    yield "probe masked", ["probe", root / "masked", "--pairs", root / "minimal.json", "--cloze", root / "cloze.jsonl"]
    yield (
        "pretrain text",
        [
            "pretrain",
            "text",
            root / "corpus.txt",
            "--size",
            "tiny",
            "--depth",
            1,
            "--width",
            16,
            "--heads",
            2,
            "--vocabulary",
            150,
            "--length",
            16,
            "--steps",
            2,
            "--batch",
            4,
        ],
    )
    stream = ["--benchmark", "text", "--data-root", root / "data.json", "--backbone", model, "--increment", 1]
    yield "run", [cil, *stream, "--pat", "lora", "--tune-set", "epochs=1", "--ipt"]
    yield "run linear", [cil, *stream, "--head", "linear"]
    yield "predict", [cil, "predict", root / "run", root / "corpus.txt"]
    yield "embedding", [zero, "predict", "attack", "--lm", model, "--scorer", "embedding"]
    yield "masked", [zero, "predict", "attack", "--lm", root / "masked", "--scorer", "masked"]
    yield "causal", [zero, "predict", "attack", "--lm", root / "causal", "--scorer", "causal"]
    yield "merge", ["merge", model, root / "delta"]
    yield "difference", ["difference", model, root / "delta"]
    yield "compose", ["compose", model, root / "difference.safetensors"]


def main() -> None:
    root, chosen = Path(sys.argv[1]), sys.argv[2:]
    root.mkdir(parents=True, exist_ok=True)
    if not (root / "delta").exists():
        prepare(root)
    with second_device():
        for name, words in commands(root):
            if chosen and name not in chosen:
                continue
            Far.made = 0
            out = root / (f"{name}.safetensors" if name == "difference" else name)
            program = words.pop(0) if callable(words[0]) else backbone
            place = () if name == "infuse acquire" else ("--device", NAME)
            where = () if "predict" in words else ("--out", out)
            try:
                code, _, err = program(*words, *where, *place)
            except BaseException:
                code, err = 1, "".join(traceback.format_exc().splitlines(keepends=True)[-14:])
            print(json.dumps([name, code, Far.made, err[-2500:]]), flush=True)


if __name__ == "__main__":
    main()
