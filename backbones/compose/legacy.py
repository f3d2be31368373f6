"""Differences in the file format of the published library of composable sparse fine-tuning, read without unpickling.

Such a file, usually ``pytorch_diff.bin``, is a ``torch.save`` of tensors. What is accepted, and nothing else:

- ``{"diffs": name -> change, "abs": name -> tensor}`` as the library writes it (``body`` and ``head`` in its first
  versions), where a tensor under ``abs`` replaces that of the base; or a dictionary name -> change alone;
- a change as the library writes it: a dictionary of ``size``, ``index_steps`` and ``values``, where the running sums of
  the steps (integers of Python or numpy) are places in the tensor with its first dimension running fastest;
- or a dense tensor, a sparse COO tensor, or a dictionary with the tensors ``indices`` (or ``idx``) and ``values``, and
  maybe ``size`` (or ``shape``); indices are integers of shape (n,) into the flattened tensor, or of shape
  (dimensions, n);
- a name is that of a tensor of the base, or has one word more in front, as in ``bert.encoder.layer.0...``. Tensors that
  the base does not have are left out with a remark if they are of heads: under ``abs``, or called as in ``HEADS``.

The file does not say what its base is: names and shapes are checked, and a remark says that this is all.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.serialization import safe_globals

from backbones.compose.difference import Difference
from backbones.core.errors import FrostlineError, nearest

LEGACY_NAME = "pytorch_diff.bin"
SUFFIXES = (".bin", ".pt", ".pth")
HEADS = ("classifier", "cls", "head", "lm_head", "pooler", "qa_outputs", "score", "vocab_projector", "vocab_transform")
KINDS = "a dense tensor, a sparse COO tensor, or a dictionary with 'values' and 'indices', 'idx' or 'index_steps'"
SECTIONS = (("diffs", "abs"), ("body", "head"))  # changes, and tensors that replace those of the base


def read_legacy(path: Path | str, state: Mapping[str, Tensor]) -> Difference:
    """Read a file of the published library, see the head of this module for what is accepted.

    Args:
        path: a ``torch.save`` of tensors; read with ``weights_only``.
        state: weights of the base.

    Raises:
        FrostlineError: missing, holds more than tensors, an entry of no accepted kind, a tensor that the base does not
            have, or one of another shape.
    """
    path = Path(path)
    changes, absolute = _sections(path, _load(path))
    found: dict[str, tuple[Tensor, Tensor]] = {}
    dropped: list[str] = []
    for given, entry in [*changes.items(), *absolute.items()]:
        name = _own_name(given, state)
        if name is None and (given in absolute or given.split(".")[0] in HEADS):
            dropped.append(given)
            continue
        if name is None:
            close = nearest(given, state, limit=1)
            hint = f" The nearest is {close[0]!r}." if close else ""
            raise FrostlineError(f"{path} changes the tensor {given!r}, which the base does not have.{hint}")
        if name in found:
            raise FrostlineError(f"{path} changes the tensor {name!r} twice (again as {given!r}); keep one of them.")
        if given in absolute:
            entry = _from_absolute(path, given, entry, state[name])
        found[name] = _entry(path, given, entry, tuple(state[name].shape))
    notes = (f"left out the head in {path.name} ({', '.join(dropped)})",) if dropped else ()
    return _joined(path, {name: found[name] for name in state if name in found}, state, notes)


def _number(kind: np.dtype[Any], content: bytes) -> int:
    """Stand for numpy's scalar: the plain integer in it."""
    if kind.kind not in "iu":
        raise UnpicklingError(f"a number of kind {kind}")
    return int(np.frombuffer(content, kind)[0])


# The first step in a published file is a number of numpy; both releases of numpy name the maker of those differently.
NUMBERS: list[Any] = [(_number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
NUMBERS += [np.dtype, np.dtypes.Int64DType, np.dtypes.Int32DType]


def _load(path: Path) -> Any:
    if not path.exists():
        raise FrostlineError(f"{path} does not exist; pass a file of differences.")
    try:
        with warnings.catch_warnings(), safe_globals(NUMBERS):
            warnings.simplefilter("ignore")  # on how torch checks what we want checked
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        # torch's own words tell how to run the code after all: they are not repeated
        raise FrostlineError(
            f"{path} holds more than tensors, or is damaged; code in a file is never unpickled. Ask for a file of "
            "tensors alone."
        ) from error
    except Exception as error:  # damaged bytes make the reader fail in any way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FrostlineError(f"{path} cannot be read as a torch file ({reason}); copy it again.") from error


def _sections(path: Path, loaded: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return changes, and tensors that replace those of the base."""
    sections = [loaded, {}]
    for names in SECTIONS:
        if not isinstance(loaded, Mapping) or not any(isinstance(loaded.get(name), Mapping) for name in names):
            continue
        changes, whole = names
        more = sorted(str(key) for key in loaded.keys() - set(names))
        if more or not all(isinstance(loaded.get(name) or {}, Mapping) for name in names):
            raise FrostlineError(
                f"{path} has more beside {changes!r} than a dictionary {whole!r} ({', '.join(more) or whole})."
            )
        sections = [loaded.get(name) or {} for name in names]
    if not all(isinstance(each, Mapping) and all(isinstance(key, str) for key in each) for each in sections):
        raise FrostlineError(f"{path} holds no dictionary of named tensors but a {type(loaded).__name__}.")
    return dict(sections[0]), {key: value for key, value in sections[1].items() if key not in sections[0]}


def _own_name(given: str, state: Mapping[str, Tensor]) -> str | None:
    """Return the name that the base has for a tensor, None if it has none."""
    for name in (given, given.partition(".")[2]):
        if name in state:
            return name
    return None


def _from_absolute(path: Path, name: str, entry: Any, own: Tensor) -> Tensor:
    if not isinstance(entry, Tensor) or entry.shape != own.shape:
        raise FrostlineError(f"{path}: {name!r} under 'abs' is no tensor of shape {tuple(own.shape)}.")
    return entry.to_dense().double() - own.detach().cpu().double()


def _entry(path: Path, name: str, entry: Any, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return (places in the flattened tensor, values) of one entry."""
    if isinstance(entry, Tensor) and entry.layout == torch.strided:
        _same_shape(path, name, tuple(entry.shape), shape)
        places = entry.flatten().nonzero().squeeze(1)
        return places, _real(path, name, entry.flatten()[places])
    if isinstance(entry, Tensor) and entry.layout == torch.sparse_coo:
        entry = entry.coalesce()
        return _entry(path, name, {"indices": entry.indices(), "values": entry.values(), "size": entry.shape}, shape)
    if not isinstance(entry, Mapping):
        raise FrostlineError(f"{path}: {name!r} is a {type(entry).__name__}; accepted are {KINDS}.")
    entry = {{"idx": "indices", "shape": "size"}.get(key, key): value for key, value in entry.items()}
    if "index_steps" in entry and "indices" not in entry:
        entry["indices"] = _unrolled(path, name, entry.pop("index_steps"), shape)
    pair = [entry.get(key) for key in ("indices", "values")]
    if entry.keys() - {"indices", "values", "size"} or not all(isinstance(each, Tensor) for each in pair):
        raise FrostlineError(f"{path}: {name!r} has {', '.join(map(str, entry)) or 'nothing'}; accepted are {KINDS}.")
    if isinstance(entry.get("size", ()), int | Mapping | str):
        raise FrostlineError(f"{path}: the size of {name!r} is {entry['size']!r}, not a list of sides.")
    if "size" in entry:
        _same_shape(path, name, tuple(int(side) for side in entry["size"]), shape)
    return _flat(path, name, pair[0], shape), _real(path, name, pair[1])


def _unrolled(path: Path, name: str, steps: Any, shape: tuple[int, ...]) -> Tensor:
    """Return indices of shape (dimensions, n): running sums of steps, where the first dimension runs fastest."""
    steps = steps.tolist() if isinstance(steps, Tensor) else steps
    if not isinstance(steps, list | tuple) or not all(type(step) is int for step in steps):
        raise FrostlineError(f"{path}: the index steps of {name!r} are no list of integers.")
    if any(abs(step) > prod(shape) for step in steps):
        raise FrostlineError(f"{path}: the index steps of {name!r} lead out of a tensor of shape {shape}.")
    places, rows = torch.tensor(steps, dtype=torch.int64).cumsum(0), []
    for side in shape[:-1]:
        rows.append(places % side)
        places = places.div(side, rounding_mode="floor")
    return torch.stack([*rows, places])


def _same_shape(path: Path, name: str, given: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if given != shape:
        raise FrostlineError(
            f"{path}: {name!r} has shape {given}, which in the base is {shape}; pass the base that it was made from."
        )


def _flat(path: Path, name: str, indices: Any, shape: tuple[int, ...]) -> Tensor:
    """Return row-major places of indices of shape (n,) or (dimensions, n)."""
    if indices.is_floating_point() or indices.dtype == torch.bool or indices.ndim not in (1, 2):
        raise FrostlineError(f"{path}: the indices of {name!r} are {indices.dtype} of shape {tuple(indices.shape)}.")
    rows = indices.long() if indices.ndim == 2 else indices.long()[None]
    sides = shape if indices.ndim == 2 else (prod(shape),)
    inside = len(rows) == len(sides) and all(
        bool(((row >= 0) & (row < side)).all()) for row, side in zip(rows, sides, strict=True)
    )
    if not inside:
        raise FrostlineError(f"{path}: the indices of {name!r} do not lie in a tensor of shape {shape}.")
    places = torch.zeros_like(rows[0])
    for row, side in zip(rows, sides, strict=True):
        places = places * side + row
    return places


def _real(path: Path, name: str, values: Any) -> Tensor:
    if not values.is_floating_point() or values.ndim != 1:
        raise FrostlineError(f"{path}: the values of {name!r} are {values.dtype} of shape {tuple(values.shape)}.")
    wide: Tensor = values.double()
    return wide


def _joined(
    path: Path, found: dict[str, tuple[Tensor, Tensor]], state: Mapping[str, Tensor], notes: tuple[str, ...]
) -> Difference:
    indices, values, start = [], [], 0
    for name, (places, changes) in found.items():
        if len(places) != len(changes):
            raise FrostlineError(f"{path}: {name!r} has {len(places)} indices and {len(changes)} values.")
        order = places.argsort()
        indices.append(places[order] + start)
        values.append(changes[order])
        start += state[name].numel()
    if not start:
        raise FrostlineError(f"{path} changes no tensor of the base.")
    tensors = tuple((name, tuple(state[name].shape)) for name in found)
    return Difference(torch.cat(indices), torch.cat(values), tensors, "", "", {}, str(path), notes)
