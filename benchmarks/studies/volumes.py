"""What checkpoints of one pre-training know: codes of intents and minimal pairs against words seen, in one command.

    python -m benchmarks.studies.volumes CHECKPOINT... --texts clinc150.json --pairs blimp.json --work DIR --out DIR

Checkpoints are folders of ``backbone pretrain``, which say what they have seen. What is measured of one is kept in
``--work``: later ones can be added.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from backbones.analysis.layers import EMBEDDINGS, layer_features
from backbones.analysis.pair_files import PairsByName, read_pairs
from backbones.analysis.probe_page import facts_of
from backbones.analysis.ranking import divide, probe_layers
from backbones.analysis.study import Subject, Wanted, run_study
from backbones.analysis.volumes import Curve, learning_curves, read_volume
from backbones.catalog import load_backbone
from backbones.core.artifacts import digest_json, write_bytes, write_json, write_text
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.plots import lines
from benchmarks.catalog import BENCHMARKS

EACH = 16  # texts of each intent
PAIRS = 100  # minimal pairs of each paradigm
SEED = 0
FIGURES = {
    "code, last layer": "kbit",
    "code, embeddings": "kbit",
    "linear probe, last layer": "%",
    "minimal pairs": "%",
    "held-out loss": "nats a masked token",
}


def measure(folder: Path, known: Labelled, held: Labelled, pairs: Path, work: Path) -> dict[str, Any]:
    """Return what is known of a checkpoint, measuring what ``work`` does not hold."""
    volume = read_volume(str(folder))
    facts = json.loads((folder / "frostline.json").read_text(encoding="utf-8"))
    if volume is None or "loss" not in facts:
        raise FrostlineError(f"{folder} does not say what it has seen; pass checkpoints of backbone pretrain.")
    subject = Subject(str(folder), partial(load_backbone, str(folder)), volume[0])
    key = digest_json([facts["fingerprint"], EACH, PAIRS, SEED])[:16]
    codes = _kept(work / f"codes-{key}.json", lambda: _codes(folder, known, held))
    asked = _kept(work / f"pairs-{key}.json", lambda: _asked(subject, read_pairs(pairs, PAIRS, SEED)))
    single = {layer["layer"]: layer for layer in codes["layers"]}
    ends = [single[EMBEDDINGS], single[str(codes["depth"] - 1)]]
    return {
        "seen": volume[0],
        "parameters": codes["parameters"],
        "figures": {
            "code, last layer": ends[1]["mdl"]["kbit"],
            "code, embeddings": ends[0]["mdl"]["kbit"],
            "linear probe, last layer": 100 * ends[1]["linear"],
            "minimal pairs": 100 * asked["minimal pairs"]["mean"],
            "held-out loss": float(facts["loss"]),
        },
        "paradigms": asked["minimal pairs"]["accuracy"],
        "layers": [{**layer, "model": folder.name} for layer in ends],
    }


def _codes(folder: Path, known: Labelled, held: Labelled) -> dict[str, Any]:
    """Probe the first and the last layer of a checkpoint."""
    backbone = load_backbone(str(folder))
    first, second = (layer_features(backbone, part.samples, progress=_tell)[:, [0, -1]] for part in (known, held))
    found = probe_layers(str(folder), first, second, known, held, seed=SEED, progress=_tell)
    names = (EMBEDDINGS, str(backbone.depth - 1))
    layers = [replace(layer, layer=name).summary() for layer, name in zip(found, names, strict=True)]
    return {"parameters": backbone.parameter_count, "depth": backbone.depth, "layers": layers}


def _asked(subject: Subject, pairs: PairsByName) -> dict[str, Any]:
    """Put minimal pairs to a checkpoint."""
    say = partial(print, file=sys.stderr, flush=True)
    study = run_study([subject], Wanted(pairs=pairs, seed=SEED), progress=_tell, say=say)
    found: dict[str, Any] = facts_of(study)["backbones"][0]
    return found


def _kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what ``make`` has made, from ``path`` where it is."""
    if not path.is_file():
        write_json(path, make())
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def page(
    rows: Sequence[dict[str, Any]],
    curves: Sequence[Curve],
    since: float,
    known: int,
    held: int,
    pictures: Sequence[str],
) -> str:
    """Return the page."""
    head = "| words seen | " + " | ".join(f"{name}, {unit}" for name, unit in FIGURES.items()) + " |"
    body = [
        f"| {row['seen']:,.0f} | " + " | ".join(f"{row['figures'][name]:.2f}" for name in FIGURES) + " |"
        for row in rows
    ]
    error = 50 / math.sqrt(PAIRS * len(rows[0]["paradigms"]))
    uniform = rows[0]["layers"][0]["mdl"]["uniform kbit"]
    return "\n".join(
        [
            "# What checkpoints of one pre-training know",
            "",
            "    python -m benchmarks.studies.volumes CHECKPOINT... --texts clinc150.json --pairs blimp.json \\",
            f"        --since {since:.0f} --work DIR --out benchmarks/results",
            "",
            f"A BERT of {rows[0]['parameters'] / 1e6:.1f} M parameters, pre-trained from scratch by `backbone",
            f"pretrain` on English text, at {len(rows)} volumes. Codes: online code of the intents of {known:,}",
            f"training texts of CLINC150 (150 classes; a code that knows nothing takes {uniform:.2f} kbit), with",
            f"probes on frozen features; the linear probe is judged on {held} held-out training texts. Minimal",
            f"pairs: {PAIRS} of each of the {len(rows[0]['paradigms'])} paradigms of BLiMP by pseudo-log-likelihood,",
            f"chance 50 %, standard error about {error:.1f} points. One seed. An encoder that has seen",
            "next to nothing is a random projection of a text's words, which tells intents apart well: codes are to be",
            "read against that, not against the uniform one.",
            "",
            head,
            "|" + "---:|" * (len(FIGURES) + 1),
            *body,
            "",
            f"Curves and logistic fits over the {len(curves[0].x)} checkpoints from {since:,.0f} words on (`--since`):",
            "y = from + (to - from) / (1 + exp(-slope (ln x - ln middle))).",
            "",
            "| figure | monotone | from | to | middle, words | slope | R2 | remarks |",
            "|---|---|---:|---:|---:|---:|---:|---|",
            *(_fit_row(curve) for curve in curves),
            "",
            *(f"![{name}]({name})" for name in pictures),
            "",
        ]
    )


def _fit_row(curve: Curve) -> str:
    monotone = "yes" if curve.monotone else "no"
    if curve.fit is None:
        return f"| {curve.name} | {monotone} | | | | | | no fit: {curve.reason} |"
    fit = curve.fit
    return (
        f"| {curve.name} | {monotone} | {fit.left:.2f} | {fit.right:.2f} | {fit.middle:,.0f} | {fit.slope:.2f} | "
        f"{fit.r2:.3f} | {'; '.join(fit.notes) or 'none'} |"
    )


def curves_of(rows: Sequence[dict[str, Any]], since: float = 0.0) -> list[Curve]:
    """Return the curve of every figure over words seen, from ``since`` words on."""
    chosen = [row for row in rows if row["seen"] >= since]
    series = {name: [row["figures"][name] for row in chosen] for name in FIGURES}
    return learning_curves([row["seen"] for row in chosen], series)


def draw(rows: Sequence[dict[str, Any]], curves: Sequence[Curve], names: Sequence[str], y: str) -> bytes:
    """Return a picture of some figures of all checkpoints, with the fits."""
    chosen = [curve for curve in curves_of(rows) if curve.name in names]
    fits = {
        curve.name: curve.fit.line(curve.x[0], curve.x[-1])
        for curve in curves
        if curve.name in names and curve.fit is not None
    }
    return lines({curve.name: (curve.x, curve.y) for curve in chosen}, "words seen", y, log_x=True, fits=fits)


def _tell(phase: str, done: int, total: int) -> None:
    if done in (0, total):
        print(f"{phase}: {done} of {total}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--texts", required=True, help="file of CLINC150")
    parser.add_argument("--pairs", required=True, type=Path, help="minimal pairs of BLiMP")
    parser.add_argument("--since", type=float, default=0.0, help="fit the checkpoints from so many words on")
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    given = parser.parse_args()
    data = BENCHMARKS.load("split-clinc150").load(data_root=given.texts)
    train = Labelled(data.train, data.train.labels, data.class_names, "text").few(EACH, SEED)
    known, held = divide(train, 0.2, SEED)
    rows = [measure(folder, known, held, given.pairs, given.work) for folder in given.checkpoints]
    rows.sort(key=lambda row: float(row["seen"]))
    curves = curves_of(rows, given.since)
    write_bytes(given.out / "volumes-code.png", draw(rows, curves, ["code, last layer", "code, embeddings"], "kbit"))
    write_bytes(given.out / "volumes-pairs.png", draw(rows, curves, ["minimal pairs"], "accuracy, %"))
    text = page(rows, curves, given.since, len(known), len(held), ["volumes-code.png", "volumes-pairs.png"])
    write_text(given.out / "volumes.md", text)
    facts = {"since": given.since, "rows": rows, "curves": {curve.name: curve.summary() for curve in curves}}
    write_json(given.out / "volumes.json", facts)
    print(text)


if __name__ == "__main__":
    main()
