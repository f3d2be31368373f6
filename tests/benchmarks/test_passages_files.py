"""Files as they come: packed, in archives, of other tools."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from format_makers import RECORDS

from backbones.core.errors import FrostlineError
from backbones.core.reading import limited
from benchmarks.passages import read_passages

LINE = json.dumps(RECORDS["native"]).encode() + b"\n"
PACK: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def names(path: Path, **options: str) -> list[str]:
    return [passage.doc_id for passage in read_passages(path, **options)]


def refused(path: Path) -> str:
    with pytest.raises(FrostlineError) as caught:
        list(read_passages(path))
    return str(caught.value)


@pytest.mark.parametrize("packing", PACK)
def test_packed_files_are_read_whatever_they_are_called(tmp_path: Path, packing: str) -> None:
    for name in (f"a.json{packing}", f"b.jsonl{packing}", "c.json"):
        (tmp_path / name).write_bytes(PACK[packing](LINE * 2))
    (tmp_path / f"t.txt{packing}").write_bytes(PACK[packing](b"They fired."))
    assert names(tmp_path) == ["d"] * 6
    assert names(tmp_path / f"t.txt{packing}", trigger="fired", event_type="X") == ["t"]


def test_archives_are_read_in_the_order_of_their_paths_and_where_they_lie(tmp_path: Path) -> None:
    second = json.dumps(RECORDS["native"] | {"doc_id": "e"}).encode()
    zipped(
        tmp_path / "m.zip",
        **{"z.json": LINE, "b/a.json": second, "__MACOSX/a.json": b"{", ".x.json": b"{", "n.md": b"#"},
    )
    (tmp_path / "n.json").write_bytes(LINE)
    assert names(tmp_path / "m.zip") == ["e", "d"]
    assert names(tmp_path) == ["e", "d", "d"]


def test_an_archive_that_is_broken_does_not_hide_what_follows(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 broken")
    (tmp_path / "b.json").write_bytes(LINE)
    errors: list[FrostlineError] = []
    found = read_passages(tmp_path, on_error="skip", skipped=errors.append)
    assert [passage.doc_id for passage in found] == ["d"]
    assert "a.zip: cannot be unpacked" in str(errors[0])


def test_what_cannot_be_unpacked_is_named(tmp_path: Path) -> None:
    for packing, pack in PACK.items():
        (tmp_path / f"cut{packing}").write_bytes(pack(LINE * 99)[:-9])
        assert "cannot be unpacked" in refused(tmp_path / f"cut{packing}")
    assert "none in the archive" in refused(zipped(tmp_path / "e.zip", a=b"x"))
    assert "an Office document" in refused(zipped(tmp_path / "d.docx", **{"[Content_Types].xml": b"<x/>"}))


def test_what_unpacks_to_too_much_is_stopped(tmp_path: Path) -> None:
    bomb = b" " * 2**20
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(bomb))
    zipped(tmp_path / "b.zip", **{"a.json": bomb})
    with limited(unpacked=2**16, growth=10):
        for name in ("a.json.gz", "b.zip"):
            assert "unpacks to more than" in refused(tmp_path / name)


def test_a_comma_at_the_end_of_a_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINE.rstrip() + b",\n" + LINE)
    assert "a comma at the line's end, where JSON Lines has none; take it out" in refused(tmp_path / "a.jsonl")


FOREIGN = {
    "a.conll": (b"Rebels B-PER\nattacked O\n\nLomar\tNNP\tB-GPE\n", "CoNLL or IOB"),
    "a.iob": (b"Rebels PER\n", "CoNLL"),
    "b.data": (b"1\tRebels\trebel\tNOUN\t_\n2\tfire\tfire\tVERB\t_\n", "CoNLL"),
    "a.csv": (b'text,trigger\n"Rebels, they attacked.",attacked\n', "a table (CSV)"),
    "b.data2": (b"text\ttrigger\nRebels attacked.\tattacked\n", "a table (TSV)"),
    "a.tsv": (b"#FORMAT=WebAnno TSV 3.3\n", "WebAnno TSV"),
    "a.yaml": (b"text: x\n", "YAML"),
    "a.md": (b"Rebels attacked.\n", "plain text; it holds words"),
    "a.pdf": (b"%PDF-1.7", "a PDF"),
    "a.pkl": (b"\x80\x04\x95", "a Python pickle"),
    "a.parquet": (b"PAR1\x15", "a Parquet table"),
    "a.zst": (b"\x28\xb5\x2f\xfd", "packed with zstd"),
    "lfs.json": (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    "a.html": (b"<!DOCTYPE html>\n<html><body>", "HTML"),
    "a.sgm": (b"<DOC>\n<DOCID> x </DOCID>", "a source text of ACE"),
    "a.ere.xml": (b'<?xml version="1.0"?>\n<!-- x -->\n<deft_ere kit_id="1">', "Rich ERE"),
    "b.xml": (b"<annotations>", "XML that is neither ACE's APF nor UIMA's XMI"),
    "a.tar": (b"\0" * 257 + b"ustar", "a tar archive"),
    "spacy.json": (b'{"text": "a", "ents": [], "tokens": [{"id": 0}]}', "a spaCy Doc"),
    "prodigy.jsonl": (b'{"text": "a", "_input_hash": 1, "spans": []}', "Prodigy"),
    "doccano.jsonl": (b'{"text": "Rebels", "label": [[0, 6, "PER"]]}', "doccano"),
    "doccano2.jsonl": (b'{"text": "R", "entities": [{"start_offset": 0, "end_offset": 1, "label": "P"}]}', "doccano"),
    "min.json": (b'{"text": "a", "annotator": 1, "annotation_id": 2}', "Label Studio (JSON-MIN)"),
    "ubiai.json": (b'{"document": "a", "tokens": [], "relations": []}', "UBIAI"),
    "hf.jsonl": (b'{"tokens": ["a"], "ner_tags": [0]}', "Hugging Face"),
    "task.json": (b'{"id": 1, "data": {"text": "a"}}', "Label Studio (a task without annotations)"),
    "html.json": (
        b'{"data": {"html": "<p>a</p>"}, "annotations": [{"result": [{"id": "a", "value": {"start": "/p[1]/text()[1]", '
        b'"end": "/p[1]/text()[1]", "startOffset": 0, "endOffset": 1, "hypertextlabels": ["P"]}}]}]}', "places in HTML",
    ),
    "spacy2.json": (b'[["Rebels", {"entities": [[0, 6, "PER"]]}]]', "spaCy's training data"),
    "words": (b"Rebels attacked the port.\n", "neither JSON nor a format that is known"),
    "pub.json": (b'{"text": "a", "denotations": []}', "PubAnnotation"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_tools_are_recognised_and_it_is_said_what_to_do(tmp_path: Path, name: str) -> None:
    content, words = FOREIGN[name]
    (tmp_path / name).write_bytes(content)
    said = refused(tmp_path / name)
    assert name in said and words in said
    assert said.count(". ") >= 1 and said.endswith(".")


def test_standard_input_needs_no_look_ahead() -> None:
    assert [passage.doc_id for passage in read_passages("-", stdin=io.BytesIO(LINE))] == ["d"]
    with pytest.raises(FrostlineError, match="a table"):
        list(read_passages("-", stdin=io.BufferedReader(io.BytesIO(b"a,b\n1,2\n"))))
