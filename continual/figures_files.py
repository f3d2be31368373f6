"""The accuracy matrix and the predictions of a run as files that other programs read."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backbones.core.artifacts import load_tensors, save_tensors, write_text
from backbones.core.errors import FrostlineError
from backbones.core.reading import read_text
from continual.metrics import NOT_EVALUATED, Floats, Ints

MATRIX = "accuracy_matrix.csv"
PREDICTIONS = "predictions.safetensors"
CORNER = "after_experience"


@dataclass(frozen=True)
class Predictions:
    """Predictions of every step, int64 (steps, n), -1 = not evaluated; true classes and experiences, int64 (n,)."""

    predictions: Ints
    labels: Ints
    experiences: Ints


def write_matrix(path: Path, matrix: Floats) -> None:
    """Write R as CSV, atomically: one row per step, one column per experience, counted from 1, in [0, 1].

    Cells hold enough digits to read the same float64 back; a cell that was not evaluated is empty.

    Args:
        path: the file, such as ``RUN/accuracy_matrix.csv``.
        matrix: R, float64, shape (steps, experiences).

    Raises:
        FrostlineError: the folder cannot be written to.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([CORNER, *(f"experience_{index + 1}" for index in range(matrix.shape[1]))])
    for step, row in enumerate(matrix):
        table.writerow([step + 1, *("" if np.isnan(value) else repr(float(value)) for value in row)])
    write_text(path, text.getvalue())


def read_matrix(path: Path) -> Floats:
    """Return what ``write_matrix`` wrote, bit for bit.

    Raises:
        FrostlineError: the file is missing, no such table, or holds a cell that is no accuracy.
    """
    try:
        lines = list(csv.reader(read_text(path).splitlines()))
    except FileNotFoundError as error:
        raise FrostlineError(f"{path} does not exist; pass the {MATRIX} of a run folder.") from error
    except (OSError, ValueError, csv.Error) as error:
        raise FrostlineError(f"{path} is not a readable table ({error}); redraw it with `cil-run report`.") from error
    if len(lines) < 2 or lines[0][:1] != [CORNER] or len(lines[0]) < 2:
        raise FrostlineError(f"{path} is no accuracy matrix: its first line does not begin with {CORNER!r}.")
    matrix = np.full((len(lines) - 1, len(lines[0]) - 1), np.nan)
    for number, line in enumerate(lines[1:]):
        if len(line) != len(lines[0]):
            raise FrostlineError(f"{path}, line {number + 2}: {len(line)} cells instead of {len(lines[0])}.")
        matrix[number] = [_cell(path, number + 2, cell) for cell in line[1:]]
    return matrix


def write_predictions(path: Path, predictions: Ints, labels: Ints, experiences: Ints) -> None:
    """Write the predictions of every step as safetensors, atomically.

    Args:
        path: the file, such as ``RUN/predictions.safetensors``.
        predictions: int64, shape (steps, n); -1 = not evaluated. Stored as ``step_0000``, ``step_0001``, ...
        labels, experiences: int64, shape (n,); stored under these names.

    Raises:
        FrostlineError: shapes that do not fit, or a folder that cannot be written to.
    """
    import torch

    _check("the predictions to write", predictions, labels, experiences)
    tensors = {f"step_{step:04d}": torch.from_numpy(row.astype(np.int64)) for step, row in enumerate(predictions)}
    tensors["labels"] = torch.from_numpy(labels.astype(np.int64))
    tensors["experiences"] = torch.from_numpy(experiences.astype(np.int64))
    save_tensors(path, tensors, {"format": "frostline predictions", "version": "1"})


def read_predictions(path: Path) -> Predictions:
    """Return what ``write_predictions`` wrote.

    Raises:
        FrostlineError: the file is missing, corrupt, or holds something else.
    """
    import torch

    tensors, _ = load_tensors(path)
    steps = sorted(name for name in tensors if name.startswith("step_"))
    wanted = {f"step_{step:04d}" for step in range(len(steps))} | {"labels", "experiences"}
    if not steps or set(tensors) != wanted:
        raise FrostlineError(
            f"{path} holds {', '.join(sorted(tensors)) or 'nothing'}; predictions are step_0000, step_0001, ... with "
            "labels and experiences."
        )
    shapes = {(tuple(tensor.shape), tensor.dtype) for tensor in tensors.values()}
    if len(shapes) != 1 or any(len(shape) != 1 or kind != torch.int64 for shape, kind in shapes):
        raise FrostlineError(f"{path}: predictions, labels and experiences are int64 of one length; found {shapes}.")
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    stacked = np.stack([arrays[name] for name in steps])
    _check(str(path), stacked, arrays["labels"], arrays["experiences"])
    return Predictions(stacked, arrays["labels"], arrays["experiences"])


def _cell(path: Path, line: int, cell: str) -> float:
    try:
        value = float(cell) if cell else float("nan")
    except ValueError:
        value = -1.0
    if cell and not 0 <= value <= 1:
        raise FrostlineError(f"{path}, line {line}: {cell!r} is no accuracy; cells are between 0 and 1, or empty.")
    return value


def _check(what: str, predictions: Ints, labels: Ints, experiences: Ints) -> None:
    if predictions.ndim != 2 or predictions.shape[1:] != labels.shape or labels.shape != experiences.shape:
        raise FrostlineError(
            f"{what}: predictions have shape {predictions.shape}, labels {labels.shape}, experiences "
            f"{experiences.shape}; they need (steps, n), (n,) and (n,)."
        )
    if not predictions.size or min(predictions.min() - NOT_EVALUATED, labels.min(), experiences.min()) < 0:
        raise FrostlineError(
            f"{what}: classes and experiences are counted from 0 (a prediction may be -1, not evaluated), of one or "
            "more test samples."
        )
