"""A run in its folder: settings first, checkpoints on the way, report, pictures and artefact at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backbones.core.artifacts import digest_json, load_tensors, save_tensors, write_json, write_text
from backbones.core.errors import FrostlineError
from backbones.core.lock import FolderLock
from backbones.core.reading import read_json
from backbones.core.samples import Progress, silent
from backbones.core.seed import derive
from backbones.features import FeatureStore
from backbones.pat.ledger import ledger, notes_of
from benchmarks.types import Stream
from continual.artefact import write_artefact
from continual.checkpoint import Checkpoints
from continual.engine import HEAD, Engine, Step, test_labels
from continual.figures_files import MATRIX, write_matrix, write_predictions
from continual.figures_summary import StepFigures, combine, step_figures
from continual.metrics import experience_of
from continual.plan import Plan, environment, resolve, sample_rows
from continual.report import REPORT, MultiReport, Report, RunReport, collect, write_report
from continual.settings import read_settings, write_settings
from continual.spent import peak_memory

SETTINGS, ENVIRONMENT, FINGERPRINTS, MAP = "settings.toml", "environment.json", "fingerprints.json", "map.safetensors"
MAP_SAMPLES = 2000


@dataclass
class Run:
    """A run of all seeds in one folder.

    Args:
        plan: what to run.
        folder: where; None keeps nothing.
        store: of features, shared by the seeds.
        progress: told of every long phase.
    """

    plan: Plan
    folder: Path | None
    store: FeatureStore
    progress: Progress = silent
    reports: list[RunReport] = field(default_factory=list)
    fingerprints: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _lock: FolderLock | None = None
    _scored: dict[int, dict[str, list[StepFigures]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = None if self.folder is None else Path(self.folder)

    def begin(self, resumed: bool) -> None:
        """Take the folder; write fingerprints, environment and settings, or compare with those of the run to resume.

        The folder is held until ``finish``, until ``steps`` ends in an error, or until ``close``.

        Raises:
            FrostlineError: the folder holds another run, is in use by another process, cannot be written to, or data or
                weights have changed since.
        """
        self.fingerprints = self.plan.fingerprints()
        self.environment = environment(self.plan.settings)
        if self.folder is None:
            return
        self._lock = FolderLock(self.folder)
        self._lock.take()
        try:
            if resumed:
                self._compare(self.folder)
                return
            if (self.folder / SETTINGS).exists():
                raise FrostlineError(
                    f"{self.folder} already holds a run; continue it with --resume {self.folder} or pass another --out."
                )
            write_json(self.folder / FINGERPRINTS, self.fingerprints)
            write_json(self.folder / ENVIRONMENT, self.environment)
            write_settings(self.folder / SETTINGS, self.plan.settings)  # last: with it, the folder holds a run
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _compare(self, folder: Path) -> None:
        held = read_settings(folder / SETTINGS)
        changed = resolve(held)[0].changes(self.plan.settings)
        if changed:
            raise FrostlineError(
                f"{folder} was run with other settings ({'; '.join(changed)}). "
                "Resume without these options, or start a new run with --out."
            )
        if held.precision == "auto":  # of a version that did not resolve it
            self.notes.append(f"{folder / SETTINGS} says precision auto; {self.plan.settings.precision} is assumed")
            write_settings(folder / SETTINGS, self.plan.settings)
        then = _read_json(folder / FINGERPRINTS)
        if not then:
            if any(folder.glob("seed-*/checkpoints/step-*")):
                self.notes.append(f"{folder / FINGERPRINTS} is gone: data and weights are taken to be as they were")
            write_json(folder / FINGERPRINTS, self.fingerprints)
        for what, digest in self.fingerprints.items():
            if then and then.get(what) != digest:
                raise FrostlineError(
                    f"the {what} changed since {folder} was begun: {str(then.get(what))[:12]} then, {digest[:12]} "
                    "now. Restore it, or start a new run with --out."
                )
        self._compare_environment(folder)

    def _compare_environment(self, folder: Path) -> None:
        """Keep the environment in which the run was begun, and note what differs now."""
        then = _read_json(folder / ENVIRONMENT)
        if not then:
            write_json(folder / ENVIRONMENT, self.environment)
            return
        now = self.environment
        changed = [
            f"{key} {then[key]} -> {now[key]}"
            for key in now
            if key != "packages" and then.get(key, now[key]) != now[key]
        ]
        before, after = then.get("packages", {}), now["packages"]
        changed += [f"{name} {before.get(name)} -> {after[name]}" for name in after if before.get(name) != after[name]]
        if changed:
            self.notes.append(f"the run goes on in another environment: {', '.join(changed)}")
        self.environment = {**now, **then}

    def steps(self) -> Iterator[tuple[int, Step, RunReport]]:
        """Run every seed; after each step yield (seed, step, report so far)."""
        try:
            for seed in self.plan.settings.seeds:
                yield from self._seed(seed)
        except BaseException:
            self.close()
            raise

    def _seed(self, seed: int) -> Iterator[tuple[int, Step, RunReport]]:
        plan, settings = self.plan, self.plan.settings
        stream = plan.stream(seed)
        place = self.place(seed)
        mine = digest_json([seed, self.fingerprints])
        keeper = Checkpoints(place / "checkpoints", mine) if place is not None else None
        engine = Engine(
            plan.backbone,
            plan.pat,
            plan.head.build(derive(seed, "head")),
            references={name: head.build(derive(seed, name)) for name, head in plan.references.items()},
            store=self.store,
            tuning=settings.tuning,
            schedule=settings.pat_schedule,
            activations=settings.activations,
            sigma=settings.sigma,
            seed=seed,
            precision=settings.precision,
            chunk=settings.chunk,
            keeper=keeper,
            progress=self.progress,
        )
        try:
            steps = keeper.restore(engine) if keeper is not None else []
            # A finished seed is passed over quickly: its figures come from the checkpoint alone.
            for step in steps:
                yield seed, step, self.report(seed, stream, engine, steps[: step.index + 1])
            for step in engine.run(stream):
                steps.append(step)
                yield seed, step, self.report(seed, stream, engine, steps)
            report = self.report(seed, stream, engine, steps)
            self.reports.append(report)
            if place is not None:
                self._write(place, report, stream, engine, steps)
        finally:
            engine.close()

    def place(self, seed: int) -> Path | None:
        """Return the folder of one seed."""
        return None if self.folder is None else self.folder / f"seed-{seed}"

    def report(self, seed: int, stream: Stream, engine: Engine, steps: list[Step]) -> RunReport:
        """Return the report of the steps so far."""
        curves = self._figures(seed, stream, steps)
        records = []
        for step, figures in zip(steps, curves[HEAD], strict=True):
            records.append(
                {
                    **figures.model_dump(),
                    "index": step.index,
                    "classes": step.classes,
                    "train_samples": step.train_samples,
                    "seconds": step.seconds,
                    "forwards": round(step.forwards),
                    "notes": tuple(step.notes),
                }
            )
        seen = sum(len(step.classes) for step in steps)
        head = engine.head
        delta = engine.delta.fingerprint() or None
        return RunReport.model_validate(
            {
                "title": f"{self.plan.settings.pat} + {self.plan.settings.head}",
                "seed": seed,
                "settings": self.plan.settings.model_dump(mode="json"),
                "environment": self.environment or environment(self.plan.settings),
                "fingerprints": {**self.fingerprints, "delta": delta},
                "stream": _facts(stream),
                "steps": records,
                "summary": combine(curves[HEAD]),
                "references": {n: combine(c).a_t_sample for n, c in curves.items() if n != HEAD},
                "parameters": {
                    "backbone": self.plan.backbone.parameter_count,
                    "trainable_pat": engine.delta.parameter_count,
                    "trainable_head": head.trainable_parameters,
                    "stored": head.stored_parameters,
                },
                "bytes_per_class": 4 * head.stored_parameters / seen,
                "forwards": sum(round(step.forwards) for step in steps),
                "seconds_by_phase": _sum([step.seconds for step in steps]),
                "peak_memory_bytes": max(step.peak for step in steps) or peak_memory(),
                "ledger": ledger(engine.delta),
                "notes": (*self.plan.notes, *self.notes, *notes_of(engine.delta)),
            }
        )

    def _figures(self, seed: int, stream: Stream, steps: list[Step]) -> dict[str, list[StepFigures]]:
        """Return the figures of every step, head by head; each step is scored once."""
        known = self._scored.setdefault(seed, {})
        labels, classes = test_labels(stream), [e.classes for e in stream.experiences]
        for name in steps[0].predictions:
            curve = known.setdefault(name, [])
            for number in range(len(curve), len(steps)):
                before = steps[number - 1].predictions[name] if number else None
                curve.append(step_figures(steps[number].predictions[name], labels, classes, before, step=number))
        return known

    def _write(self, place: Path, report: RunReport, stream: Stream, engine: Engine, steps: list[Step]) -> None:
        write_report(place / REPORT, report)
        write_matrix(place / MATRIX, report.matrix())
        labels = test_labels(stream)
        predictions = np.stack([step.predictions[HEAD] for step in steps])
        experiences = experience_of(labels, [e.classes for e in stream.experiences])
        write_predictions(place / "predictions.safetensors", predictions, labels, experiences)
        write_artefact(place / "artefact", self.plan, stream, engine)
        save_tensors(place / MAP, self._map(stream, engine))

    def _map(self, stream: Stream, engine: Engine) -> dict[str, torch.Tensor]:
        parts = [
            self.store.features(engine.encoder, e.test, progress=self.progress, phase="map") for e in stream.experiences
        ]
        rows = torch.from_numpy(sample_rows(sum(map(len, parts)), MAP_SAMPLES))
        found = {"features": torch.cat(parts)[rows], "labels": torch.from_numpy(test_labels(stream))[rows]}
        for kind, (points, classes) in engine.head.prototypes().items():
            found |= {f"prototypes.{kind}.points": points, f"prototypes.{kind}.classes": classes}
        return found

    def finish(self) -> Report:
        """Write what all seeds share, let go of the folder and return the report: of one run, or of several seeds."""
        report: Report = self.reports[0] if len(self.reports) == 1 else collect(self.reports)
        try:
            if self.folder is not None:
                write_report(self.folder / REPORT, report)
                self.notes += draw(self.folder, report)
        finally:
            self.close()
        return report


def draw(folder: Path, report: Report) -> list[str]:
    """Draw the pictures and the page of a run folder again; what cannot be drawn is left out.

    Returns:
        What is left out and why: all figures are in the report, so no failure here costs any.
    """
    from continual.page import page
    from continual.plots import draw_report, write_pictures

    pictures: dict[str, bytes] = {}
    notes: list[str] = []

    def attempt(what: str, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # whatever it is: the run is done, and its figures are written
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            notes.append(f"{what} could not be drawn ({reason}); all figures are kept: cil-run report {folder}")

    attempt("the pictures", lambda: pictures.update(draw_report(report)))
    attempt("the map", lambda: pictures.update(_map(folder, report)))
    attempt("the files in plots", lambda: write_pictures(folder / "plots", pictures))
    attempt("report.html", lambda: write_text(folder / "report.html", page(report, pictures)))
    return notes


def _map(folder: Path, report: Report) -> dict[str, bytes]:
    from continual.figures_map import feature_map

    first = report.runs[0] if isinstance(report, MultiReport) else report
    place = folder / f"seed-{first.seed}" / MAP
    tensors = load_tensors(place)[0] if place.exists() else {}
    if len(tensors.get("features", ())) < 2:  # one test sample spans no plane
        return {}
    kinds = sorted({name.split(".")[1] for name in tensors if name.startswith("prototypes.")})
    prototypes = {
        kind: (tensors[f"prototypes.{kind}.points"].numpy(), tensors[f"prototypes.{kind}.classes"].numpy())
        for kind in kinds
    }
    features, labels = tensors["features"].numpy(), tensors["labels"].numpy()
    return {"map.png": feature_map(features, labels, prototypes, first.stream.class_names)}


def _facts(stream: Stream) -> dict[str, Any]:
    parts = [{"classes": e.classes, "train": len(e.train), "test": len(e.test)} for e in stream.experiences]
    return {
        "name": stream.name,
        "class_names": stream.class_names,
        "class_order": stream.class_order,
        "experiences": parts,
    }


def _sum(phases: list[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for row in phases:
        for phase, seconds in row.items():
            total[phase] = total.get(phase, 0.0) + seconds
    return total


def _read_json(path: Path) -> dict[str, Any]:
    """Return what a file of facts says; nothing if it is missing or damaged."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
