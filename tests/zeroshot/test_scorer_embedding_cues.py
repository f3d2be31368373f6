"""Cues of grammar: what sentences of a grammar book must give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeroshot.scorers import Request
from zeroshot.scorers.cues import cue, outsider, standing
from zeroshot.scorers.grammar import BARE, FORMS, PREPOSITIONS, SAME
from zeroshot.scorers.senses import SENSE_WORDS, senses

ROLES = ("attacker", "target", "weapon", "place", "origin", "destination", "recipient", "topic", "date", "amount")


def of(text: str, label: str, **more: object) -> Request:
    """Read ``[mention]`` and ``<trigger>`` off the text."""
    spans = {}
    for opening, closing in ("[]", "<>"):
        clean = text.translate(str.maketrans("", "", "[]<>".replace(opening, "").replace(closing, "")))
        spans[opening] = (clean.index(opening), clean.index(closing) - 1)
    plain = text.translate(str.maketrans("", "", "[]<>"))
    return Request(plain, spans["["], spans["<"], "attack", label, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "better", "worse"),
    [
        ("[Gunmen] <attacked> a bus", "attacker", "target"),
        ("Gunmen <attacked> a [bus]", "target", "attacker"),
        ("A [bus] was badly <attacked> on Monday", "target", "attacker"),
        ("A bus was <attacked> by several armed [men]", "attacker", "target"),
        ("[Two men] <died>", "victim", "killer"),
        ("the <murder> of [a nurse]", "victim", "killer"),
        ("[Iran]'s <attack> on a ship", "attacker", "place"),
        ("They <attacked> it near the old [bridge]", "place", "target"),
        ("They <attacked> it with stolen [rifles]", "weapon", "place"),
        ("She <flew> from [Rome] to Oslo", "origin", "destination"),
        ("She <flew> from Rome to [Oslo]", "destination", "origin"),
        ("He <spoke> about the [war]", "topic", "place"),
        ("Prices <rose> by [3 %]", "amount", "agent"),
        ("They <met> [last week]", "date", "place"),
        ("Rates <fell> about [20 dollars]", "amount", "topic"),
        ("At least [nine] were <injured>", "injured person", "place"),
    ],
)
def test_grammar_prefers(text: str, better: str, worse: str) -> None:
    assert cue(of(text, better)) > cue(of(text, worse))


@pytest.mark.parametrize(
    ("label", "description", "sense"),
    [
        ("attacker", None, "agent"),
        ("water", None, None),
        ("detainee", None, "patient"),
        ("damaged thing", None, "patient"),
        ("one who blocks the way", "the guards or group that block the way", "agent"),
        ("bus", "the vehicle that is hit", "patient"),
        ("dead person", "the person who dies", "patient"),
        ("cargo ship", "whatever", "patient"),
        ("x", "the place where it happens", "place"),
        ("x", "the one to whom it is told", "recipient"),
    ],
)
def test_senses_of_roles(label: str, description: str | None, sense: str | None) -> None:
    found = senses(label, description)
    assert (sense in found) if sense else not found


def test_what_says_nothing_is_nought() -> None:
    asked = of("Gunmen <attacked> a [bus]", "target")
    for silent in (
        {"language": "de"}, {"kind": "type"}, {"trigger": None}, {"label": ""}, {"span": asked.trigger},
    ):  # fmt: skip
        assert cue(Request(**{**vars(asked), **silent})) == 0.0


def test_another_sentence_tells_less_and_is_farther() -> None:
    near, far = of("[Gunmen] <attacked> a bus", "attacker"), of("[Gunmen] came. They <attacked> a bus", "attacker")
    assert cue(near) > cue(far) == 0.0
    assert outsider(far) == pytest.approx(3.7) and outsider(near) == pytest.approx(0.7)


def test_tables_speak_of_known_senses() -> None:
    for table in (PREPOSITIONS, BARE, FORMS):
        for odds in table.values():
            assert odds.keys() <= SENSE_WORDS.keys()
            assert all(abs(value) <= 3 for value in odds.values())
    assert set(SAME.values()) <= PREPOSITIONS.keys()


@given(st.text(max_size=60), st.data())
def test_any_text_is_borne(text: str, data: st.DataObject) -> None:
    ends = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=4, max_size=4)))
    one, other = (ends[0], ends[1]), (ends[2], ends[3])
    for span, trigger in ((one, other), (other, one), (one, one)):
        found = standing(text, span, trigger)
        assert found.clause in BARE and 0 <= found.weight <= 1
        for role in ROLES:
            asked = Request(text, span, trigger, "attack", role)
            assert -6 <= cue(asked) <= 6 and outsider(asked) >= 0
