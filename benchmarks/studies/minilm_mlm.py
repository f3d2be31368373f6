"""Figures of ``minilm-mlm``: pseudo-perplexity, minimal pairs, and what it adds to zero-shot event arguments.

    python -m benchmarks.studies.minilm_mlm --corpus english_corpus.txt.xz --blimp blimp.json.xz --eae DIR --out DIR

DIR of ``--eae`` holds ``wikievents_dev.jsonl``, ``crudeoil.json``, ``geneva_val.json`` and ``geneva_ontology.json``.
Writes ``minilm-mlm.md`` and ``minilm-mlm.json`` to ``--out``; with ``--parts``, some of ``start,language,arguments``,
the others are kept as that JSON has them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backbones.analysis.pair_files import read_pairs
from backbones.analysis.pairs import minimal_pairs, pseudo_perplexity
from backbones.analysis.phenomena import by_phenomenon
from backbones.catalog import load_backbone
from backbones.core.artifacts import write_json, write_text
from backbones.core.errors import FrostlineError
from backbones.core.seed import numpy_generator
from backbones.lm import LanguageModel, load_language_model
from backbones.recipes.minilm_mlm import RANK
from backbones.recipes.mlm_file import NAME, language_model_of
from backbones.recipes.mlm_model import Learner, tokenizer_of
from backbones.recipes.mlm_text import sequences_of
from benchmarks.studies import minilm_mlm_arguments as zero_shot

COMMAND = (
    "python -m benchmarks.studies.minilm_mlm --corpus english_corpus.txt.xz --blimp blimp.json.xz --eae DIR --out DIR"
)
PARTS = {"start": ("corpus", "blimp"), "language": ("corpus", "blimp"), "arguments": ("eae",)}
HELD = 80  # held-out sequences
PAIRS = 20  # of each paradigm


def tell(phase: str, done: int, total: int) -> None:
    """Say on standard error how far it is, once in a while."""
    now = time.monotonic()
    if now - tell.told > 20.0:  # type: ignore[attr-defined]
        tell.told = now  # type: ignore[attr-defined]
        print(f"  {phase}: {done}/{total}", file=sys.stderr)


tell.told = 0.0  # type: ignore[attr-defined]


def language(corpus: Path, blimp: Path, cache: Path, per_paradigm: int, *, start: bool) -> dict[str, Any]:
    """Measure the shipped model, or its starting point: the encoder as installed with an untrained head."""
    backbone = load_backbone("minilm")
    tokenizer = tokenizer_of(backbone)
    known, held = sequences_of(corpus, tokenizer, cache, progress=tell)
    chosen = sorted(numpy_generator(0, "held-out sequences").permutation(len(held))[:HELD])
    texts = [tokenizer.decode(held.rows(np.array([row]))[0][1:-1].tolist()) for row in chosen]
    pairs = read_pairs(blimp, per_paradigm)
    if start:
        counts = torch.from_numpy(np.bincount(known.ids, minlength=len(tokenizer)))
        model = language_model_of(Learner(backbone, counts, RANK), "start")
    else:
        model = load_language_model(NAME, "masked", device="cpu")
    sizes = {"pairs": sum(map(len, pairs.values())), "per paradigm": per_paradigm, "held": len(texts)}
    return sizes | _measure(model, texts, pairs)


def _measure(model: LanguageModel, texts: list[str], pairs: Mapping[str, list[tuple[str, str]]]) -> dict[str, Any]:
    print(f"{model.name}: pseudo-perplexity, then minimal pairs", file=sys.stderr)
    perplexity, tokens = pseudo_perplexity(model, texts, tell)
    began = time.perf_counter()
    judged = minimal_pairs(model, pairs, tell)
    return {
        "perplexity": perplexity,
        "tokens": tokens,
        "blimp": judged.overall,
        "ties": judged.ties,
        "phenomena": {name: list(value) for name, value in by_phenomenon(judged.accuracy).items()},
        "paradigms": judged.accuracy,
        "seconds": time.perf_counter() - began,
    }


def language_lines(start: Mapping[str, Any], shipped: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines on the language model itself."""
    count = shipped["pairs"]
    error = (shipped["blimp"] * (1 - shipped["blimp"]) / count) ** 0.5
    yield "## As a language model\n"
    yield (
        f"Pseudo-perplexity of {shipped['held']} held-out sequences ({shipped['tokens']:,} tokens, of documents that "
        f"training never saw), and BLiMP: {shipped['per paradigm']} seeded pairs of each of the "
        f"{len(shipped['paradigms'])} paradigms ({count:,} of 67,000), by pseudo-log-likelihood without normalisation "
        f"of length. One standard error of the overall accuracy is about {100 * error:.1f} points. Starting point: the "
        "encoder as installed and the head before training, whose output bias knows how often each token is.\n"
    )
    yield "| | pseudo-perplexity | BLiMP | ties |\n|---|---:|---:|---:|"
    for title, each in (("starting point", start), ("minilm-mlm", shipped)):
        yield f"| {title} | {each['perplexity']:.1f} | {100 * each['blimp']:.1f} % | {100 * each['ties']:.1f} % |"
    yield (
        "\nPublished, on all 67,000 pairs (Zhang et al. 2021): RoBERTa pre-trained on 1M words 58.5 %, on 10M words "
        "72.0 %, on 100M words 79.7 %; people 88.6 %.\n"
    )
    yield "| phenomenon | paradigms | starting point | minilm-mlm |\n|---|---:|---:|---:|"
    for name, (accuracy, number) in shipped["phenomena"].items():
        yield f"| {name} | {number} | {100 * start['phenomena'][name][0]:.1f} | {100 * accuracy:.1f} |"
    ranked = sorted(shipped["paradigms"], key=shipped["paradigms"].get)
    worst = ", ".join(f"`{name}` ({100 * shipped['paradigms'][name]:.0f})" for name in ranked[:5])
    yield f"\nWeakest paradigms: {worst}.\n"


def page(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# minilm-mlm\n"
    yield "A masked language model for offline use on the encoder of all-MiniLM-L6-v2 (see the model card). Made by\n"
    yield f"```sh\n{COMMAND}\n```\n"
    if "start" in found and "language" in found:
        yield from language_lines(found["start"], found["language"])
    if "arguments" in found:
        yield from zero_shot.lines(found["arguments"])


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--blimp", type=Path)
    parser.add_argument("--eae", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="folder with the recipe's tokenised text (default --out)")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of each paradigm (default 20)")
    parser.add_argument("--parts", default=",".join(PARTS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    path = args.out / "minilm-mlm.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    try:
        for part in args.parts.split(","):
            missing = [f"--{name}" for name in PARTS[part] if getattr(args, name) is None]
            if missing:
                raise FrostlineError(f"the part {part!r} needs {' and '.join(missing)}.")
            if part == "arguments":
                found[part] = asdict(zero_shot.study(args.eae, (args.cache or args.out) / "scores.sqlite", tell))
            else:
                cache, start = args.cache or args.out, part == "start"
                found[part] = language(args.corpus, args.blimp, cache, args.pairs, start=start)
            write_json(path, found)
            write_text(args.out / "minilm-mlm.md", "\n".join(page(found)).rstrip() + "\n")
    except (FrostlineError, KeyError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
