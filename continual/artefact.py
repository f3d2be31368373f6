"""The artefact: what a run leaves to be used, and using it on images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from backbones.core.artifacts import digest_files, digest_json, load_tensors, save_tensors, write_json
from backbones.core.errors import FrostlineError
from backbones.core.launch import emulation, pick_device
from backbones.core.reading import read_json
from backbones.core.seed import derive
from backbones.deltas import load_delta, save_delta
from backbones.encoder import Encoder
from continual.settings import RunSettings

if TYPE_CHECKING:
    from backbones.base import Backbone
    from backbones.delta import Delta
    from benchmarks.types import Stream
    from continual.engine import Engine
    from continual.plan import Plan

FACTS, DELTA, HEAD = "artefact.json", "delta", "head.safetensors"
SCHEMA = 3  # 2 had no digests
OLD_DELTA = "delta.safetensors"  # of schema 1: the tensors alone


def write_artefact(folder: Path | str, plan: Plan, stream: Stream, engine: Engine) -> None:
    """Write settings, delta and head; the frozen weights are named and fingerprinted, not copied.

    The delta lies in a folder of its own, as ``backbones.deltas.save_delta`` writes it: in PEFT's format where PEFT has
    the method.
    """
    folder = Path(folder)
    save_delta(engine.delta, folder / DELTA, plan.settings.backbone, derive(engine.seed, "pat"))
    save_tensors(folder / HEAD, engine.head.state())
    pictures = getattr(plan.dataset.train, "pictures", None)
    facts: dict[str, Any] = {
        "schema": SCHEMA,
        "settings": plan.settings.model_dump(mode="json"),
        "seed": engine.seed,
        "class_names": list(stream.class_names),
        "backbone_fingerprint": plan.backbone.fingerprint(),
        "ceilings": pictures.ceilings() if pictures is not None else {},
    }
    facts["files"] = {name: digest for name, digest in digest_files(folder).items() if name != FACTS}
    write_json(folder / FACTS, {**facts, "digest": digest_json(facts)})


@dataclass
class Classifier:
    """A finished run that classifies raw images.

    Attributes:
        class_names: names that predictions index.
        notes: what a user must know of how it was read, and of how it is computed if not as the run was.
        ceilings: greatest values of deep images in the data of the run, by which others are scaled too.
    """

    encoder: Encoder
    head: Any
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    ceilings: dict[str, float] = field(default_factory=dict)

    def predict(self, raw: Sequence[Any], top: int = 1) -> list[list[tuple[str, float]]]:
        """Return for each raw input the ``top`` classes with their scores, best first.

        Args:
            raw: images, uint8 of shape (height, width, 3), RGB.
            top: how many classes, at most those learned.
        """
        features = self.encoder.features(raw)
        best = self.head.predict(features)
        scores = self.head.scores(features)
        found = []
        for row, winner in zip(scores, best.tolist(), strict=True):
            order = row.argsort(descending=True, stable=True)
            columns = [int(c) for c in order.tolist()]
            columns.sort(key=lambda c: int(self.head.classes_[c]) != winner)  # ties resolved as predict does
            chosen = columns[: max(1, top)]
            found.append([(self.class_names[int(self.head.classes_[c])], float(row[c])) for c in chosen])
        return found


def read_artefact(run: Path | str, seed: int | None = None, device: str | None = None) -> Classifier:
    """Load the artefact of a run.

    Args:
        run: run folder, seed folder, or artefact folder.
        seed: which seed of a run folder, None for the first.
        device: where to compute, None for where the run did, or what is here if that is not. The precision is that of
            the run.

    Raises:
        FrostlineError: no artefact there, a file of it that is not the one that was written (by its digest), or the
            backbone is another one now (fingerprints shown).
    """
    run = Path(run)
    from continual.heads import HEADS
    from continual.plan import load_for

    folder = _find(run, seed)
    try:
        facts = read_json(folder / FACTS)
    except (OSError, ValueError) as error:
        raise FrostlineError(f"{folder / FACTS} is not readable ({error}); finish the run with --resume.") from error
    notes = _check(folder, facts)
    settings = RunSettings.parse(facts["settings"], str(folder / FACTS))
    settings, more = _placed(settings, device)
    backbone = load_for(settings)
    if backbone.fingerprint() != facts["backbone_fingerprint"]:
        raise FrostlineError(
            f"the backbone {settings.backbone!r} is not the one of this run: fingerprint "
            f"{backbone.fingerprint()[:12]} now, {facts['backbone_fingerprint'][:12]} then. Restore its weights."
        )
    delta = _read_delta(folder, settings, backbone, facts["seed"])
    head = HEADS.load(settings.head).parse(settings.head_settings, "head").build(derive(facts["seed"], "head"))
    head.load_state(load_tensors(folder / HEAD)[0])
    with torch.no_grad():
        encoder = Encoder(backbone, delta, settings.precision, settings.chunk)
    said = (*notes, *more, *emulation(encoder.precision, backbone.device))
    return Classifier(encoder, head, tuple(facts["class_names"]), said, dict(facts.get("ceilings", {})))


def _check(folder: Path, facts: Any) -> tuple[str, ...]:
    """Compare an artefact with the digests that it holds; returns notes where it is too old to hold any."""
    again = "Copy the artefact again, or make it anew with a run."
    if not isinstance(facts, dict) or not isinstance(facts.get("schema"), int):
        raise FrostlineError(f"{folder / FACTS} is not what a run writes; {again[0].lower()}{again[1:]}")
    if facts["schema"] < SCHEMA:
        return (f"{folder} was written by an earlier version, without digests: its files are taken as they are",)
    if facts["schema"] > SCHEMA:
        raise FrostlineError(
            f"{folder / FACTS} has schema {facts['schema']}; this version reads up to {SCHEMA}: use a newer one."
        )
    said = {key: value for key, value in facts.items() if key != "digest"}
    if digest_json(said) != facts.get("digest"):
        raise FrostlineError(f"{folder / FACTS} was changed after it was written (its digest is another). {again}")
    found = digest_files(folder)
    for name, digest in facts["files"].items():
        if found.get(name) != digest:
            state = "was changed after it was written (its digest is another)" if name in found else "is missing"
            raise FrostlineError(f"{folder / name} {state}. {again}")
    return ()


def _placed(settings: RunSettings, device: str | None) -> tuple[RunSettings, list[str]]:
    """Return the resolved settings of an artefact on a device of this machine, and what had to be assumed."""
    from continual.plan import resolve

    notes = []
    if device is None:
        try:
            pick_device(settings.device)
        except FrostlineError:
            device = "auto"
            notes.append(f"the run was computed on {settings.device}, which is not here; {pick_device('auto')} is used")
    ready, _, _ = resolve(settings.model_copy(update={"device": device or settings.device}))
    if settings.precision == "auto":
        notes.append(f"the artefact does not say in which precision it was made; {ready.precision} is assumed")
    return ready, notes


def _read_delta(folder: Path, settings: RunSettings, backbone: Backbone, seed: int) -> Delta:
    if (folder / DELTA).is_dir() or not (folder / OLD_DELTA).exists():
        return load_delta(folder / DELTA, backbone)
    from backbones.pat.stack import make_pat

    delta: Delta = make_pat(settings.pat, settings.pat_settings).grow(backbone, derive(seed, "pat"))
    delta.load_state_dict(load_tensors(folder / OLD_DELTA)[0])
    return delta


def _find(run: Path, seed: int | None) -> Path:
    places = [run, run / "artefact", *sorted(run.glob("seed-*/artefact"))]
    if seed is not None:
        places = [run / f"seed-{seed}" / "artefact"]
    for place in places:
        if (place / FACTS).exists():
            return place
    seeds = sorted(path.parent.parent.name for path in run.glob("seed-*/artefact/" + FACTS))
    has = f" It has {', '.join(seeds)}." if seeds else ""
    raise FrostlineError(
        f"{run} holds no artefact{' of seed ' + str(seed) if seed is not None else ''}.{has} "
        "Pass the folder of a finished run; finish one with --resume."
    )
