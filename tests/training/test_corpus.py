"""Plain text as documents of sentences."""

from __future__ import annotations

import gzip
import lzma

import pytest

from backbones.core.errors import FrostlineError
from backbones.training.corpus import read_documents, split_sentences, unread


@pytest.mark.parametrize(
    "text, sentences",
    [
        ("One ends. Two ends! Three?", ["One ends.", "Two ends!", "Three?"]),
        ("Mr. Smith met J. Brown at No. 7. He left.", ["Mr. Smith met J. Brown at No. 7.", "He left."]),
        ('"Stop!" He ran.', ['"Stop!"', "He ran."]),
        ("It costs 3.5 pounds. fine", ["It costs 3.5 pounds. fine"]),
        ("wrapped\nover  lines. And on.", ["wrapped over lines.", "And on."]),
        ("", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text, sentences):
    assert split_sentences(text) == sentences


def test_documents_are_divided_at_blank_lines_or_at_marks(tmp_path):
    plain, marked = tmp_path / "a.txt", tmp_path / "b.txt"
    plain.write_text("One. Two.\n\nThree\nfour.\n")
    marked.write_text("\x1enovel\nA. B.\n\nC.\n\x1enews\nD.\n")
    assert read_documents([plain]) == [["One.", "Two."], ["Three four."]]
    assert [len(document) for document in read_documents([marked])] == [1, 1]
    assert read_documents([marked])[1] == ["D."]


def test_folders_and_packed_files_are_read_in_order(tmp_path):
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"Packed."))
    (tmp_path / "a.txt").write_text("\ufeffPlain.")
    (tmp_path / "c.md.xz").write_bytes(lzma.compress(b"Tight."))
    (tmp_path / "d.png").write_bytes(b"\x89")
    told = []
    assert read_documents([tmp_path], progress=lambda *a: told.append(a)) == [["Plain."], ["Packed."], ["Tight."]]
    assert told[-1][1] == told[-1][2]


def test_reading_stops_after_so_many_bytes(tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join(f"Sentence number {n}." for n in range(100)))
    assert 3 <= len(read_documents([tmp_path / "a.txt"], most_bytes=80)) <= 6


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FrostlineError, match=r"gone\.txt does not exist; pass files of text"):
        read_documents([tmp_path / "gone.txt"])
    with pytest.raises(FrostlineError, match=r"holds no file of text \(\.txt"):
        read_documents([tmp_path])
    (tmp_path / "blank.txt").write_text(" \n\n \n")
    with pytest.raises(FrostlineError, match=r"there is no sentence in .*blank\.txt"):
        read_documents([tmp_path / "blank.txt"])
    (tmp_path / "latin.txt").write_bytes(b"fine\ncaf\xe9\n")
    with pytest.raises(FrostlineError, match=r"latin\.txt, line 2 is not UTF-8 .* save the file as UTF-8"):
        read_documents([tmp_path / "latin.txt"])
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b"Packed." * 1000)[:-9])
    with pytest.raises(FrostlineError, match=r"cannot read .*cut\.txt\.gz"):
        read_documents([tmp_path / "cut.txt.gz"])


def test_files_that_are_no_text_are_counted_and_named(tmp_path):
    for name in ("a.txt", "b.md.gz", "c.pdf", "d.PDF", "e", ".hidden"):
        (tmp_path / name).write_text("A sentence.")
    assert unread([tmp_path, tmp_path / "c.pdf"]) == (
        "3 files were passed over, as they do not end in .txt, .text, .md: 2 .pdf (c.pdf, d.PDF), "
        "1 without a suffix (e)",
    )
    assert unread([tmp_path / "a.txt"]) == ()
