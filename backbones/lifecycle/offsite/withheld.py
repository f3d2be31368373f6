"""Whether a file holds anything of withheld blocks: by value, whatever its tensors are called.

Every floating-point or integer tensor of the file is compared with every withheld tensor in three ways:

- **runs**: 19 values that follow one another in a withheld tensor follow one another in the file too, at the precision
  of bfloat16. Finds copies, slices, reshaped and embedded copies, and copies stored in half precision.
- **whole**: the correlation with a tensor of as many values, as it lies or transposed, is 0.99 or more in absolute
  value. Finds rescaled, shifted, negated and quantised copies.
- **vectors**: the same, from 0.999, between rows and columns: 64 of each withheld matrix, evenly spread, against all
  rows and columns of the file that are as long. Finds copies whose rows or columns were rescaled, permuted or left out.

A tensor without two different values (a fresh bias, a gain of ones) says nothing and is counted as constant. What none
of them finds: fewer than 19 neighbours, parts of rows that were rescaled too, and weights mixed with noise or with one
another.
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

RUN = 16  # neighbours that make a run, a power of two
STRIDE = 4  # every fourth run of a withheld tensor is looked for: 19 neighbours hold one for certain
ALIKE = 0.99  # absolute correlation from which two tensors count as copies of one another
ALONG = 0.999  # the same of single rows and columns: where few numbers are large, many are close to one another
SPREAD = 64  # rows and columns of a withheld matrix that are compared
PHASE = "looking for what is withheld"
_LOW = (1 << 24) - 1
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
    secret = {name: value.detach().cpu().float() for name, value in withheld.items()}
    secret = {name: value for name, value in secret.items() if value.numel() > 1 and _varies(value)}
    copied = _copied(secret, file)
    vectors = {name: _vectors(value) for name, value in file.items()} if secret else {}
    leaks: list[Leak] = []
    alike, along = 0.0, 0.0
    for number, (name, value) in enumerate(secret.items()):
        progress(PHASE, number, len(secret))
        whole, most = _whole(value, file)
        rows, longest = _along(value, vectors)
        if value.ndim > 1:
            alike, along = max(alike, most), max(along, longest)
        ways = ((copied.get(name), "repeats values of"), (whole, "is a copy of"), (rows, "holds rows or columns of"))
        leaks += [Leak(name, other, how) for other, how in ways if other is not None][:1]
    progress(PHASE, len(secret), len(secret))
    return Search(tuple(leaks), len(withheld), len(withheld) - len(secret), len(tensors), alike, along)


def _varies(value: Tensor) -> bool:
    return bool((value != value.reshape(-1)[0]).any())


def _runs(value: Tensor) -> Tensor:
    """Return a number for every run in a tensor as it lies, 0 for a run of one value alone.

    Equal runs have equal numbers, others differ but for accidents of one in 2^64.
    """
    numbers = value.reshape(-1).to(torch.bfloat16).view(torch.int16).long()
    varied = torch.zeros(len(numbers), dtype=torch.bool)
    factor, length = _PRIME, 1
    while length < RUN:  # runs of twice the length from those of one, by Horner's rule
        count = len(numbers) - length
        if count < 1:
            return torch.zeros(0, dtype=torch.int64)
        first, second = numbers[:count], numbers[length:]
        varied = varied[:count] | varied[length:] | (first != second)
        numbers = first * factor + second
        factor, length = _wrapped(factor * factor), 2 * length
    return torch.where(varied, numbers, 0)


def _wrapped(number: int) -> int:
    """Return a number modulo 2^64, as a signed one."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _copied(secret: Mapping[str, Tensor], file: Mapping[str, Tensor]) -> dict[str, str]:
    """Return for each withheld tensor of which runs are in the file the first tensor that has some."""
    names = list(secret)
    runs = [torch.cat([_runs(view)[::STRIDE] for view in _views(value)]) for value in secret.values()]
    if not runs:
        return {}
    whose = torch.cat([torch.full((len(each),), number) for number, each in enumerate(runs)])
    known, order = torch.cat(runs).sort()
    whose, known = whose[order][known != 0], known[known != 0]
    found: dict[str, str] = {}
    # most runs of the file are none of these: a table of their lowest bits says so at once
    table = torch.zeros(_LOW + 1, dtype=torch.bool)
    table[known & _LOW] = True
    for name, value in file.items():
        own = _runs(value)
        own = own[table[own & _LOW]]
        # of equal numbers the first: two withheld tensors that share a run are equal there anyway
        place = torch.searchsorted(known, own).clamp(max=max(0, len(known) - 1))
        hits = place[known[place] == own] if len(known) else place[:0]
        for number in whose[hits].unique().tolist():
            found.setdefault(names[number], name)
    return found


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
                if found >= ALONG:
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
