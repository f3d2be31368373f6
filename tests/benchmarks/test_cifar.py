"""The CIFAR archives: read as torchvision reads them, and never run."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cifar_archives import content, dump_like_python2, pack, write_cifar10, write_cifar100
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Corrupt, Cut, Loopback

from backbones.core.errors import FrostlineError
from backbones.weightfiles import read_weights
from benchmarks.catalog import BENCHMARKS
from benchmarks.cifar import CIFAR10, CIFAR100, read_cifar, read_pickled_data
from benchmarks.named import CifarBenchmark


def test_layouts_agree_with_torchvision() -> None:
    from torchvision.datasets import CIFAR10 as peer10  # noqa: N811
    from torchvision.datasets import CIFAR100 as peer100  # noqa: N811

    for layout, peer in ((CIFAR10, peer10), (CIFAR100, peer100)):
        assert (layout.url, layout.folder) == (peer.url, peer.base_folder)
        assert (layout.archive, layout.checksum) == (peer.filename, f"md5:{peer.tgz_md5}")
        assert layout.train == tuple(name for name, _ in peer.train_list)
        assert layout.test == tuple(name for name, _ in peer.test_list)
        assert (layout.meta, layout.names) == (peer.meta["filename"], peer.meta["key"])


def test_images_labels_and_names_are_those_that_torchvision_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR100 as Peer  # noqa: N811

    write_cifar100(tmp_path)
    monkeypatch.setattr(Peer, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    dataset = BENCHMARKS.load("split-cifar100").load(data_root=str(tmp_path))
    for samples, train in ((dataset.train, True), (dataset.test, False)):
        peer = Peer(str(tmp_path), train=train)
        assert list(dataset.class_names) == peer.classes
        assert samples.labels.tolist() == peer.targets
        assert np.array_equal(np.stack([samples[index] for index in range(len(samples))]), peer.data)


def test_five_batches_are_joined_in_their_order(tmp_path: Path) -> None:
    files = write_cifar10(tmp_path)
    dataset = BENCHMARKS.load("split-cifar10").load(data_root=str(tmp_path))
    assert (len(dataset.train), len(dataset.test)) == (50, 10)
    batch = files["data_batch_3"]
    assert np.array_equal(dataset.train[24], batch["data"][4].reshape(3, 32, 32).transpose(1, 2, 0))
    assert dataset.train.labels[20:30].tolist() == batch["labels"]


def test_the_inner_folder_itself_is_a_data_root_too(tmp_path: Path) -> None:
    write_cifar100(tmp_path)
    dataset = BENCHMARKS.load("split-cifar100").load(data_root=str(tmp_path / "cifar-100-python"))
    assert len(dataset.class_names) == 100


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_files_written_again_by_python_3_are_read(tmp_path: Path, protocol: int) -> None:
    value = content(3, 2, "labels", 0)
    (tmp_path / "x").write_bytes(pickle.dumps(value, protocol=protocol))
    read = read_pickled_data(tmp_path / "x")
    assert np.array_equal(read["data"], value["data"])
    assert (read["labels"], read["filenames"]) == (value["labels"], value["filenames"])


class Evil:
    """Makes a file when it is unpickled by a careless reader."""

    def __init__(self, command: tuple[object, ...]) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, ...]:
        return self.command


def test_a_malicious_file_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    import os

    mark = tmp_path / "mark"
    for command in ((os.system, (f"touch {mark}",)), (eval, (f"open({str(mark)!r}, 'w')",)), (Path, (str(mark),))):
        raw = pickle.dumps({"data": Evil(command)}, protocol=2)
        (tmp_path / "train").write_bytes(raw)
        with pytest.raises(FrostlineError, match=r"train asks to call \S+\.\S+, which no CIFAR file does.*delete it"):
            read_pickled_data(tmp_path / "train")
        assert not mark.exists()
    assert pickle.loads(pickle.dumps(Evil((mark.touch, ())))) is None  # noqa: S301 (the trap does work)
    assert mark.exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"cnumpy\nload\n(S'x'\ntR.",
        b"c__builtin__\nexec\n(S'1'\ntR.",
        b"cnumpy.core.multiarray\nfrombuffer\n.",
        b"(inumpy.testing\nrundocs\n.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
    ],
)
def test_names_outside_the_table_are_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(FrostlineError, match="asks to call"):
        read_pickled_data(tmp_path / "x")


@pytest.mark.parametrize(
    "claim",
    [b"r\xff\xff\xff\x7f", b"p2147483647\n", b"\x95\xff\xff\xff\xff\xff\x00\x00\x00"],
    ids=["remembered", "remembered in digits", "framed"],
)
def test_a_claim_beyond_the_file_takes_no_memory(tmp_path: Path, claim: bytes) -> None:
    (tmp_path / "x").write_bytes(b"\x80\x04}" + claim + b".")
    with pytest.raises(FrostlineError, match="claims a size that no such file has"):
        read_pickled_data(tmp_path / "x")


def nested(kind: str) -> bytes:
    """Sixty levels, each of which holds the one below twice."""
    level = {"tuples": b"2\x86", "wide": b"(00t".replace(b"00", b"h\x00" * 4), "frozen": b"(h\x00h\x00\x91"}[kind]
    body = b"K\x01"
    for _ in range(60):
        body += (b"" if kind == "tuples" else b"q\x00") + level
    return b"\x80\x04}" + body + b"K\x01s."


@pytest.mark.parametrize("kind", ["tuples", "wide", "frozen"])
def test_keys_whose_hash_would_never_end_are_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x").write_bytes(nested(kind))
    with pytest.raises(FrostlineError, match="it nests tuples as no such file does"):
        read_pickled_data(tmp_path / "x")
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", nested(kind))
        archive.writestr("a/version", "3")
    with pytest.raises(FrostlineError, match="nests tuples"):
        read_weights(tmp_path / "a.pt")


def test_names_that_would_never_end_in_words_are_refused(tmp_path: Path) -> None:
    files = write_cifar100(tmp_path, classes=2)
    lists: list[object] = [1]
    for _ in range(60):
        lists = [lists, lists]
    meta = tmp_path / "cifar-100-python" / "meta"
    for names in ([lists, "b"], [3, "b"]):
        meta.write_bytes(pickle.dumps({**files["meta"], "fine_label_names": names}, protocol=2))
        with pytest.raises(FrostlineError, match=r"meta is not a whole file.*where a name belongs"):
            read_cifar(tmp_path / "cifar-100-python", CIFAR100, "x")
    meta.write_bytes(pickle.dumps({**files["meta"], 7: 1}, protocol=2))
    with pytest.raises(FrostlineError, match="int where a name belongs"):
        read_cifar(tmp_path / "cifar-100-python", CIFAR100, "x")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_every_cut_and_every_changed_byte_is_an_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = dump_like_python2({"labels": [1, 2], "data": np.arange(12, dtype=np.uint8).reshape(2, 6), "a": "b"})
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.none() | st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(whole[:at] if byte is None else whole[:at] + bytes([byte]) + whole[at + 1 :])
    try:
        read = read_pickled_data(path)
    except FrostlineError as error:
        assert str(path) in str(error)
    else:
        assert byte is not None
        assert isinstance(read, dict)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    write_cifar100(tmp_path)
    path = tmp_path / "cifar-100-python" / "train"
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(FrostlineError, match=r"cifar-100-python/train is not a whole file.*unpack the archive again"):
        BENCHMARKS.load("split-cifar100").load(data_root=str(tmp_path))


def test_an_empty_inner_folder_is_an_archive_unpacked_in_part(tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    with pytest.raises(FrostlineError, match=r"cifar-100-python has no file train; the layout has train, test, meta"):
        BENCHMARKS.load("split-cifar100").load(data_root=str(tmp_path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(FrostlineError, match=r"no file data_batch_4.*unpacked in part"):
        BENCHMARKS.load("split-cifar10").load(data_root=str(tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": np.zeros((3, 3), np.uint8)}, "no 'data' of 3072 bytes"),
        ({"data": "pixels"}, "no 'data' of 3072 bytes"),
        ({"data": np.zeros((4, 3072), np.float32)}, "array of b'f4', not of uint8"),
        ({"fine_labels": [1]}, "no list 'fine_labels' with one number for each of its 4 images"),
        ({"fine_labels": [0, 1, 0, 7]}, "labels run from 0 to 7 but it has 2 class names"),
        ({"fine_labels": ["a", "b", "c", "d"]}, "no list 'fine_labels'"),
    ],
)
def test_a_file_of_other_content_is_named(tmp_path: Path, change: dict[str, object], words: str) -> None:
    folder = tmp_path / "cifar-100-python"
    files = write_cifar100(tmp_path, classes=2)
    (folder / "train").write_bytes(dump_like_python2(files["train"] | change))
    with pytest.raises(FrostlineError, match=f"train is not a whole file of the CIFAR archive.*{words}"):
        read_cifar(folder, CIFAR100, "x")


def test_meta_without_names_and_a_file_that_is_no_dictionary_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    write_cifar100(tmp_path, classes=2)
    (folder / "meta").write_bytes(dump_like_python2({"other": 1}))
    with pytest.raises(FrostlineError, match=r"meta is not a whole file.*no list 'fine_label_names'"):
        read_cifar(folder, CIFAR100, "x")
    (folder / "meta").write_bytes(dump_like_python2([1]))
    with pytest.raises(FrostlineError, match="holds a list, not a dictionary"):
        read_cifar(folder, CIFAR100, "x")


def test_another_number_of_classes_is_an_error_that_points_at_folder(tmp_path: Path) -> None:
    write_cifar100(tmp_path, classes=90)
    with pytest.raises(FrostlineError, match=r"has 90 classes but split-cifar100 has 100.*--benchmark folder"):
        BENCHMARKS.load("split-cifar100").load(data_root=str(tmp_path))


def test_a_root_with_neither_layout_names_both(tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match=r"neither cifar-100-python/\{train,test,meta\} nor DIR/train/<class>"):
        BENCHMARKS.load("split-cifar100").load(data_root=str(tmp_path))


@pytest.fixture
def small(tmp_path: Path, loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> tuple[CifarBenchmark, bytes]:
    """split-cifar100 with a miniature archive on a loopback mirror, and the archive."""
    write_cifar100(tmp_path / "made")
    archive = pack(tmp_path / "made" / "cifar-100-python")
    monkeypatch.setenv("FROSTLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FROSTLINE_MIRROR", loopback.endpoint + "/mirror")
    loopback.add_file("/mirror/~kriz/cifar-100-python.tar.gz", archive)
    checksum = "md5:" + hashlib.md5(archive, usedforsecurity=False).hexdigest()
    benchmark = BENCHMARKS.load("split-cifar100")
    return replace(benchmark, layout=replace(CIFAR100, checksum=checksum)), archive


def test_the_archive_is_downloaded_through_the_mirror_once(
    small: tuple[CifarBenchmark, bytes], loopback: Loopback, tmp_path: Path
) -> None:
    phases: list[str] = []
    loopback.fault("/mirror/~kriz/cifar-100-python.tar.gz", Cut(5000))
    dataset = small[0].load(progress=lambda phase, done, total: phases.append(phase))
    assert (len(dataset.train), len(dataset.test)) == (200, 100)
    assert {"download cifar-100-python.tar.gz", "unpack cifar-100-python.tar.gz", "read split-cifar100"} <= set(phases)
    loopback.requests.clear()
    again = small[0].load(download=False)
    assert np.array_equal(again.train.digests(), dataset.train.digests())
    assert loopback.requests == []
    assert not (tmp_path / "home" / "data" / "cifar-100-python.tar.gz").exists()


def test_a_wrong_checksum_of_the_archive_is_an_error(small: tuple[CifarBenchmark, bytes], loopback: Loopback) -> None:
    loopback.fault("/mirror/~kriz/cifar-100-python.tar.gz", Corrupt(100))
    with pytest.raises(FrostlineError, match=r"checksum is not md5:.*pass --data-root DIR"):
        small[0].load()


def test_downloads_can_be_forbidden(small: tuple[CifarBenchmark, bytes], loopback: Loopback) -> None:
    with pytest.raises(FrostlineError, match=r"downloads are off.*--data-root DIR with DIR/cifar-100-python"):
        small[0].load(download=False)
    assert loopback.requests == []


def test_without_a_network_the_error_says_what_to_pass(
    small: tuple[CifarBenchmark, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Loopback() as server:
        monkeypatch.setenv("FROSTLINE_MIRROR", server.endpoint)
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(FrostlineError, match=r"cannot download .*--data-root DIR with DIR/cifar-100-python.*<class>"):
        small[0].load()


def test_an_archive_in_the_data_root_is_used_and_the_root_left_alone(
    small: tuple[CifarBenchmark, bytes], tmp_path: Path
) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    (root / "cifar-100-python.tar.gz").write_bytes(small[1])
    assert len(small[0].load(data_root=str(root)).train) == 200
    assert [path.name for path in root.iterdir()] == ["cifar-100-python.tar.gz"]


def test_a_half_downloaded_archive_in_the_data_root_is_named(
    small: tuple[CifarBenchmark, bytes], tmp_path: Path
) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    (root / "cifar-100-python.tar.gz").write_bytes(small[1][:10_000])
    with pytest.raises(FrostlineError, match=r"cifar-100-python\.tar\.gz has 10000 bytes.*half-downloaded"):
        small[0].load(data_root=str(root))


def test_the_opcodes_of_the_test_archives_are_what_a_pickle_reader_reads() -> None:
    value = content(2, 1, "labels", 3)
    read = pickle.load(io.BytesIO(dump_like_python2(value)), encoding="latin1")  # noqa: S301 (made three lines above)
    assert np.array_equal(read["data"], value["data"])
    assert read["labels"] == value["labels"]
