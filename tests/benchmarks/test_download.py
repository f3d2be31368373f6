"""Downloads over loopback: whole or not at all, resumed, checked, and clear about what failed."""

from __future__ import annotations

import hashlib
import io
import os
import random
import subprocess
import sys
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback import Corrupt, Cut, Loopback, NoRange, Stall, Status

from backbones.core.errors import FrostlineError
from benchmarks.download import cache_folder, checksum_matches, fetch, mirrored, unpack

CONTENT = random.Random(0).randbytes(300_000)
PATH = "/data/set one.tar"
INSTEAD = "Pass --data-root DIR instead."


def sha(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def get(server: Loopback, target: Path, content: bytes = CONTENT, **options: object) -> Path:
    values = {"checksum": sha(content), "instead": INSTEAD, "wait": 0.0, "timeout": 5.0, "attempts": 3} | options
    return fetch(server.url(PATH), target, **values)  # type: ignore[arg-type]


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_arrives_whole_and_progress_counts_its_bytes(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    calls: list[tuple[str, int, int]] = []
    target = get(loopback, tmp_path / "deep" / "set.tar", progress=lambda *call: calls.append(call))
    assert target.read_bytes() == CONTENT
    received = [call for call in calls if call[0] == "download set.tar"]
    assert received[-1][1:] == (len(CONTENT), len(CONTENT))
    assert all(one[1] < two[1] for one, two in pairwise(received))
    assert leftovers(target.parent) == ["set.tar"]


def test_md5_is_known_too(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    checksum = "md5:" + hashlib.md5(CONTENT, usedforsecurity=False).hexdigest().upper()
    assert get(loopback, tmp_path / "a", checksum=checksum).read_bytes() == CONTENT


def test_a_file_that_is_there_is_not_asked_for_again(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    get(loopback, tmp_path / "a")
    loopback.requests.clear()
    get(loopback, tmp_path / "a")
    assert loopback.requests == []


def test_a_damaged_file_in_the_cache_is_fetched_again(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    (tmp_path / "a").write_bytes(CONTENT[:-1])
    assert get(loopback, tmp_path / "a").read_bytes() == CONTENT


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 60_000), max_size=4))
def test_cut_connections_are_resumed_where_they_stopped(
    loopback: Loopback, tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    loopback.add_file(PATH, CONTENT)
    loopback.requests.clear()
    for after in cuts:
        loopback.fault(PATH, Cut(after))
    target = tmp_path_factory.mktemp("cut") / "a"
    assert get(loopback, target, attempts=2).read_bytes() == CONTENT
    starts = [sum(cuts[:done]) for done in range(len(cuts) + 1)]
    assert loopback.ranges(PATH) == [f"bytes={start}-" if start else None for start in starts]
    assert leftovers(target.parent) == ["a"]


def test_a_later_call_goes_on_with_what_an_earlier_one_left(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    (tmp_path / "a.part").write_bytes(CONTENT[:1234])
    assert get(loopback, tmp_path / "a").read_bytes() == CONTENT
    assert loopback.ranges(PATH) == ["bytes=1234-"]


def test_a_part_that_is_already_complete_needs_no_byte(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    (tmp_path / "a.part").write_bytes(CONTENT)
    assert get(loopback, tmp_path / "a").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_everything_again(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    loopback.fault(PATH, Cut(1000))
    loopback.fault(PATH, NoRange())
    assert get(loopback, tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"of an older version", CONTENT + b"and more"])
def test_a_part_of_another_version_is_thrown_away(loopback: Loopback, tmp_path: Path, part: bytes) -> None:
    loopback.add_file(PATH, CONTENT)
    (tmp_path / "a.part").write_bytes(part)
    assert get(loopback, tmp_path / "a").read_bytes() == CONTENT
    assert loopback.ranges(PATH)[-1] is None


def test_a_busy_server_is_asked_again(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    loopback.fault(PATH, Status(503), times=2)
    assert get(loopback, tmp_path / "a").read_bytes() == CONTENT


def test_a_silent_connection_counts_as_cut(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    loopback.fault(PATH, Stall(after=5000, seconds=1.0))
    assert get(loopback, tmp_path / "a", timeout=0.2).read_bytes() == CONTENT
    assert loopback.ranges(PATH) == [None, "bytes=5000-"]


def test_a_connection_that_is_always_cut_is_an_error_that_keeps_the_part(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    loopback.fault(PATH, Cut(1000))
    loopback.fault(PATH, Cut(0), times=9)
    with pytest.raises(FrostlineError, match=r"cut after 1000 of 300000 bytes.*1000 bytes\) is kept.*--data-root DIR"):
        get(loopback, tmp_path / "a")
    assert leftovers(tmp_path) == ["a.part"]
    assert len(loopback.ranges(PATH)) == 3  # one that brought something, two in vain


def test_wrong_bytes_are_an_error_and_nothing_is_kept(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    loopback.fault(PATH, Corrupt(at=77), times=9)
    with pytest.raises(FrostlineError, match=rf"300000 bytes whose checksum is not {sha(CONTENT)}.*FROSTLINE_MIRROR"):
        get(loopback, tmp_path / "a")
    assert leftovers(tmp_path) == []


def judge(path: Path) -> None:
    if path.read_bytes() != CONTENT:
        raise FrostlineError("it has no rows.")


def test_content_may_be_judged_where_there_is_no_checksum(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    (tmp_path / "a.part").write_bytes(b"of an older version")
    for _ in range(2):
        assert get(loopback, tmp_path / "a", checksum=None, accept=judge).read_bytes() == CONTENT
    assert loopback.ranges(PATH) == ["bytes=19-", None]  # the second call found it there
    (tmp_path / "a").write_bytes(CONTENT[1:])
    assert get(loopback, tmp_path / "a", checksum=None, accept=judge).read_bytes() == CONTENT


def test_content_that_is_refused_is_an_error_and_nothing_is_kept(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    loopback.fault(PATH, Corrupt(at=77), times=9)
    with pytest.raises(FrostlineError, match=r"300000 bytes of another content \(it has no rows\): .*another version"):
        get(loopback, tmp_path / "a", checksum=None, accept=judge)
    assert leftovers(tmp_path) == []


def test_a_download_that_nothing_checks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a checksum or a function"):
        fetch("http://host.example/a", tmp_path / "a", instead=INSTEAD)


def test_an_address_that_is_gone_is_not_tried_twice(loopback: Loopback, tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match=r"answered 404.*--data-root DIR"):
        get(loopback, tmp_path / "a")
    assert len(loopback.requests) == 1


def test_no_network_says_what_to_pass_instead(tmp_path: Path) -> None:
    with Loopback() as server:
        address = server.url(PATH)
    with pytest.raises(FrostlineError, match=r"cannot download http.*refused.*Pass --data-root DIR instead"):
        fetch(address, tmp_path / "a", checksum=sha(b""), instead=INSTEAD, attempts=2, wait=0.0)


def test_a_folder_that_cannot_be_made_is_named(loopback: Loopback, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FrostlineError, match=r"cannot write .*file/a.*FROSTLINE_HOME"):
        get(loopback, tmp_path / "file" / "a")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_and_no_reason_to_try_again(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    (tmp_path / "a.part").symlink_to("/dev/full")
    with pytest.raises(FrostlineError, match=r"cannot write .*No space left.*Free some space"):
        get(loopback, tmp_path / "a")
    assert len(loopback.requests) == 1


def test_two_processes_may_ask_for_one_file(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_file(PATH, CONTENT)
    code = (
        "import sys; from pathlib import Path; from benchmarks.download import fetch; "
        "fetch(sys.argv[1], Path(sys.argv[2]), checksum=sys.argv[3], instead='')"
    )
    command = [sys.executable, "-c", code, loopback.url(PATH), str(tmp_path / "a"), sha(CONTENT)]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert len(loopback.ranges(PATH)) == 1


def test_the_mirror_replaces_scheme_and_host(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://host.example/~a/b.tar.gz"
    monkeypatch.delenv("FROSTLINE_MIRROR", raising=False)
    assert mirrored(address) == address
    monkeypatch.setenv("FROSTLINE_MIRROR", "http://store.example:81/data/")
    assert mirrored(address) == "http://store.example:81/data/~a/b.tar.gz"
    monkeypatch.setenv("FROSTLINE_MIRROR", "/some/folder")
    with pytest.raises(FrostlineError, match=r"FROSTLINE_MIRROR is '/some/folder'.*http://host"):
        mirrored(address)


def test_the_cache_folder_can_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FROSTLINE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("FROSTLINE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    if os.name != "nt":
        assert cache_folder() == tmp_path / "x" / "frostline"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_folder() == Path.home() / ".cache" / "frostline"


def archive(members: dict[str, bytes], packing: str = "gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{packing}") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def test_an_archive_is_unpacked_over_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(archive({"top/x": b"1", "top/y": b"2", "loose": b"3"}))
    (tmp_path / "out" / "top").mkdir(parents=True)
    (tmp_path / "out" / "top" / "old").write_text("old")
    assert unpack(tmp_path / "a.tar.gz", "top", tmp_path / "out") == tmp_path / "out" / "top"
    assert leftovers(tmp_path / "out") == ["top"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "top").iterdir()} == {"x": b"1", "y": b"2"}


@pytest.mark.parametrize("name", ["../escape", "/absolute/escape", "top/../../escape"])
def test_an_archive_that_reaches_outside_is_refused(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "a.tar.gz").write_bytes(archive({"top/x": b"1", name: b"2"}))
    if name.startswith("/"):  # an absolute name is made relative, hence harmless
        unpack(inside / "a.tar.gz", "top", inside)
    else:
        with pytest.raises(FrostlineError, match=r"a\.tar\.gz is not safe to unpack.*delete it"):
            unpack(inside / "a.tar.gz", "top", inside)
        assert leftovers(inside) == ["a.tar.gz"]
    assert leftovers(tmp_path) == ["inside"]


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 10_000), flip=st.booleans())
def test_a_half_or_damaged_archive_is_named_and_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: bool
) -> None:
    whole = archive({"top/x": random.Random(1).randbytes(20_000)})
    at = cut % (len(whole) - 40) + 20
    folder = tmp_path_factory.mktemp("half")
    damaged = whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :] if flip else whole[:at]
    (folder / "a.tar.gz").write_bytes(damaged)
    with pytest.raises(FrostlineError, match=r"a\.tar\.gz is cut short or damaged|a\.tar\.gz has no folder top"):
        unpack(folder / "a.tar.gz", "top", folder)
    assert leftovers(folder) == ["a.tar.gz"]


def test_a_place_that_cannot_take_the_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(archive({"top/x": b"1"}))
    with pytest.raises(FrostlineError, match=r"cannot write .*a\.tar\.gz: .*exists.*FROSTLINE_HOME"):
        unpack(tmp_path / "a.tar.gz", "top", tmp_path / "a.tar.gz")


def test_an_archive_without_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive({"other/x": b"1"}, packing=""))
    with pytest.raises(FrostlineError, match=r"a\.tar has no folder top"):
        unpack(tmp_path / "a.tar", "top", tmp_path)


@given(content=st.binary(max_size=200), other=st.binary(max_size=200))
def test_checksums_tell_contents_apart(tmp_path_factory: pytest.TempPathFactory, content: bytes, other: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "content"
    path.write_bytes(content)
    assert checksum_matches(path, sha(content))
    assert checksum_matches(path, sha(other)) == (content == other)
