"""The score cache: answers kept in memory and in a file, so that decoding again costs no forward pass."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sqlite3
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbones.core.artifacts import digest_json
from backbones.core.errors import FrostlineError
from backbones.core.reading import parse_json
from backbones.core.samples import Progress, silent
from zeroshot.scorers.base import Request, Scorer
from zeroshot.scorers.recent import Recent

PATIENCE = 30.0  # seconds to wait for another process that writes
TABLES = (
    "CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, value BLOB NOT NULL, check_sum INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS notes (key BLOB PRIMARY KEY, value TEXT NOT NULL)",
)
IN_MEMORY = 200_000  # scores that are kept in memory, some 30 MB; a file keeps all
CALLS = 2_000  # calls whose notes are kept in memory
AT_ONCE = 500  # keys in one query; the least limit of the library is 999


class Cached:
    """A scorer that remembers: equal requests to an equal scorer are answered without it.

    A score's key is the digest of the scorer's fingerprint and of the request, so one file serves any number of scorers
    and a changed weight never meets an old score. Several processes may share the file. Damage is noticed (each score
    has a check sum), said and mended by asking again; the damaged file is kept beside the new one.

    Args:
        scorer: what answers the first time.
        path: the file, made at need; None for memory alone, which keeps the IN_MEMORY scores asked for last.
    """

    def __init__(self, scorer: Scorer, path: Path | str | None = None) -> None:
        self.scorer = scorer
        self.path = None if path is None else Path(path).expanduser()
        if self.path is not None and self.path.is_dir():
            raise FrostlineError(
                f"score cache {self.path} is a folder; pass a file, such as {self.path}/scores.sqlite."
            )
        self._memory: Recent[bytes, float] = Recent(IN_MEMORY)
        self._told: Recent[bytes, tuple[str, ...]] = Recent(CALLS)  # key of a call -> what the scorer noted about it
        self._notes: dict[str, None] = {}

    @property
    def scores_none(self) -> bool:
        """Whether the scorer answers about "no role at all"."""
        return bool(getattr(self.scorer, "scores_none", False))

    def fingerprint(self) -> str:
        """Return the scorer's own: a cache changes no score."""
        return self.scorer.fingerprint()

    def notes(self) -> tuple[str, ...]:
        """Return notes of the last call; those of the scorer are remembered for equal calls."""
        return tuple(self._notes)

    def score(self, requests: Sequence[Request], progress: Progress = silent) -> NDArray[np.float64]:
        """Return log-scores (see zeroshot.scorers.base.Scorer), asking the scorer only for what is not known."""
        self._notes = {}
        seed = self.fingerprint()
        keys = [_key(seed, request) for request in requests]
        call = hashlib.sha256(b"".join(sorted(set(keys)))).digest()
        known = {key: value for key in dict.fromkeys(keys) if (value := self._memory.recall(key)) is not None}
        unknown = [key for key in dict.fromkeys(keys) if key not in known]
        if unknown or call not in self._told:
            known.update(self._read(unknown, call))
        ask = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
        if ask:
            answers = self.scorer.score(list(ask.values()), progress)
            found = dict(zip(ask, map(float, answers), strict=True))
            known.update(found)
            self._told[call] = tuple(dict.fromkeys((*self._told.get(call, ()), *self.scorer.notes())))
            self._write({key: value for key, value in found.items() if math.isfinite(value)}, call)
        for key in unknown:
            if math.isfinite(known[key]):  # what is no number is asked again: it may have been an accident
                self._memory[key] = known[key]
        for note in self._told.get(call, ()):
            self._note(note)
        return np.array([known[key] for key in keys], dtype=np.float64)

    def _read(self, keys: Sequence[bytes], call: bytes) -> dict[bytes, float]:
        """Return the scores that the file has, and remember what was noted about the call."""
        if self.path is None or not self.path.exists():
            return {}
        found: dict[bytes, float] = {}
        damaged = 0
        try:
            with self._open() as base:
                # Another process may have made the file and not yet the tables.
                made = base.execute("SELECT count(*) FROM sqlite_master WHERE name = 'notes'").fetchone()[0]
                told = base.execute("SELECT value FROM notes WHERE key = ?", (call,)).fetchone() if made else None
                self._told[call] = tuple(map(str, parse_json(told[0]))) if told else self._told.get(call, ())
                for start in range(0, len(keys) if made else 0, AT_ONCE):
                    part = keys[start : start + AT_ONCE]
                    query = f"SELECT key, value, check_sum FROM scores WHERE key IN ({','.join('?' * len(part))})"
                    for key, value, check in base.execute(query, part):
                        if isinstance(value, bytes) and len(value) == 8 and zlib.crc32(key + value) == check:
                            found[key] = struct.unpack("<d", value)[0]
                        else:
                            damaged += 1
        except (sqlite3.Error, ValueError) as error:
            self._refuse(error)
        if damaged:
            self._note(f"score cache {self.path}: {damaged} scores were damaged and are computed again.")
        return found

    def _write(self, found: dict[bytes, float], call: bytes) -> None:
        if self.path is None:
            return
        rows = [(key, value, zlib.crc32(key + value)) for key, value in _packed(found)]
        for _ in range(2):  # the second time on a new file, if the first was damaged
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self._open() as base, base:
                    for table in TABLES:
                        base.execute(table)
                    base.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", rows)
                    if self._told[call]:
                        base.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (call, json.dumps(self._told[call])))
                return
            except sqlite3.Error as error:
                if not self._refuse(error):
                    return
            except OSError as error:
                self._note(f"score cache {self.path} cannot be written ({error.strerror}); scores are kept in memory.")
                return

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one call, so that processes and threads never share a connection."""
        with closing(sqlite3.connect(str(self.path), timeout=PATIENCE)) as base:
            yield base

    def _refuse(self, error: Exception) -> bool:
        """Note what is wrong with the file; set a damaged one aside and return True."""
        if isinstance(error, sqlite3.OperationalError):  # locked, full, read-only, another table: not damage
            self._note(f"score cache {self.path} cannot be used now ({error}); scores are kept in memory.")
            return False
        assert self.path is not None
        aside = self.path.with_name(self.path.name + ".damaged")
        try:
            os.replace(self.path, aside)  # noqa: PTH105 (atomic, and overwrites an older one)
        except OSError as reason:
            self._note(f"score cache {self.path} is damaged ({error}) and cannot be moved ({reason.strerror}).")
            return False
        self._note(f"score cache {self.path} is damaged ({error}): moved to {aside.name}; scores are computed again.")
        return True

    def _note(self, text: str) -> None:
        self._notes[text] = None


def _key(seed: str, request: Request) -> bytes:
    return hashlib.sha256(f"{seed}|{digest_json(asdict(request))}".encode()).digest()


def _packed(found: dict[bytes, float]) -> Iterator[tuple[bytes, bytes]]:
    for key, value in found.items():
        yield key, struct.pack("<d", value)
