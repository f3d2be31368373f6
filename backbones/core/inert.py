"""Files of ``torch.save`` that hold more than tensors: the tensors are read, every other object is passed over inert.

A pickle names what it calls. Here the names of a short table stand for functions that put tensors together; every other
name stands for ``Passed``, which takes whatever it is given and does nothing: no module is imported and no code of the
file is run. A whole model that was pickled shows its tensors too, since objects keep what was written as their state.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from backbones.core.errors import FrostlineError
from backbones.core.pickles import check_pickle

DEEPEST = 32  # levels of dictionaries and objects that are searched for tensors
LAYERS = ("_parameters", "_buffers", "_modules")  # where a pickled module keeps its tensors


def load_torch(path: Path | str) -> Any:
    """Return what ``torch.save`` has written, with ``Passed`` in place of every object that is no plain data.

    Raises:
        FrostlineError: a damaged file, or a TorchScript archive, whose loading would run code.
    """
    path = Path(path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                scripted = any(name.endswith("/constants.pkl") for name in archive.namelist())
                for entry in archive.infolist():
                    if entry.filename.endswith("/data.pkl"):
                        with archive.open(entry) as stream:
                            check_pickle(io.BytesIO(stream.read()), entry.file_size)
            if scripted:
                raise FrostlineError(
                    f"{path} is a TorchScript archive, whose loading runs its code; save model.state_dict() as "
                    ".safetensors instead."
                )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on protocols of pickle
            try:
                return torch.load(path, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError:  # objects beside the tensors, or damage
                return torch.load(path, map_location="cpu", weights_only=False, pickle_module=INERT)
    except FrostlineError:
        raise
    except Exception as error:  # damaged bytes make the reader fail in any way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FrostlineError(
            f"{path} cannot be read as plain tensors ({reason}); copy or download it again, or convert it to "
            ".safetensors."
        ) from error


def named_tensors(content: Any) -> dict[str, Tensor]:
    """Return every tensor in nested dictionaries and pickled modules, by the path of its keys with dots between."""
    found: dict[str, Tensor] = {}
    _collect(content, (), found, set())
    return found


def _collect(content: Any, path: tuple[str, ...], found: dict[str, Tensor], above: set[int]) -> None:
    if isinstance(content, Tensor):
        found[".".join(path)] = content.detach()
    elif isinstance(content, dict) and id(content) not in above and len(path) < DEEPEST:
        inside = isinstance(content, Passed) and any(key in content for key in LAYERS)
        for key, value in content.items():
            if inside and key in LAYERS:  # not a part of a tensor's name
                for name, part in value.items() if isinstance(value, dict) else ():
                    _collect(part, (*path, str(name)), found, above | {id(content)})
            elif isinstance(key, str):
                _collect(value, (*path, key), found, above | {id(content)})


class Passed(dict[Any, Any]):
    """Takes the place of any class, function or object that a pickle names; it keeps data and does nothing."""

    dump_patches = False  # torch asks this of pickled modules
    __hash__ = object.__hash__  # type: ignore[assignment]  # it may have been a key

    def __new__(cls, *args: Any, **named: Any) -> Passed:
        """Make an empty one, whatever the arguments."""
        return dict.__new__(Passed)

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__()

    def __call__(self, *args: Any, **named: Any) -> Passed:
        return Passed()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.update(state)

    def append(self, item: Any) -> None:
        """Take an item of a list, a set or a queue."""

    add = append

    def extend(self, items: Any) -> None:
        """Take items of a list."""


def _parameter(data: Any, *_: Any) -> Any:
    return nn.Parameter(data, requires_grad=False) if isinstance(data, Tensor) else Passed()


def _tensor(data: Any, _: Any, arguments: Any, *__: Any) -> Any:
    """Stand for a tensor of another class or with attributes: the plain tensor in it."""
    return data(*arguments)


_TABLE: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": lambda *_: defaultdict(Passed),
    "torch.Size": lambda *sizes: torch.Size(*sizes),
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_tensor": torch._utils._rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": lambda *arguments: torch._utils._rebuild_tensor_v2(*arguments[:6]),
    "torch._utils._rebuild_tensor_v3": lambda *arguments: torch._utils._rebuild_tensor_v3(*arguments[:7]),
    "torch._tensor._rebuild_from_type_v2": _tensor,
}


class _Reader(pickle._Unpickler):
    # The reader in Python, not the one in C, which takes memory for whatever size a file claims.
    def find_class(self, module: str, name: str) -> Any:
        dtype = getattr(torch, name, None) if module == "torch" and "." not in name else None
        if isinstance(dtype, torch.dtype):
            return dtype
        function = _TABLE.get(f"{module}.{name}")
        # A new function each time: what a file then sets as its state reaches nothing else.
        return Passed if function is None else lambda *arguments: function(*arguments)


def _load(stream: Any, **options: Any) -> Any:
    return _Reader(stream, **options).load()


INERT = SimpleNamespace(__name__="inert", Unpickler=_Reader, load=_load)
