"""Relation pairs of a real corpus: of many relations, and fast."""

import time

import pytest

from backbones.lifecycle.infuse.acquire import acquire
from backbones.lifecycle.infuse.grammar import read_grammar
from backbones.training.corpus import read_documents


@pytest.mark.data
def test_novels_give_pairs_at_more_than_a_megabyte_in_a_core_second(shared_data):
    documents = read_documents([shared_data / "text" / "english_corpus.txt.xz"], most_bytes=3_000_000)
    began = time.process_time()
    found = acquire(documents, read_grammar())
    assert time.process_time() - began < 3.0
    assert len(found.counts()) >= 8 and len(found.pairs) >= 150  # novels define little: news have ten times as many
    assert {pair.relation for pair in found.pairs} <= set(read_grammar().relations)
