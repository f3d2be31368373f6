"""Files and fingerprints: atomic writes, safetensors only, digests of tensors."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbones.core.errors import FrostlineError
from backbones.core.reading import check_regular, open_regular

if TYPE_CHECKING:  # a table of JSON lines is written without torch, which takes seconds to import
    import torch


def is_stream(path: Path) -> bool:
    """Return whether ``path`` is written to as it is, never replaced: a device, a pipe, a number of an open file."""
    if str(path).startswith(("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")):
        return True  # also where it leads to a file: the shell that opened it goes on writing there
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


def open_stream(path: Path) -> int:
    """Open a device or a pipe for writing and return its descriptor; a pipe that nobody reads is an OSError."""
    number = path.name if path.parent in (Path("/dev/fd"), Path("/proc/self/fd")) else ""
    known = {"/dev/stdout": 1, "/dev/stderr": 2}.get(str(path), int(number) if number.isdecimal() else None)
    if known is not None:
        return os.dup(known)
    handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.set_blocking(handle, True)
    return handle


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write ``content`` so that a reader sees the old file or the whole new one, never a part.

    The file behind a link is written, not the link; a device or a pipe gets the bytes as they are.

    Raises:
        FrostlineError: the folder cannot be written to or the disk is full.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        if is_stream(path):
            with os.fdopen(open_stream(path), "wb") as stream:
                stream.write(content)
            return
        path = Path(os.path.realpath(path)) if path.is_symlink() else path
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".part")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError as error:
        raise FrostlineError(
            f"cannot write {path}: {error.strerror or error}. Free some space or pass another folder; "
            "what was written before is kept."
        ) from error
    finally:  # also when Ctrl-C comes in the middle
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 ``text`` atomically (see write_bytes)."""
    path = Path(path)
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON atomically; NaN is refused by the encoder."""
    path = Path(path)
    write_text(path, json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n")


def save_tensors(
    path: Path | str, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors and string metadata as one safetensors file, atomically (see tensor_bytes)."""
    path = Path(path)
    write_bytes(path, tensor_bytes(tensors, metadata))


def tensor_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the content of a safetensors file: equal tensors and metadata give equal bytes, in any order.

    Args:
        tensors: by name, on any device; they may share memory.
        metadata: strings by name.
    """
    from safetensors.torch import save as dump_tensors

    ready: dict[str, torch.Tensor] = {}
    held: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        memory = own.untyped_storage().data_ptr()
        ready[name] = own.clone() if memory in held else own  # the format refuses tensors that share memory
        held.add(memory)
    content: bytes = dump_tensors(ready)
    if not metadata:
        return content
    # The library writes metadata in the order of a hash table, which is another in every process: put it in ourselves.
    size = int.from_bytes(content[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(content[8 : 8 + size])}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors stay aligned
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(content)[8 + size :]))


def load_tensors(path: Path | str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a safetensors file written by anyone.

    Raises:
        FrostlineError: the file is missing, truncated or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        check_regular(path)
        with safe_open(str(path), framework="pt") as handle:
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
            return tensors, dict(handle.metadata() or {})
    except FileNotFoundError as error:
        raise FrostlineError(f"{path} does not exist; pass the path of a .safetensors file.") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise FrostlineError(
            f"{path} is not a readable safetensors file ({error}); it may be half-written: copy or make it again."
        ) from error


def save_checked(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> None:
    """Write tensors and facts with a digest of both, for ``load_checked``."""
    save_tensors(path, tensors, {**facts, "digest": _seal(tensors, facts)})


def load_checked(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read what ``save_checked`` wrote; files of before, with a digest of the tensors alone or none, are read too.

    Raises:
        FrostlineError: see ``load_tensors``; tensors or facts that are not those of the digest.
    """
    tensors, facts = load_tensors(path)
    said = facts.pop("digest", None)
    if said is not None and said not in (_seal(tensors, facts), digest_tensors(tensors)):
        raise FrostlineError(f"{path} was damaged or changed after it was written: its content has another digest.")
    return tensors, facts


def _seal(tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> str:
    return digest_json([digest_tensors(tensors), dict(facts)])


def metadata_of(content: bytes) -> dict[str, str]:
    """Return the metadata in the bytes of a whole safetensors file; none where it has none, or is no such file."""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except ValueError:
        return {}
    return dict(header.get("__metadata__") or {})


def digest_files(folder: Path | str) -> dict[str, str]:
    """Return path inside the folder -> hex SHA-256 for every file that lies in it or below, in the order of paths."""
    folder = Path(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    found = {}
    for path in paths:
        with open_regular(path) as stream:
            found[path.relative_to(folder).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def check_finite(tensors: Mapping[str, torch.Tensor], path: Path | str) -> None:
    """Raise FrostlineError naming the first tensor of the file ``path`` that holds NaN or an infinity."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise FrostlineError(
                f"{path}: the tensor {name} holds numbers that are not finite (NaN or infinity); nothing right can "
                "come of it: train or copy it again."
            )


def digest_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the hex SHA-256 of names, dtypes, shapes and bytes; the order of the mapping does not matter."""
    import torch

    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        # as_strided: a single element counts as contiguous with any stride, and view does not take every one
        state.update(tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8).numpy().data)
    return state.hexdigest()


def digest_json(value: Any) -> str:
    """Return the hex SHA-256 of a JSON value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
