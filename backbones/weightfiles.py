"""Files of weights: read them without unpickling, and fit them to a model or say which keys do not."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from backbones.core.artifacts import load_tensors
from backbones.core.errors import FrostlineError
from backbones.core.inert import load_torch, named_tensors
from backbones.core.reading import read_json

CLASSIFIERS = ("head", "head_dist", "heads", "fc", "classifier")
AVERAGED = ("ema", "teacher")  # of copies that fit equally well, the one that training codes evaluate
WRAPPER = re.compile(r"\b_\w*mod(?:ule)?\.")  # what torch.compile, FSDP and checkpointing put between names
HEAD = 512  # bytes by which a file is recognised
NAMES = ("model.safetensors", "pytorch_model.bin")  # of the weights in a folder, the preferred one first
BESIDE = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model")
IMPOSTORS = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself; run: git lfs pull"),
    (b"<!doctype", "is a web page; the download was answered by a page (a login or an error): fetch the file itself"),
    (b"<html", "is a web page; the download was answered by a page (a login or an error): fetch the file itself"),
    (b"<?xml", "is an XML message, as a store answers in place of a file; fetch the file itself"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (b"\x89hdf", "is an HDF5 file, as Keras writes; save the weights of the PyTorch model"),
)


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Return the tensors of a weight file by the paths of their keys, such as ``state_dict.model.norm.weight``.

    Args:
        path: .safetensors, or what ``torch.save`` has written under any name. Nothing but tensors is unpickled; objects
            beside them are passed over.

    Raises:
        FrostlineError: missing, truncated, no file of weights, or one without named tensors.
    """
    path = Path(path)
    opening = _opening(path)
    if opening.startswith((b"PK", b"\x80")) and path.suffix != ".safetensors":
        tensors = named_tensors(load_torch(path))
        tensors.pop("", None)  # a tensor without a name
        if not tensors:
            raise FrostlineError(f"{path} holds no named tensors; pass a state dict, best as .safetensors.")
        return tensors
    if path.suffix.lower() in (".safetensors", ""):
        return load_tensors(path)[0]
    try:
        return load_tensors(path)[0]  # under another name
    except FrostlineError as error:
        raise FrostlineError(
            f"{path} cannot be read as plain tensors (it is neither a file of torch.save nor of safetensors, or is "
            "damaged); copy or download it again."
        ) from error


def _opening(path: Path) -> bytes:
    """Return the first bytes of a file of weights; raise FrostlineError where it cannot be one."""
    if path.is_dir():
        inside = [name for name in NAMES if (path / name).is_file()]
        instead = f"pass {path / inside[0]}" if inside else "pass the file of weights in it"
        raise FrostlineError(f"{path} cannot be read as weights: it is a folder; {instead}.")
    if not path.exists():
        raise FrostlineError(f"{path} does not exist; pass the path of a .safetensors file.")
    wrong = impostor(path)
    if wrong:
        raise FrostlineError(f"{path} cannot be read as weights: it {wrong}.")
    with path.open("rb") as stream:
        return stream.read(HEAD)


def impostor(path: Path) -> str:
    """Return what stands in place of a model's file: ``"is empty ..."``, a pointer, a web page; empty if nothing does.

    Raises:
        FrostlineError: the file cannot be opened, or is no regular file.
    """
    try:
        if not path.is_file():
            return "is no regular file; copy it to one"
        with path.open("rb") as stream:
            opening = stream.read(HEAD)
    except OSError as error:
        raise FrostlineError(f"cannot read {path}: {error.strerror or error}. Copy it again.") from error
    if not opening:
        return "is empty; copy or download it again"
    start = opening.lstrip().lower()
    return next((said for sign, said in IMPOSTORS if start.startswith(sign)), "")


def check_folder(folder: Path) -> None:
    """Refuse a folder of a model in which a shard is missing or something else stands in place of a file.

    Raises:
        FrostlineError: names the file, and what it is or lacks.
    """
    kind = ".safetensors" if any(folder.glob("model*.safetensors*")) else ".bin"  # what will be read
    for path in sorted(folder.iterdir()):
        weights = path.suffix == kind and path.stem.startswith(("model", "pytorch_model"))
        wrong = impostor(path) if weights or path.name in BESIDE else ""
        if wrong:
            raise FrostlineError(f"the model in {folder} is not whole: {path.name} {wrong}.")
    whole = next(folder / name for name in NAMES if name.endswith(kind))
    index = whole.with_name(f"{whole.name}.index.json")
    if index.exists() and not whole.exists():
        try:
            named = set(map(str, read_json(index)["weight_map"].values()))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise FrostlineError(f"{index} cannot be read as an index of shards ({error}); copy it again.") from error
        missing = sorted(name for name in named if not (folder / name).is_file())
        if missing:
            raise FrostlineError(
                f"the model in {folder} is not whole: {len(missing)} of {len(named)} shards that {index.name} names "
                f"{'is' if len(missing) == 1 else 'are'} missing ({_few(missing)}); copy or download them too."
            )


def weights_in(folder: Path) -> Path:
    """Return the file of weights in a folder, safetensors if it has both; raises FrostlineError where it has none."""
    for name in NAMES:
        if (folder / name).exists():
            return folder / name
    raise FrostlineError(f"{folder} holds no weights; a file {' or '.join(NAMES)} is missing beside its config.json.")


def fit(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> tuple[str, ...]:
    """Load ``tensors`` into ``module``, whatever dictionaries and prefixes are around the model's own names.

    A classifier is dropped, what belongs to no part of the model is passed over, position embeddings are resampled, and
    all of this is said.

    Args:
        module: a model without classifier.
        tensors: name -> tensor, see ``read_weights``; they are widened to float32.
        path: where they came from, for messages.

    Returns:
        Remarks for the user.

    Raises:
        FrostlineError: names the keys that are missing, left over or of another shape.
    """
    from timm.layers import resample_abs_pos_embed  # type: ignore[attr-defined]

    wanted = module.state_dict()
    tensors = {WRAPPER.sub("", name): value for name, value in tensors.items()}
    prefix, notes = _prefix(wanted, tensors, path)
    kept = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    head = [name for name in kept if name.split(".")[0] in CLASSIFIERS and name not in wanted]
    if head:
        shape = tuple(next((kept[name].shape for name in head if kept[name].ndim == 2), ()))
        classes = f" of {shape[0]} classes" if shape else ""
        notes.append(f"dropped the classifier{classes} in {path.name} ({', '.join(head)})")
    kept = {name: _widened(value) for name, value in kept.items() if name not in head}
    position = kept.get("pos_embed")
    if position is not None and "pos_embed" in wanted and position.shape != wanted["pos_embed"].shape:
        grid: tuple[int, int] = cast(Any, module.get_submodule("patch_embed")).grid_size
        first = wanted["pos_embed"].shape[1] - int(grid[0]) * int(grid[1])
        if _is_square(position, wanted["pos_embed"], first):
            kept["pos_embed"] = resample_abs_pos_embed(position, list(grid), num_prefix_tokens=first)
            notes.append(f"resampled the position embeddings to a grid of {grid[0]} x {grid[1]} patches")
    own = {prefix + name for name in (*wanted, *head)}
    beside = [name for name in tensors if name not in own]
    # What hangs on a part that this class of models has means another model; anything else is no part of the model.
    parts = [name for name in kept if name not in wanted and hasattr(module, name.split(".")[0])]
    _refuse_misfits(wanted, kept, parts, beside, path)
    if beside:
        notes.append(f"passed over what is no part of the model in {path.name} ({_few(beside)})")
    module.load_state_dict({name: kept[name] for name in wanted})
    return tuple(notes)


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _prefix(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path) -> tuple[str, list[str]]:
    """Return what stands before the model's own names in a file, and a remark where the file holds several copies."""
    shapes, names = Counter[str](), Counter[str]()
    for name, value in tensors.items():
        words = name.split(".")
        for start in range(len(words)):
            own = wanted.get(".".join(words[start:]))
            if own is not None:
                prefix = "".join(f"{word}." for word in words[:start])
                names[prefix] += 1
                shapes[prefix] += own.shape == value.shape

    def rank(prefix: str) -> tuple[int, int, int, int]:
        liked = next((len(AVERAGED) - place for place, word in enumerate(AVERAGED) if word in prefix), 0)
        return shapes[prefix], names[prefix], liked, -len(prefix)

    best = max(names, key=rank, default="")
    copies = [prefix for prefix in names if prefix != best and rank(prefix)[:2] == rank(best)[:2]]
    if not copies:
        return best, []
    others = ", ".join(sorted(repr(prefix.rstrip(".")) for prefix in copies))
    return best, [f"{path.name} holds several copies of the model: {best.rstrip('.')!r} was taken, not {others}"]


def _refuse_misfits(
    wanted: Mapping[str, Tensor], kept: Mapping[str, Tensor], parts: list[str], beside: list[str], path: Path
) -> None:
    shapes = [
        f"{name} is {tuple(kept[name].shape)}, needed {tuple(own.shape)}"
        for name, own in wanted.items()
        if name in kept and kept[name].shape != own.shape
    ]
    missing = [name for name in wanted if name not in kept]
    if not (missing or shapes or parts):
        return
    problems = {"missing": missing, "left over": beside, "of another shape": shapes}
    said = [f"{len(names)} {what} ({_few(names)})" for what, names in problems.items() if names]
    raise FrostlineError(
        f"the weights in {path} do not fit this backbone: keys {'; '.join(said)}. "
        "Pass --backbone the model that they were saved from."
    )


def _is_square(position: Tensor, wanted: Tensor, prefix: int) -> bool:
    """Tell whether ``position`` holds the embeddings of ``prefix`` tokens and of a square grid of patches."""
    same = position.ndim == wanted.ndim == 3 and position.shape[::2] == wanted.shape[::2]
    patches = position.shape[1] - prefix if same else 0
    return patches > 0 and math.isqrt(patches) ** 2 == patches


def _few(names: Iterable[str]) -> str:
    every = list(names)
    return f"{', '.join(every[:3])}{', ...' if len(every) > 3 else ''}"
