"""One writer for a folder: a lock that names its holder and dies with it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from backbones.core.errors import FrostlineError

LOCK = "lock.json"


class FolderLock:
    """Holds a folder for this process until it is released; what a dead process left behind is taken over.

    The system's own lock on the file tells whether the holder lives (it ends with the process, however that ends); the
    words in the file say who it is.

    Args:
        folder: made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        self._stream: IO[str] | None = None

    def take(self) -> None:
        """Hold the folder.

        Raises:
            FrostlineError: a living process holds it (process, machine and time named), or it cannot be written to.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while self._stream is None:
                stream = self.path.open("a+", encoding="utf-8")
                if _locked(stream):
                    with stream:
                        raise FrostlineError(
                            f"{self.path.parent} is in use by {_holder(stream)}; wait until it has ended, stop it, or "
                            "pass another folder."
                        )
                if self._is_the_file(stream):
                    self._stream = stream
                else:
                    stream.close()  # its holder removed it in the meantime
        except OSError as error:
            raise FrostlineError(
                f"cannot write {self.path}: {error.strerror or error}. Free some space or pass another folder."
            ) from error
        self._sign()

    def release(self) -> None:
        """Let go of the folder and remove the file; nothing happens if it is not held."""
        if self._stream is not None:
            self.path.unlink(missing_ok=True)
            self._stream.close()
            self._stream = None

    def _sign(self) -> None:
        assert self._stream is not None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._stream.truncate(0)
        self._stream.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now}))
        self._stream.flush()

    def _is_the_file(self, stream: IO[str]) -> bool:
        try:
            return self.path.stat().st_ino == os.fstat(stream.fileno()).st_ino
        except FileNotFoundError:
            return False


def _locked(stream: IO[str]) -> bool:
    """Lock an open file; returns whether somebody else has it. Where there are no locks, the process is asked for."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        facts = _facts(stream)
        return facts.get("host") == socket.gethostname() and _lives(facts.get("pid"))
    return False


def _lives(pid: object) -> bool:
    if not isinstance(pid, int) or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _facts(stream: IO[str]) -> dict[str, object]:
    stream.seek(0)
    try:
        held = json.loads(stream.read())
    except ValueError:
        return {}
    return held if isinstance(held, dict) else {}


def _holder(stream: IO[str]) -> str:
    facts = _facts(stream)
    if not facts:
        return "another process"
    return f"process {facts.get('pid')} on {facts.get('host')} since {facts.get('since')}"
