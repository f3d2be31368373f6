"""Runs that are killed in process, and what of their reports must be as if they had not been."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

TIMES = {"seconds", "seconds_by_phase", "peak_memory_bytes"}  # measured anew by every process


def without_times(value: Any) -> Any:
    """Return a report, as a JSON value, without wall times and measured memory."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def report_of(folder: Path) -> Any:
    """Return the whole report of a run folder but for its times."""
    return without_times(json.loads((folder / "report.json").read_text()))


class Killed(BaseException):
    """The end of a process, as far as one can have it inside another."""


@contextmanager
def killed_at_write(number: int) -> Iterator[None]:
    """Let write ``number`` (from 1) and all that come after it fail: as after SIGKILL."""
    left = number
    replace = Path.replace

    def dying(path: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left <= 0:
            raise Killed
        return replace(path, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with suppress(Killed):
            yield


def writes_of(run: Callable[[], object]) -> int:
    """Return how many files ``run`` writes."""
    count = 0
    replace = Path.replace

    def counted(path: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        return replace(path, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", counted)
        run()
    return count
