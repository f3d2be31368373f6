"""Sentences and words in scripts without capitals or without spaces."""

from __future__ import annotations

import pytest

from backbones.core.letters import count_words, spaceless
from backbones.training.corpus import split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["叛军周五袭击了洛马港。", "天气很热，今天下雨！", "“他说。”", "为什么？！", "是。"],
        ["反乱軍は港を攻撃した。", "「雨だ。」", "今日は暑い。"],
    ],
)
def test_sentences_of_scripts_without_spaces_end_at_their_marks(sentences: list[str]) -> None:
    assert split_sentences("".join(sentences)) == sentences
    assert split_sentences("\n".join(sentences)) == sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["Привет.", "Это порт.", "Да!"], ["Élan vital.", "École normale.", "Über alles."], ["वह गया।", "वह आया।"],
        ["مرحبا؟", "نعم."], ["Ένα.", "Δύο;Τρία."], ["He said \"no.\"", "Then left.", "3 men came."],
    ],
)  # fmt: skip
def test_sentences_begin_with_any_capital_or_a_letter_that_has_none(sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences)) == sentences


@pytest.mark.parametrize("text", ["They came at 5 p.m. and left.", "Mr. Smith went.", "и т. д. вот", "vgl. über"])
def test_a_small_letter_or_an_abbreviation_goes_on(text: str) -> None:
    assert split_sentences(text) == [text]


def test_a_line_end_between_letters_without_spaces_is_none() -> None:
    assert split_sentences("叛军袭击了，\n 洛马港\n的人。") == ["叛军袭击了，洛马港的人。"]
    assert split_sentences("Rebels\nattacked 洛马\nport.") == ["Rebels attacked 洛马 port."]


@pytest.mark.parametrize(
    ("text", "words"), [("", 0), ("two words", 2), ("叛军袭击", 4), ("用 BERT 模型", 4), ("naïve café", 2)]
)
def test_words_are_counted_in_scripts_without_spaces_too(text: str, words: int) -> None:
    assert count_words(text) == words


def test_scripts_without_spaces() -> None:
    assert all(map(spaceless, "中あアกម་")) and not any(map(spaceless, "aéя가ع "))
