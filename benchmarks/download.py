"""Downloads that can be cut and resumed, are checked, and appear whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from backbones.core.errors import FrostlineError
from backbones.core.places import cache_folder
from backbones.core.samples import Progress, silent

__all__ = ["cache_folder", "checksum_matches", "fetch", "mirrored", "unpack"]

_CHUNK = 1 << 20
_PASSING = (408, 425, 429, 500, 502, 503, 504)


def mirrored(url: str) -> str:
    """Return ``url`` with its scheme and host replaced by ``$FROSTLINE_MIRROR``, if that is set.

    With the mirror ``http://store.example/data``, ``https://host/~a/b.tar.gz`` becomes
    ``http://store.example/data/~a/b.tar.gz``.

    Raises:
        FrostlineError: the mirror is no http or https address.
    """
    mirror = os.environ.get("FROSTLINE_MIRROR")
    if not mirror:
        return url
    parts = urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise FrostlineError(
            f"FROSTLINE_MIRROR is {mirror!r}; it must be an address such as http://host:port/folder, or unset."
        )
    return mirror.rstrip("/") + urlsplit(url).path


@dataclass(frozen=True)
class _Job:
    url: str
    part: Path
    timeout: float
    phase: str
    progress: Progress


class _RetryError(Exception):
    """A failure that may pass: the next attempt goes on where this one stopped."""


def fetch(
    url: str,
    target: Path,
    *,
    checksum: str | None = None,
    accept: Callable[[Path], None] | None = None,
    instead: str,
    progress: Progress = silent,
    attempts: int = 5,
    timeout: float = 30.0,
    wait: float = 1.0,
) -> Path:
    """Download ``url`` to ``target`` unless it is there already and right.

    The bytes go to ``target`` + ``.part``, which a later call resumes where the server allows it, and get the name
    ``target`` only after they were found right. Two processes may ask for the same file: one waits for the other.

    Args:
        url: address; ``mirrored`` is applied to it.
        target: file to make.
        checksum: ``"md5:<hex>"`` or ``"sha256:<hex>"``; None where its authors publish none.
        accept: reads the file at the path that it is given (which may end in ``.part``) and raises a FrostlineError
            that says what is wrong with its content. At least one of ``checksum`` and ``accept`` is needed.
        instead: what to do without a network, for the message: a whole sentence.
        progress: told of bytes received and bytes in all (0 where the server does not say).
        attempts: how often a connection is tried without receiving anything new.
        timeout: seconds without a byte after which a connection counts as cut.
        wait: seconds before the second attempt; doubled for each further one.

    Raises:
        FrostlineError: no connection, an address that is gone, a wrong checksum or content (of a resumed download:
            after a second one from the first byte), a full disk or a folder that cannot be written.
        ValueError: neither ``checksum`` nor ``accept``.
    """
    from filelock import FileLock

    if checksum is None and accept is None:
        raise ValueError("fetch needs a checksum or a function that accepts the file")

    def fault(path: Path) -> str | None:
        return _fault(path, checksum, accept, f"check {target.name}", progress)

    job = _Job(mirrored(url), target.with_name(target.name + ".part"), timeout, f"download {target.name}", progress)
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if target.exists() and fault(target) is None:
                return target
            return _fetch(job, target, fault, attempts, wait, instead)


def _fault(
    path: Path, checksum: str | None, accept: Callable[[Path], None] | None, phase: str, progress: Progress
) -> str | None:
    """Return what is wrong with the file, to be read after "bytes", or None."""
    if checksum is not None and not checksum_matches(path, checksum, phase, progress):
        return f"whose checksum is not {checksum}"
    try:
        if accept is not None:
            accept(path)
    except FrostlineError as error:
        return f"of another content ({str(error).rstrip('.')})"
    return None


def _fetch(
    job: _Job, target: Path, fault: Callable[[Path], str | None], attempts: int, wait: float, instead: str
) -> Path:
    for fresh in (False, True):
        resumed = job.part.exists()
        _receive(job, attempts, wait, instead)
        wrong = fault(job.part)
        if wrong is None:
            job.part.replace(target)
            return target
        size = job.part.stat().st_size
        job.part.unlink()
        # What an earlier call left may be of another version of the file: only then is once more worth it.
        if fresh or not resumed:
            break
    raise FrostlineError(
        f"{job.url} sent {size} bytes {wrong}: the file was damaged on its way, or is another "
        f"version. Nothing was kept. Try again later or another FROSTLINE_MIRROR. {instead}"
    )


def checksum_matches(path: Path, checksum: str, phase: str = "check", progress: Progress = silent) -> bool:
    """Tell whether the file has the checksum ``"md5:<hex>"`` or ``"sha256:<hex>"``."""
    algorithm, _, wanted = checksum.partition(":")
    state = hashlib.new(algorithm, usedforsecurity=False)
    total, done = path.stat().st_size, 0
    with path.open("rb") as stream:
        while block := stream.read(_CHUNK):
            state.update(block)
            done += len(block)
            progress(phase, done, total)
    return state.hexdigest() == wanted.lower()


def _receive(job: _Job, attempts: int, wait: float, instead: str) -> None:
    """Fill the part file; an attempt that brought something new does not count against ``attempts``."""
    failures = 0
    while True:
        before = _size(job.part)
        try:
            return _attempt(job)
        except _RetryError as error:
            failures = 1 if _size(job.part) > before else failures + 1
            if failures >= attempts:
                kept = f" What came so far ({_size(job.part)} bytes) is kept and resumed." if _size(job.part) else ""
                raise FrostlineError(f"cannot download {job.url}: {error}.{kept} {instead}") from error
        except HTTPError as error:
            raise FrostlineError(
                f"cannot download {job.url}: the server answered {error.code} {error.reason}. {instead}"
            ) from error
        time.sleep(wait * 2 ** (failures - 1))


def _attempt(job: _Job) -> None:
    """Ask for what is missing and append it.

    Raises:
        _RetryError: a failure that may pass.
        HTTPError: an answer that will not change.
    """
    have = _size(job.part)
    request = Request(job.url, headers={"User-Agent": "frostline", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urlopen(request, timeout=job.timeout) as response:
            _append(job, response, have)
    except HTTPError as error:
        if error.code == 416:  # The part is as long as the file or longer: the checksum decides which.
            return
        if error.code in _PASSING:
            raise _RetryError(f"the server answered {error.code} {error.reason}") from error
        raise
    except URLError as error:
        raise _RetryError(_reason(error)) from error


def _append(job: _Job, response: HTTPResponse, have: int) -> None:
    resumes = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    done = have if resumes else 0
    length = response.headers.get("Content-Length")
    total = done + int(length) if length and length.isdigit() else 0
    with job.part.open("ab" if resumes else "wb") as stream:
        for block in _blocks(response):
            stream.write(block)
            done += len(block)
            job.progress(job.phase, done, total)
    # http.client ends a cut body like a whole one when it is read in blocks, hence the count.
    if total and done != total:
        raise _RetryError(f"the connection was cut after {done} of {total} bytes")


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    """Read the body; a failure of the network is told apart from one of the disk, which is no reason to try again."""
    try:
        while block := response.read1(_CHUNK):
            yield block
    except (OSError, HTTPException) as error:
        raise _RetryError(_reason(error)) from error


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)
    return str(getattr(inner, "strerror", None) or inner) or type(error).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def unpack(archive: Path, member: str, folder: Path, progress: Progress = silent) -> Path:
    """Unpack a tar archive and keep its top folder ``member`` as ``folder/member``, whole or not at all.

    Args:
        archive: .tar, .tar.gz or similar.
        member: name of the folder inside.
        folder: where to put it; what it held under that name is replaced.
        progress: told at the beginning and at the end.

    Raises:
        FrostlineError: the archive is cut short or damaged, wants to write outside its folder, or has no ``member``.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder, prefix=f".{member}."))
    try:
        progress(f"unpack {archive.name}", 0, 1)
        with _writing(folder), tarfile.open(archive) as content:
            content.extractall(scratch, filter="data")
            # tarfile stops at its end mark; only reading on to the very end makes the compression check its sum.
            while content.fileobj is not None and content.fileobj.read(_CHUNK):
                pass
        if not (scratch / member).is_dir():
            raise FrostlineError(f"{archive} has no folder {member}; it is another archive than its name says.")
        if (folder / member).exists():
            (folder / member).replace(scratch / f"{member}.before")
        (scratch / member).replace(folder / member)
        progress(f"unpack {archive.name}", 1, 1)
        return folder / member
    except tarfile.FilterError as error:
        raise FrostlineError(f"{archive} is not safe to unpack: {error}. Nothing was written; delete it.") from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FrostlineError(f"{archive} is cut short or damaged ({error}); delete it and fetch it again.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Turn what a full disk or a locked folder raises into an error that says so."""
    try:
        yield
    except gzip.BadGzipFile:  # an OSError too, but of what is read
        raise
    except OSError as error:
        raise FrostlineError(
            f"cannot write {target}: {error.strerror or error}. Free some space, or set FROSTLINE_HOME to a folder "
            "with room."
        ) from error
