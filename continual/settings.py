"""Settings of a run: one frozen object that is resolved, written first and enough to repeat the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from backbones.core.artifacts import write_text
from backbones.core.errors import FrostlineError
from backbones.core.reading import read_toml
from backbones.core.settings import Settings


class Tuning(Settings):
    """How a delta is trained on an experience.

    Args:
        epochs: passes over the experience.
        batch: samples per optimizer step.
        lr: peak learning rate of the delta (AdamW).
        head_lr: peak learning rate of the temporary cosine classifier.
        weight_decay: of the delta.
        warmup: share of the steps in which the rate rises linearly; it falls as a cosine after.
        scale: factor on the cosines of the temporary classifier.
        flip: mirror images at random, left to right; not possible with stored activations.
        clip: bound on the norm of the gradient.
    """

    epochs: int = Field(default=5, ge=1, le=1000)
    batch: int = Field(default=32, ge=1)
    lr: float = Field(default=5e-3, gt=0)
    head_lr: float = Field(default=1e-2, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    scale: float = Field(default=16.0, gt=0)
    flip: bool = False
    clip: float = Field(default=1.0, gt=0)


class RunSettings(Settings):
    """Everything that decides what a run computes.

    Args:
        benchmark: registered name, see ``cil-run --list benchmarks``.
        data_root: folder with the data, None for the cache.
        download: whether missing data may be downloaded.
        backbone: name or folder, None for the benchmark's, see ``cil-run --list backbones``.
        weights: file of weights for the backbone, None for its usual ones.
        image_size: side of the input in pixels, None for the backbone's own.
        preprocessing: of images, ``direct`` or ``crop``; None for what the backbone's folder states, else ``direct``.
        pooling: of a text encoder, ``mean`` or ``cls``; None for what its folder states, else ``mean``.
        max_tokens: of a text, None for what the encoder takes.
        pat: registered name, or several joined by ``+``; pat_settings: its settings, of a stack by member.
        pat_layers: layers that it may touch, such as ``6-11``, for every member that can be told; None for its own.
        pat_schedule: train the delta on the ``first`` experience only, or on ``every`` one.
        activations: keep what enters the lowest block that the PAT touches, on disk, so that the blocks below run once.
        tuning: how the delta is trained.
        sigma: width of the window of semantic-drift compensation in feature space, None to find one.
        head: registered name; head_settings: its settings.
        init_classes: classes of the first experience, None for the benchmark's, 0 for the increment.
        increment: classes of each later experience, None for the benchmark's.
        increments: explicit sizes instead.
        order: ``seed`` (what peers use), ``alphabetical``.
        shots: training samples per class, None for all.
        seeds: one run each: class order, shots, PAT, head.
        precision: ``fp32`` or ``bf16``; ``auto`` until it is resolved (see ``continual.plan.resolve``).
        device: ``cpu``, ``cuda`` ...; ``auto`` until it is resolved.
        threads: of torch on the CPU, None until it is resolved.
        chunk: samples per forward pass, None for a good number.
        reference: whether NCM is fitted on the same features beside the head.
    """

    benchmark: str = "split-digits"
    data_root: str | None = None
    download: bool = True
    backbone: str | None = None
    weights: str | None = None
    image_size: int | None = Field(default=None, ge=8, le=2048)
    preprocessing: Literal["direct", "crop"] | None = None
    pooling: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    pat: str = "frozen"
    pat_settings: dict[str, Any] = Field(default_factory=dict)
    pat_layers: str | None = None
    pat_schedule: Literal["first", "every"] = "first"
    activations: bool = False
    tuning: Tuning = Field(default_factory=Tuning)
    sigma: float | None = Field(default=None, gt=0)
    head: str = "ncm"
    head_settings: dict[str, Any] = Field(default_factory=dict)
    init_classes: int | None = Field(default=None, ge=0)
    increment: int | None = Field(default=None, ge=1)
    increments: tuple[int, ...] | None = None
    order: Literal["seed", "alphabetical"] = "seed"
    shots: int | None = Field(default=None, ge=1)
    seeds: tuple[int, ...] = Field(default=(1993,), min_length=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    threads: int | None = Field(default=None, ge=1)
    chunk: int | None = Field(default=None, ge=1, le=4096)
    reference: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds {list(self.seeds)} hold one twice; give each once")
        if min(self.seeds) < 0 or max(self.seeds) >= 2**32:
            raise ValueError(f"seeds {list(self.seeds)} must lie in 0 .. 2^32 - 1")
        if self.activations and self.tuning.flip:
            raise ValueError("tuning.flip needs the images; it cannot go with stored activations: switch one off")
        return self

    def changes(self, other: RunSettings) -> list[str]:
        """Return ``key: mine -> other's`` for every key that differs; the number of threads decides no figure."""
        mine, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        return [
            f"{key}: {mine[key]!r} -> {theirs[key]!r}" for key in mine if mine[key] != theirs[key] and key != "threads"
        ]


def write_settings(path: Path | str, settings: RunSettings) -> None:
    """Write settings as TOML; top-level keys that are None are left out."""
    path = Path(path)
    import tomli_w

    values = {key: value for key, value in settings.model_dump(mode="json").items() if value is not None}
    write_text(path, tomli_w.dumps({key: _spelt(value) for key, value in values.items()}))


def _spelt(value: Any) -> Any:
    """TOML has no null: inside the settings of a PAT or head it is spelt ``"null"``."""
    if isinstance(value, dict):
        return {key: _spelt(item) for key, item in value.items()}
    return "null" if value is None else value


def meant(values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a PAT or head with every ``"null"`` read as None."""
    return {key: _read_null(value) for key, value in values.items()}


def _read_null(value: Any) -> Any:
    if isinstance(value, dict):
        return meant(value)
    return None if value == "null" else value


def read_settings(path: Path | str) -> RunSettings:
    """Read settings from TOML.

    Raises:
        FrostlineError: missing file, no TOML (line and column named), unknown key or wrong value.
    """
    path = Path(path)
    try:
        values = read_toml(path)
    except FileNotFoundError as error:
        raise FrostlineError(f"{path} does not exist; pass the settings.toml of a run folder.") from error
    except (OSError, ValueError) as error:
        raise FrostlineError(f"{path} is no readable TOML: {error}. A run folder holds a settings.toml.") from error
    return RunSettings.parse(values, str(path))
