"""What is read of the files that users bring, and where it ends."""

from __future__ import annotations

import gzip
import json
import os
import socket
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backbones.analysis.cloze import read_cloze
from backbones.analysis.pair_files import read_pairs
from backbones.analysis.spans import read_edges
from backbones.catalog import load_backbone
from backbones.core.artifacts import load_tensors
from backbones.core.errors import FrostlineError
from backbones.core.graft import read_graft
from backbones.core.reading import Limits, limited, limits, measured, parse_json, parse_toml, read_json, read_whole
from backbones.deltas import load_delta
from backbones.lifecycle.infuse.grammar import read_grammar
from backbones.lifecycle.infuse.pairs import read_pairs as read_relations
from backbones.testing import tiny_vit
from backbones.training.corpus import read_documents
from backbones.weightfiles import read_weights
from benchmarks.cifar import read_pickled_data
from benchmarks.images import decode_image
from benchmarks.ontologies.load import load_ontology
from benchmarks.passages.reader import read_passages
from benchmarks.text_sets import read_texts
from continual.inputs import read_inputs
from continual.report import read_report
from continual.settings import read_settings

DEEP = "[" * 100_000


def _read_adapter(path: Path) -> None:
    load_delta(path.parent, tiny_vit())


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {  # name of a file -> what reads it
    "image": ("a.png", decode_image),
    "csv": ("a.csv", lambda path: read_texts(str(path))),
    "json": ("a.json", lambda path: read_texts(str(path))),
    "passages": ("a.jsonl", lambda path: list(read_passages(path))),
    "raw passage": ("a.txt", lambda path: list(read_passages(path, trigger="a", event_type="b"))),
    "ontology": ("a.toml", load_ontology),
    "ontology of json": ("a.json", load_ontology),
    "cifar": ("test", read_pickled_data),
    "corpus": ("a.txt", lambda path: read_documents([path])),
    "settings": ("settings.toml", read_settings),
    "report": ("report.json", read_report),
    "tensors": ("a.safetensors", load_tensors),
    "weights": ("a.pth", read_weights),
    "pairs": ("a.jsonl", read_pairs),
    "cloze": ("a.jsonl", read_cloze),
    "edges": ("a.jsonl", read_edges),
    "relations": ("a.jsonl", read_relations),
    "grammar": ("a.toml", read_grammar),
    "graft": ("a.json", read_graft),
    "adapter": ("adapter_config.json", _read_adapter),
    "delta": ("pat_config.json", _read_adapter),
    "texts to classify": ("a.txt", lambda path: read_inputs([str(path)], "text")),
    "image to classify": ("a.png", lambda path: read_inputs([str(path)], "image")),
}


@pytest.mark.parametrize("kind", READERS)
def test_no_reader_waits_for_a_pipe(tmp_path: Path, kind: str) -> None:
    name, read = READERS[kind]
    os.mkfifo(tmp_path / name)
    assert " regular file" in _refused(read, tmp_path / name)


def test_devices_and_sockets_are_refused_and_links_followed(tmp_path: Path) -> None:
    (tmp_path / "endless").symlink_to("/dev/zero")
    assert "is a device" in _refused(read_whole, tmp_path / "endless")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert "is a socket" in _refused(read_whole, tmp_path / "s")
    (tmp_path / "a").write_bytes(b"whole")
    (tmp_path / "link").symlink_to("a")
    assert read_whole(tmp_path / "link") == b"whole"


def test_a_model_folder_with_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    os.mkfifo(tmp_path / "model.safetensors")
    assert " regular file" in _refused(lambda path: load_backbone(str(path)), tmp_path)


JSON_READERS = [kind for kind, (name, _) in READERS.items() if name.endswith((".json", ".jsonl"))]


@pytest.mark.parametrize("kind", JSON_READERS)
@pytest.mark.parametrize("text", [DEEP, '{"a":' * 900 + "1" + "}" * 900], ids=["unclosed", "whole"])
def test_json_that_is_nested_deeply_is_no_traceback(tmp_path: Path, kind: str, text: str) -> None:
    name, read = READERS[kind]
    (tmp_path / name).write_text(text)
    assert "nest" in _refused(read, tmp_path / name)


@pytest.mark.parametrize("kind", ["ontology", "settings", "grammar"])
@pytest.mark.parametrize("text", ["a = " + DEEP, "a." * 4000 + "a = 1"], ids=["lists", "keys"])
def test_toml_that_is_nested_deeply_is_no_traceback(tmp_path: Path, kind: str, text: str) -> None:
    name, read = READERS[kind]
    (tmp_path / name).write_text(text)
    assert "nested too deeply" in _refused(read, tmp_path / name)


def test_nesting_up_to_the_limit_is_read() -> None:
    for depth in (1, 64):
        assert parse_json("[" * depth + "]" * depth) is not None
    with pytest.raises(ValueError, match="limit of 64 levels"):
        parse_json("[" * 65 + "]" * 65)
    with limited(nesting=3):
        assert parse_toml("a = [[1]]") == {"a": [[1]]}
        with pytest.raises(ValueError, match="limit of 3"):
            parse_toml("a = [[[1]]]")


def test_a_bomb_is_noticed_long_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = tmp_path / "a.csv.gz"
    with gzip.open(bomb, "wb", compresslevel=9) as stream:
        for _ in range(6):
            stream.write(b"text,label\n" * 100_000)
    for read in (lambda path: read_texts(str(path)), lambda path: read_documents([path]), read_pairs):
        with limited(unpacked=2**16):
            assert "unpacks to more than" in _refused(read, bomb)


def test_a_zip_is_measured_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(10_000_000))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, limited(unpacked=1000), archive.open("a") as inner:
        assert "FROSTLINE_LIMITS=growth=NUMBER" in _refused(lambda _: measured(inner, 10_000, "a").read(), tmp_path)


def test_what_packs_well_but_is_small_is_read(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.json.gz", "wb") as stream:
        stream.write(b" " * 2**22 + b"[1]")
    assert parse_json(read_whole(tmp_path / "a.json.gz", ".gz")) == [1]


def test_files_and_texts_beyond_their_limit_are_named(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / f"{part}.jsonl").write_text(json.dumps({"text": "x" * 900, "label": "a"}) + "\n")
    with limited(text=899):
        told = _refused(lambda path: read_texts(str(path)), tmp_path)
    assert "line 1 has a text of 900 characters, more than the limit of 899; set FROSTLINE_LIMITS=text=NUMBER" in told
    (tmp_path / "a.json").write_text("[1, 2, 3]")
    with limited(file=5):
        assert "a.json has 9 bytes, more than the limit of 5" in _refused(read_json, tmp_path / "a.json")
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(2**40)
    assert "has 1,099,511,627,776 bytes" in _refused(read_whole, tmp_path / "sparse")


def test_limits_come_from_the_environment_and_blocks_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits() == Limits()
    monkeypatch.setenv("FROSTLINE_LIMITS", "pixels=7, text=8")
    assert (limits().pixels, limits().text, limits().file) == (7, 8, Limits().file)
    seen: list[int] = []
    with limited(pixels=9):
        worker = threading.Thread(target=lambda: seen.append(limits().pixels))
        worker.start()
        worker.join()
        assert (limits().pixels, limits().text, seen) == (9, 8, [7])
    monkeypatch.setenv("FROSTLINE_LIMITS", "pixel=7")
    with pytest.raises(FrostlineError, match=r"FROSTLINE_LIMITS: unknown key .pixel.. Did you mean .pixels."):
        limits()


def _refused(read: Callable[[Path], Any], path: Path) -> str:
    with pytest.raises(FrostlineError) as caught:
        read(path)
    return str(caught.value)
