"""The score cache: no question twice, shared by processes, and damage is noticed, said and mended."""

import multiprocessing
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from zeroshot.scorers import Request
from zeroshot.scorers import cache as cache_module
from zeroshot.scorers.cache import Cached

REQUESTS = [Request("Rebels fired.", (0, 6), (7, 12), "attack", label) for label in ("attacker", "target", "place")]


class Counting:
    """A scorer that counts what it is asked."""

    def __init__(self, name: str = "a") -> None:
        self.name, self.asked = name, 0

    def fingerprint(self) -> str:
        return self.name

    def notes(self) -> tuple[str, ...]:
        return ("asked",)

    def score(self, requests: list[Request], progress: Progress = silent) -> np.ndarray:
        self.asked += len(requests)
        return np.array([len(request.label) / 3 for request in requests], dtype=np.float64)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "scores.sqlite"


def test_nothing_is_asked_twice(path: Path) -> None:
    scorer = Counting()
    cached = Cached(scorer, path)
    first = cached.score([REQUESTS[0], *REQUESTS])
    assert scorer.asked == 3 and cached.notes() == ("asked",)
    assert np.array_equal(cached.score(REQUESTS[::-1]), first[:0:-1])
    assert scorer.asked == 3 and cached.notes() == ("asked",), "notes of an equal call are remembered"
    again = Counting()
    other = Cached(again, path)
    assert np.array_equal(other.score(REQUESTS), first[1:]) and again.asked == 0
    assert other.notes() == ("asked",)
    assert len(other.score(REQUESTS[:1])) == 1 and other.notes() == (), "notes of another call are not"
    changed = Counting("b")
    Cached(changed, path).score(REQUESTS)
    assert changed.asked == 3, "another scorer has its own scores"


def test_without_a_file_memory_serves() -> None:
    scorer = Counting()
    cached = Cached(scorer)
    cached.score(REQUESTS)
    cached.score(REQUESTS)
    assert scorer.asked == 3


def test_every_field_of_a_request_counts() -> None:
    base = REQUESTS[0]
    changes = {
        "text": "Rebels fired!", "span": (0, 5), "trigger": None, "event": "x", "label": "x", "description": "x",
        "kind": "type", "hypothesis": "x", "language": "de",
    }  # fmt: skip
    assert set(changes) == set(vars(base))
    scorer = Counting()
    Cached(scorer).score([base, *(Request(**{**vars(base), key: value}) for key, value in changes.items())])
    assert scorer.asked == 1 + len(changes)


def write_many(path: Path, start: int) -> None:
    for at in range(start, start + 40):
        cached = Cached(Counting(), path)
        cached.score([Request("x", (0, 1), None, "", "y" * (at + step)) for step in range(5)])
        assert all(note == "asked" for note in cached.notes()), cached.notes()


def test_two_processes_write_at_once(path: Path) -> None:
    fork = multiprocessing.get_context("fork")  # a fresh interpreter would spend seconds on imports
    workers = [fork.Process(target=write_many, args=(path, start)) for start in (0, 20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    with sqlite3.connect(path) as base:
        assert base.execute("SELECT count(*) FROM scores").fetchone() == (64,)


def test_a_damaged_file_is_set_aside_and_made_anew(path: Path) -> None:
    wanted = Cached(Counting(), path).score(REQUESTS)
    path.write_bytes(b"no database at all, but long enough to be read as one" * 100)
    scorer = Counting()
    cached = Cached(scorer, path)
    assert np.array_equal(cached.score(REQUESTS), wanted) and scorer.asked == 3
    assert any("is damaged" in note and "scores.sqlite.damaged" in note for note in cached.notes())
    again = Counting()
    Cached(again, path).score(REQUESTS)
    assert again.asked == 0 and path.with_name("scores.sqlite.damaged").exists()


def test_a_damaged_score_is_computed_again(path: Path) -> None:
    wanted = Cached(Counting(), path).score(REQUESTS)
    with sqlite3.connect(path) as base:
        base.execute("UPDATE scores SET value = ? WHERE rowid = 2", (b"\x00" * 8,))
        base.execute("UPDATE scores SET value = ? WHERE rowid = 3", ("text",))
    scorer = Counting()
    cached = Cached(scorer, path)
    assert np.array_equal(cached.score(REQUESTS), wanted) and scorer.asked == 2
    assert any("2 scores were damaged" in note for note in cached.notes())
    healed = Counting()
    Cached(healed, path).score(REQUESTS)
    assert healed.asked == 0


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    cached = Cached(Counting(), tmp_path / "file" / "scores.sqlite")
    assert len(cached.score(REQUESTS)) == 3
    assert any("kept in memory" in note for note in cached.notes())
    with pytest.raises(FrostlineError, match="is a folder; pass a file"):
        Cached(Counting(), tmp_path)


def test_memory_is_bounded_and_a_call_may_ask_for_more(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr(cache_module, "IN_MEMORY", 2)
    scorer, many = Counting(), [*REQUESTS, *(replace(REQUESTS[0], label=f"role {number}") for number in range(9))]
    wanted = scorer.score(many)
    alone, on_disk = Cached(scorer), Cached(scorer, path)
    assert np.array_equal(alone.score(many), wanted) and len(alone._memory) == 2
    assert np.array_equal(on_disk.score(many), wanted)
    scorer.asked = 0
    assert np.array_equal(on_disk.score(many), wanted) and scorer.asked == 0, "the file keeps all"
    assert np.array_equal(alone.score(many), wanted) and scorer.asked == len(many) - 2


def test_what_is_no_number_is_not_kept(path: Path) -> None:
    class Ill(Counting):
        well = False

        def score(self, requests: list[Request], progress: Progress = silent) -> np.ndarray:
            return super().score(requests) if self.well else np.full(len(requests), np.nan)

    scorer = Ill()
    cached = Cached(scorer, path)
    assert np.isnan(cached.score(REQUESTS)).all()
    scorer.well = True
    assert np.isfinite(cached.score(REQUESTS)).all()
    assert np.isfinite(Cached(Ill(), path).score(REQUESTS)).all(), "from the file"
