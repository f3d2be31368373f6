"""Whether a file holds anything of withheld blocks: by value, whatever its tensors are called.

Every floating-point or integer tensor of the file is compared with every withheld tensor in three ways:

- **runs**: 16 values that follow one another in a withheld tensor follow one another in the file too, at the precision
  of bfloat16. Finds copies, slices, reshaped and embedded copies, and copies stored in half precision.
- **whole**: the correlation with a tensor of as many values, as it lies or transposed, is 0.99 or more in absolute
  value. Finds rescaled, shifted, negated and quantised copies.
- **vectors**: the same between rows and columns: 64 of each withheld matrix, evenly spread, against all rows and
  columns of the file that are as long. Finds copies whose rows or columns were rescaled, permuted or left out.

A tensor without two different values (a fresh bias, a gain of ones) says nothing and is counted as constant. What none
of them finds: parts of fewer than 16 neighbours that were also rescaled, and weights mixed with noise or one another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from backbones.base import Backbone
from backbones.core.artifacts import load_tensors
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.lifecycle.offsite.layout import Layout

RUN = 16  # neighbours that make a run
ALIKE = 0.99  # absolute correlation from which two tensors count as copies of one another
SPREAD = 64  # rows and columns of a withheld matrix that are compared
PHASE = "looking for what is withheld"
_PRIME = 0x9E3779B97F4A7C15 - (1 << 64)  # odd, and negative as a signed number: arithmetic modulo 2^64


@dataclass(frozen=True)
class Leak:
    """A withheld tensor, the tensor of the file that gives it away, and how."""

    withheld: str
    found: str
    how: str

    def __str__(self) -> str:
        return f"{self.found} in the file {self.how} {self.withheld}"


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        leaks: one for each withheld tensor that was found, the first way in which it was.
        withheld: tensors looked for, of which ``constant`` say nothing.
        tensors: tensors of the file.
        alike: largest absolute correlation of a whole withheld tensor of two dimensions with a tensor of the file.
        vectors: the same of their rows and columns.
    """

    leaks: tuple[Leak, ...]
    withheld: int
    constant: int
    tensors: int
    alike: float
    vectors: float


def withheld_tensors(full: Backbone, layout: Layout) -> dict[str, Tensor]:
    """Return every tensor of the blocks that ``layout`` withholds, by its name in the full model."""
    roots = {layer: f"{full.sites('block', layer)[0].path}." for layer in layout.withheld}
    state = full.frozen_state()
    return {name: value for name, value in state.items() if any(name.startswith(root) for root in roots.values())}


def check_file(full: Backbone, layout: Layout, path: Path, progress: Progress = silent) -> Search:
    """Search a safetensors file of anyone for the blocks that ``layout`` withholds of ``full``.

    Args:
        full: the full model.
        layout: what is withheld.
        path: the file.
        progress: told of the withheld tensors that were looked for.

    Raises:
        FrostlineError: the file cannot be read, or holds something of a withheld block; the first is named.
    """
    tensors, _ = load_tensors(path)
    return refuse(search(withheld_tensors(full, layout), tensors, progress), str(path))


def refuse(found: Search, where: str) -> Search:
    """Return ``found``; raises FrostlineError if it has leaks."""
    if found.leaks:
        more = f", and {len(found.leaks) - 1} more" if len(found.leaks) > 1 else ""
        raise FrostlineError(
            f"{where} holds what was to be withheld: {found.leaks[0]}{more}. Do not hand it over; where blocks of the "
            "model are equal, withhold none of them, or keep all of the middle."
        )
    return found


def search(withheld: Mapping[str, Tensor], tensors: Mapping[str, Tensor], progress: Progress = silent) -> Search:
    """Look for withheld tensors among the tensors of a file (see the head of this module).

    Args:
        withheld: name -> tensor of any shape and type.
        tensors: name -> tensor of any shape and type.
        progress: told of the withheld tensors done.
    """
    file = {name: value.detach().cpu().float() for name, value in tensors.items() if value.numel() > 1}
    runs = {name: _runs(value) for name, value in file.items()}
    vectors = {name: _vectors(value) for name, value in file.items()}
    leaks: list[Leak] = []
    constant, alike, along = 0, 0.0, 0.0
    for number, (name, raw) in enumerate(withheld.items()):
        progress(PHASE, number, len(withheld))
        value = raw.detach().cpu().float()
        if value.numel() < 2 or bool((value == value.reshape(-1)[0]).all()):
            constant += 1
            continue
        whole, most = _whole(value, file)
        rows, longest = _along(value, vectors)
        if value.ndim > 1:
            alike, along = max(alike, most), max(along, longest)
        copied = _copied(value, runs)
        for other, how in ((copied, "repeats values of"), (whole, "is a copy of"), (rows, "holds rows or columns of")):
            if other is not None:
                leaks.append(Leak(name, other, how))
                break
    progress(PHASE, len(withheld), len(withheld))
    return Search(tuple(leaks), len(withheld), constant, len(tensors), alike, along)


def _runs(value: Tensor) -> Tensor:
    """Return a number for every run in a tensor as it lies; runs of one value alone are left out.

    Equal runs have equal numbers, others differ but for accidents of one in 2^64.
    """
    bits = value.reshape(-1).to(torch.bfloat16).view(torch.int16).long()
    count = len(bits) - RUN + 1
    if count < 1:
        return torch.empty(0, dtype=torch.int64)
    numbers = torch.zeros(count, dtype=torch.int64)
    varied = torch.zeros(count, dtype=torch.bool)
    for place in range(RUN):
        part = bits[place : place + count]
        numbers = numbers * _PRIME + part
        varied |= part != bits[:count]
    return numbers[varied]


def _copied(value: Tensor, runs: Mapping[str, Tensor]) -> str | None:
    for view in _views(value):
        own = _runs(view)
        for name, others in runs.items():
            if len(own) and len(others) and bool(torch.isin(others, own).any()):
                return name
    return None


def _views(value: Tensor) -> list[Tensor]:
    return [value, value.T.contiguous()] if value.ndim == 2 else [value]


def _whole(value: Tensor, file: Mapping[str, Tensor]) -> tuple[str | None, float]:
    """Return the tensor that is a copy, if any, and the largest absolute correlation."""
    most = 0.0
    own = torch.stack([_unit(view.reshape(1, -1))[0] for view in _views(value)])
    for name, other in file.items():
        if other.numel() == value.numel():
            found = float((own @ _unit(other.reshape(1, -1)).T).abs().max())
            if found >= ALIKE:
                return name, found
            most = max(most, found)
    return None, most


def _along(value: Tensor, vectors: Mapping[str, list[Tensor]]) -> tuple[str | None, float]:
    """The same of rows and columns."""
    most = 0.0
    for own in _vectors(value, SPREAD):
        for name, others in vectors.items():
            for other in others:
                if other.shape[1] != own.shape[1]:
                    continue
                found = float((own @ other.T).abs().max())
                if found >= ALIKE:
                    return name, found
                most = max(most, found)
    return None, most


def _vectors(value: Tensor, most: int | None = None) -> list[Tensor]:
    """Return rows and columns of a matrix, or a vector as it is: centred, of length one; short ones say nothing."""
    if value.ndim < 2:
        parts = [value.reshape(1, -1)]
    else:
        matrix = value.reshape(value.shape[0], -1)
        parts = [matrix, matrix.T]
    return [_unit(part[list(_spread(len(part), most))]) for part in parts if part.shape[1] >= RUN]


def _spread(count: int, most: int | None) -> Iterator[int]:
    taken = count if most is None else min(count, most)
    yield from (number * count // taken for number in range(taken))


def _unit(rows: Tensor) -> Tensor:
    """Return rows with mean zero and length one; a constant row becomes zero."""
    centred = rows - rows.mean(dim=1, keepdim=True)
    lengths: Tensor = centred.norm(dim=1, keepdim=True)
    return centred / lengths.clamp(min=1e-12)
