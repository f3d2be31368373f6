"""What checkpoints of one pre-training know: codes of labels and minimal pairs against what was seen, in one command.

    python -m benchmarks.studies.volumes CHECKPOINT... --spans TASK.jsonl... --pairs blimp.json --work DIR --out DIR

Checkpoints are folders that say what they have seen and their held-out loss: those of ``backbone pretrain``, or what
``python -m backbones.recipes.minilm_mlm --export`` writes. Tasks are labelled spans, see ``benchmarks.studies.edges``.
What is measured of one is kept in ``--work``: later ones can be added.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.analysis.layers import EMBEDDINGS
from backbones.analysis.mdl import online_code
from backbones.analysis.pair_files import PairsByName, read_pairs
from backbones.analysis.probe_page import facts_of
from backbones.analysis.ranking import Layer, probe_layers
from backbones.analysis.spans import Edges, read_edges, span_features
from backbones.analysis.study import Subject, Wanted, run_study
from backbones.analysis.volumes import Curve, learning_curves, read_volume
from backbones.catalog import load_backbone
from backbones.core.artifacts import digest_json, write_bytes, write_json, write_text
from backbones.core.errors import FrostlineError
from backbones.plots import lines
from benchmarks.studies.volumes_page import PAIRS_NAME, page

PAIRS = 50  # minimal pairs of each paradigm
ORDERS = 5  # of the rows, for a code
SEED = 0
LOSS = "held-out loss"


def measure(folder: Path, tasks: Mapping[str, Edges], pairs: Path, each: int, work: Path) -> dict[str, Any]:
    """Return what is known of a checkpoint, measuring what ``work`` does not hold."""
    volume = read_volume(str(folder))
    facts = json.loads((folder / "frostline.json").read_text(encoding="utf-8"))
    if volume is None or "loss" not in facts:
        raise FrostlineError(f"{folder} does not say what it has seen; pass checkpoints of backbone pretrain.")
    subject = Subject(str(folder), partial(load_backbone, str(folder)), volume[0])
    mine = facts["fingerprint"]
    codes = {
        name: _kept(work / f"{name}-{_key(mine, _stated(edges))}.json", partial(_code, folder, edges))
        for name, edges in tasks.items()
    }
    ask = partial(_asked, subject, read_pairs(pairs, each, SEED))
    asked = _kept(work / f"pairs-{_key(mine, [each, SEED])}.json", ask)
    figures = {f"code of {name}": fmean(code["orders"]) for name, code in codes.items()}
    figures[PAIRS_NAME] = 100 * asked[PAIRS_NAME]["mean"]
    figures[LOSS] = float(facts["loss"])
    return {
        "seen": volume[0],
        "unit": volume[1],
        "made": facts["made"],
        "parameters": next(iter(codes.values()))["parameters"],
        "figures": figures,
        "codes": codes,
        "paradigms": asked[PAIRS_NAME]["accuracy"],
    }


def _key(*stated: Any) -> str:
    return digest_json(list(stated))[:16]


def _stated(edges: Edges) -> Any:
    return [list(edges.texts), [list(place) for place in edges.places], edges.labels.tolist(), SEED]


def _code(folder: Path, edges: Edges) -> dict[str, Any]:
    """Probe the embeddings and the last layer of a checkpoint; code the labels by the last in several orders."""
    backbone = load_backbone(str(folder))
    features, kept = span_features(backbone, edges, progress=_tell)
    task = edges.take(kept)
    known, held = task.divide(seed=SEED)
    ends = features[:, [0, -1]]
    first, second = (ends[torch.from_numpy(rows)] for rows in (known, held))
    probed = probe_layers(folder.name, first, second, task.take(known), task.take(held), seed=SEED, progress=_tell)
    names = {"embeddings": EMBEDDINGS, "last": str(backbone.depth - 1)}
    found: dict[str, Layer] = dict(zip(names, probed, strict=False))
    layers = {name: replace(layer, layer=names[name]).summary() for name, layer in found.items()}
    orders = codes_in_orders(first[:, 1], task.labels[known], len(edges.classes))
    size = {"known": len(known), "held": len(held), "classes": len(edges.classes)}
    return {"parameters": backbone.parameter_count, **size, **layers, "orders": orders}


def codes_in_orders(features: Tensor, labels: NDArray[np.int64], classes: int) -> list[float]:
    """Return the length of the online code in kbit for each of ``ORDERS`` orders of the rows.

    One order alone is a noisy estimate: what the first portions happen to hold decides a good part of it.
    """
    return [online_code(features, labels, classes, seed=seed).bits / 1000 for seed in range(ORDERS)]


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


def curves_of(rows: Sequence[dict[str, Any]], since: float = 0.0) -> list[Curve]:
    """Return the curve of every figure over what was seen, from ``since`` on."""
    chosen = [row for row in rows if row["seen"] >= since]
    series = {name: [row["figures"][name] for row in chosen] for name in rows[0]["figures"]}
    return learning_curves([row["seen"] for row in chosen], series)


def draw(rows: Sequence[dict[str, Any]], curves: Sequence[Curve], names: Sequence[str], y: str) -> bytes:
    """Return a picture of some figures of all checkpoints, with the fits."""
    chosen = [curve for curve in curves_of(rows) if curve.name in names]
    points = {
        curve.name: ([x for x in curve.x if x > 0], [b for a, b in zip(curve.x, curve.y, strict=True) if a > 0])
        for curve in chosen
    }
    fits = {
        curve.name: curve.fit.line(min(x for x in curve.x if x > 0), curve.x[-1])
        for curve in curves
        if curve.name in names and curve.fit is not None
    }
    return lines(points, f"{rows[0]['unit']} seen", y, log_x=True, fits=fits)


def _tell(phase: str, done: int, total: int) -> None:
    if done in (0, total):
        print(f"{phase}: {done} of {total}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument(
        "--spans", required=True, nargs="+", type=Path, help="labelled spans; a file's name is the task's"
    )
    parser.add_argument("--pairs", required=True, type=Path, help="minimal pairs of BLiMP")
    parser.add_argument("--each", type=int, default=PAIRS, help="pairs of each paradigm (default 50)")
    parser.add_argument("--since", type=float, default=0.0, help="fit the checkpoints from so much on")
    parser.add_argument("--name", default="volumes", help="of the files that are written")
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    return parser.parse_args()


def main() -> None:
    """Run the study."""
    given = _arguments()
    tasks = {path.stem: read_edges(path) for path in given.spans}
    rows = [measure(folder, tasks, given.pairs, given.each, given.work) for folder in given.checkpoints]
    rows.sort(key=lambda row: float(row["seen"]))
    curves = curves_of(rows, given.since)
    codes = [f"code of {name}" for name in tasks]
    pictures = [f"{given.name}-code.png", f"{given.name}-pairs.png"]
    write_bytes(given.out / pictures[0], draw(rows, curves, codes, "kbit"))
    write_bytes(given.out / pictures[1], draw(rows, curves, [PAIRS_NAME], "accuracy, %"))
    facts = {
        "since": given.since,
        "each": given.each,
        "rows": rows,
        "curves": {curve.name: curve.summary() for curve in curves},
    }
    write_json(given.out / f"{given.name}.json", facts)
    text = page(facts, curves, given.name, pictures)
    write_text(given.out / f"{given.name}.md", text)
    print(text)


if __name__ == "__main__":
    main()
