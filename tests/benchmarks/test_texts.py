"""Texts in memory: kept as they are, digested by content, refused when they are no texts."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from benchmarks import ArrayTexts
from benchmarks.testing import check_samples
from benchmarks.types import Subset

ANY_TEXT = st.text(st.characters())  # with halves of surrogate pairs


@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=20))
def test_texts_are_kept_and_digested_by_content(texts: list[str]) -> None:
    samples = ArrayTexts(texts, range(len(texts)))
    check_samples(samples)
    assert [samples[row] for row in range(len(samples))] == texts
    digests = [bytes(row) for row in samples.digests()]
    assert len(set(digests)) == len(set(texts))
    wanted = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
    assert digests == wanted


@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=10), data=st.data())
def test_a_subset_has_the_digests_of_its_rows(texts: list[str], data: st.DataObject) -> None:
    samples = ArrayTexts(texts, [0] * len(texts))
    rows = np.array(data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1)), dtype=np.int64)
    subset = Subset(samples, rows)
    assert subset.modality == "text"
    assert [subset[place] for place in range(len(rows))] == [texts[row] for row in rows]
    assert np.array_equal(subset.digests(), samples.digests()[rows])


def test_nothing_of_it_can_be_changed_afterwards() -> None:
    texts, labels = ["a", "b"], np.array([0, 1])
    samples = ArrayTexts(texts, labels)
    texts[0], labels[0] = "changed", 7
    assert (samples[0], samples.labels.tolist()) == ("a", [0, 1])
    for array in (samples.labels, samples.digests()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 3


def test_no_texts_are_a_collection_too() -> None:
    samples = ArrayTexts([], [])
    assert (len(samples), samples.labels.dtype, samples.digests().shape) == (0, np.int64, (0, 16))


@pytest.mark.parametrize(
    ("texts", "labels", "words"),
    [
        ("one text", [0], r"texts is one string \('one text'\).*list of strings"),
        (["a", b"b"], [0, 1], "text 1 is b'b', of type bytes"),
        (["a", None], [0, 1], "text 1 is None, of type NoneType"),
        (["a", "b"], [0], r"2 texts came with labels of shape \(1,\)"),
        (["a", "b"], [[0, 1]], r"labels of shape \(1, 2\)"),
        (["a", "b"], [0.0, 1.0], "labels have dtype float64"),
        (["a", "b"], ["x", "y"], "labels have dtype <U1.*integers"),
        (["a", "b"], [0, -2], "label -2 of text 1 is negative"),
    ],
)
def test_what_is_no_labelled_text_is_refused(texts: list[str], labels: list[int], words: str) -> None:
    with pytest.raises(FrostlineError, match=words):
        ArrayTexts(texts, labels)


def test_the_contract_notices_a_text_that_is_none() -> None:
    class Bytes(ArrayTexts):
        def __getitem__(self, index: int) -> str:
            return super().__getitem__(index).encode()  # type: ignore[return-value]

    with pytest.raises(AssertionError, match="text 0 is a bytes, not a str"):
        check_samples(Bytes(["a", "b"], [0, 1]))
