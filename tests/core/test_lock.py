"""One writer for a folder."""

import json
import multiprocessing
import os
import signal
import time

import pytest

from backbones.core.errors import FrostlineError
from backbones.core.lock import LOCK, FolderLock


def hold(folder, held):
    lock = FolderLock(folder)
    lock.take()
    held.set()
    time.sleep(60)


@pytest.fixture
def other(tmp_path):
    """Another process that holds the folder."""
    kind = multiprocessing.get_context("fork")
    held = kind.Event()
    process = kind.Process(target=hold, args=(tmp_path, held))
    process.start()
    assert held.wait(30)
    yield process
    process.kill()
    process.join(30)


def test_the_holder_is_named_and_a_dead_one_is_taken_over(tmp_path, other):
    with pytest.raises(FrostlineError, match=rf"in use by process {other.pid} on \S+ since \d{{4}}-\d\d-\d\dT"):
        FolderLock(tmp_path).take()
    os.kill(other.pid, signal.SIGKILL)
    other.join(30)
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == other.pid, "a killed process leaves its lock behind"
    mine = FolderLock(tmp_path)
    mine.take()
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    mine.release()
    assert not (tmp_path / LOCK).exists()


def test_a_folder_is_held_once_within_a_process_too(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.take()
    with pytest.raises(FrostlineError, match=f"process {os.getpid()}"):
        second.take()
    first.release()
    second.take()
    second.release()
    second.release()


def test_a_file_system_without_locks_asks_for_the_process(tmp_path, other, monkeypatch):
    def refuse(_stream, _operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(FrostlineError, match=f"process {other.pid}"):
        FolderLock(tmp_path).take()
    (tmp_path / LOCK).write_text("[")
    FolderLock(tmp_path).take()


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FrostlineError, match=r"cannot write .*another folder"):
        FolderLock(tmp_path / "file" / "run").take()
