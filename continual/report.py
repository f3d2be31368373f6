"""The report of a run: a validated value, its files, and the collection of several seeds.

Everything here counts experiences and steps from 0; tables, CSV headers and pictures made for eyes count from 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, ValidationError, model_validator

from backbones.core.artifacts import write_json
from backbones.core.errors import FrostlineError
from backbones.core.reading import read_json
from backbones.core.settings import Settings
from continual.figures_summary import StepFigures, Summary
from continual.metrics import Floats, Interval, interval

REPORT = "report.json"


class Environment(Settings):
    """Where a run ran: versions as strings, ``cpu_threads`` of torch, ``device`` such as ``"cpu"``, its precision."""

    python: str
    platform: str
    packages: dict[str, str]
    cpu_threads: int = Field(ge=1)
    device: str = "cpu"
    precision: str | None = None


class Fingerprints(Settings):
    """Hex digests of the data, of the frozen weights, and of the delta's settings and tensors (None without one)."""

    data: str
    backbone: str
    delta: str | None = None


class ExperienceFacts(Settings):
    """One experience of the stream: its classes and how many samples it has."""

    classes: tuple[int, ...]
    train: int = Field(ge=0)
    test: int = Field(ge=0)


class StreamFacts(Settings):
    """The stream of a run; the classes of all experiences together are the class order."""

    name: str
    class_names: tuple[str, ...]
    class_order: tuple[int, ...]
    experiences: tuple[ExperienceFacts, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _covers(self) -> Self:
        flat = tuple(label for item in self.experiences for label in item.classes)
        if flat != self.class_order or len(set(flat)) != len(flat):
            raise ValueError("the experiences of a stream hold every class of its class order once, in that order")
        return self


class StepRecord(StepFigures):
    """One step: its figures (see StepFigures), what it trained on and what it cost.

    Attributes:
        index: index of the experience just learned, from 0.
        classes: the classes it introduced.
        train_samples: training samples of the experience.
        seconds: phase -> wall seconds of this step.
        forwards: samples sent through the backbone in this step (hits of the feature store are not counted).
        notes: what a reader must know, such as a halved batch.
    """

    index: int = Field(ge=0)
    classes: tuple[int, ...]
    train_samples: int = Field(ge=0)
    seconds: dict[str, float] = Field(default_factory=dict)
    forwards: int = Field(default=0, ge=0)
    notes: tuple[str, ...] = ()


class Parameters(Settings):
    """Numbers of parameters: frozen in the backbone, tuned in the PAT, tuned in the head, stored between steps."""

    backbone: int = Field(ge=0)
    trainable_pat: int = Field(ge=0)
    trainable_head: int = Field(ge=0)
    stored: int = Field(ge=0)


class RunReport(Settings):
    """All that one run of one seed found.

    Attributes:
        references: name (``"NCM"``, ``"joint"``) -> sample-weighted A_t of each step, None where there is none.
        bytes_per_class: bytes stored between steps, divided by the classes seen.
        forwards: samples sent through the backbone in all.
        seconds_by_phase: phase -> wall seconds; peak_memory_bytes: peak resident memory, None if unknown.
        ledger: what a crossbar would rewrite (``backbones.pat.ledger``); empty where the delta keeps none.
    """

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    kind: Literal["run"] = "run"
    title: str
    seed: int
    settings: dict[str, Any]
    environment: Environment
    fingerprints: Fingerprints
    stream: StreamFacts
    steps: tuple[StepRecord, ...] = Field(min_length=1)
    summary: Summary
    references: dict[str, tuple[float | None, ...]] = Field(default_factory=dict)
    parameters: Parameters
    bytes_per_class: float = Field(ge=0)
    forwards: int = Field(ge=0)
    seconds_by_phase: dict[str, float] = Field(default_factory=dict)
    peak_memory_bytes: int | None = Field(default=None, ge=0)
    ledger: dict[str, int | float] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        size = len(self.steps)
        if [step.index for step in self.steps] != list(range(size)):
            raise ValueError("the steps of a report are numbered 0, 1, 2 ... in order")
        if [step.classes for step in self.steps] != [part.classes for part in self.stream.experiences[:size]]:
            raise ValueError("the classes of each step are those of its experience in the stream")
        if [len(step.accuracy) for step in self.steps] != list(range(1, size + 1)):
            raise ValueError("step t of a report has the accuracy of experiences 0 to t")
        if [step.a_t_sample for step in self.steps] != list(self.summary.a_t_sample):
            raise ValueError("the summary of a report is that of its steps")
        for name, curve in self.references.items():
            if len(curve) != size:
                raise ValueError(f"the reference {name!r} has one value for each of the {size} steps")
        return self

    def matrix(self) -> Floats:
        """Return R, float64 of shape (steps, steps), NaN above the diagonal and where nothing was evaluated."""
        matrix = np.full((len(self.steps), len(self.steps)), np.nan)
        for step in self.steps:
            matrix[step.index, : step.index + 1] = [np.nan if x is None else x for x in step.accuracy]
        return matrix

    def numbers(self) -> dict[str, Any]:
        """Return what a killed and resumed run must repeat bit for bit, as a JSON value.

        Left out: settings and environment (what went in, folders among it), seconds, forwards, memory and notes
        (what it cost and met on the way).
        """
        cost = {"seconds", "forwards", "notes"}
        kept = {"schema_version", "seed", "fingerprints", "stream", "summary", "references", "parameters"}
        value = self.model_dump(mode="json", by_alias=True, include=kept | {"bytes_per_class"})
        value["steps"] = [step.model_dump(mode="json", exclude=cost) for step in self.steps]
        return value


class MultiReport(Settings):
    """Runs that differ in their seeds only, and the mean and interval of every figure."""

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    kind: Literal["multi"] = "multi"
    title: str
    confidence: float = Field(default=0.95, gt=0, lt=1)
    runs: tuple[RunReport, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _alike(self) -> Self:
        seeds = [run.seed for run in self.runs]
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds {seeds} hold one twice; every run of a report has its own seed")
        if len({(run.stream.name, len(run.steps)) for run in self.runs}) > 1:
            raise ValueError("the runs of a report have one stream and equally many steps")
        return self

    @cached_property
    def figures(self) -> dict[str, Interval | None]:
        """Scalar figure of ``Summary`` -> mean and interval over the seeds that define it, None if no seed does."""
        names = [name for name, value in self.runs[0].summary if not isinstance(value, tuple)]
        found: dict[str, Interval | None] = {}
        for name in names:
            values = [getattr(run.summary, name) for run in self.runs]
            defined = [value for value in values if value is not None]
            found[name] = interval(defined, self.confidence) if defined else None
        return found

    def numbers(self) -> list[dict[str, Any]]:
        """Return ``RunReport.numbers`` of every run."""
        return [run.numbers() for run in self.runs]


Report = RunReport | MultiReport


def collect(runs: Sequence[RunReport], title: str | None = None) -> MultiReport:
    """Return the report of several seeds.

    Raises:
        FrostlineError: no run, a seed twice, or runs of different streams or lengths.
    """
    first = runs[0].title if runs else ""
    return MultiReport.parse({"title": title or first, "runs": tuple(runs)}, "a report of several seeds")


def write_report(path: Path | str, report: Report) -> None:
    """Write ``report`` as JSON, atomically; a MultiReport's intervals are written beside its runs.

    Raises:
        FrostlineError: the folder cannot be written to.
    """
    path = Path(path)
    value = report.model_dump(mode="json", by_alias=True)
    if isinstance(report, MultiReport):
        value["figures"] = {name: item and item.model_dump(mode="json") for name, item in report.figures.items()}
    write_json(path, value)


def read_report(path: Path | str) -> Report:
    """Read what ``write_report`` wrote.

    Raises:
        FrostlineError: the file is missing, is no JSON, or holds something else than a report of schema 1.
    """
    path = Path(path)
    value = _read_json(path)
    kinds: Mapping[str, type[Report]] = {"run": RunReport, "multi": MultiReport}
    kind = str(value.get("kind")) if isinstance(value, dict) else "none"
    if kind not in kinds:
        raise FrostlineError(f"{path} has kind {kind!r}; a report has kind {' or '.join(map(repr, kinds))}.")
    if value.get("schema") != 1:
        raise FrostlineError(
            f"{path} has schema {value.get('schema')!r}; this version reads schema 1: use the version that wrote it."
        )
    if kind == "multi":
        value.pop("figures", None)
    try:
        return kinds[kind].model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the report"
        raise FrostlineError(
            f"{path} is not a valid report: {where}: {first['msg'].removeprefix('Value error, ')} "
            f"({error.error_count()} problem(s)). Write it again with `cil-run --resume`."
        ) from None


def _read_json(path: Path) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError as error:
        raise FrostlineError(f"{path} does not exist; pass a run folder that holds {REPORT}.") from error
    except (OSError, ValueError) as error:
        raise FrostlineError(
            f"{path} is not readable JSON ({error}); it may be half-written: write it again with `cil-run --resume`."
        ) from error
