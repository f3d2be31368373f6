"""Windows: what is kept holds trigger and argument, fits the budget, is the same for all labels, and is told."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from zeroshot.scorers import Request
from zeroshot.scorers.windows import JOINT, JOINT_TOKENS, describe_windows, shorten


def tokens_of(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\w{1,3}|[^\w\s]", text)]


@st.composite
def questions(draw: st.DrawFn) -> tuple[Request, int]:
    words = draw(st.lists(st.sampled_from(["an", "attack", "x", "…", "soldiers,", "(so)"]), min_size=30, max_size=200))
    text = " ".join(words)
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word) + 1)
    span_at, trigger_at = (draw(st.integers(0, len(words) - 4)) for _ in range(2))
    wide = draw(st.integers(1, 3))
    span = starts[span_at], starts[span_at + wide] - 1
    trigger = (starts[trigger_at], starts[trigger_at + 1] - 1) if draw(st.booleans()) else None
    return Request(text, span, trigger, "attack", "agent"), draw(st.integers(30, 60))


@settings(max_examples=150, deadline=None)
@given(questions())
def test_what_is_kept(question: tuple[Request, int]) -> None:
    request, budget = question
    tokens = tokens_of(request.text)
    windowed = shorten(request, tokens, budget)
    found = windowed.request
    assert found.text[slice(*found.span)] == request.text[slice(*request.span)]
    if request.trigger is not None:
        assert found.trigger is not None
        assert found.text[slice(*found.trigger)] == request.text[slice(*request.trigger)]
    if len(tokens) <= budget:
        assert windowed.kept is None and found == request
        return
    assert windowed.kept is not None and len(windowed.kept) <= 2
    assert found.text == JOINT.join(request.text[start:end] for start, end in windowed.kept)
    assert len(tokens_of(found.text)) <= budget + 3 - JOINT_TOKENS * (len(windowed.kept) - 1) + JOINT_TOKENS
    kept = sum(len(tokens_of(request.text[start:end])) for start, end in windowed.kept)
    assert kept <= budget and kept >= budget // 2 - 26, "far less is kept than fits"
    assert shorten(replace(request, label="another"), tokens, budget).kept == windowed.kept


def test_near_ones_share_a_stretch_and_far_ones_are_joined() -> None:
    text = " ".join(f"w{number:03}" for number in range(400))
    tokens = [match.span() for match in re.finditer(r"\S+", text)]
    near = Request(text, tokens[200], tokens[210], "attack", "agent")
    far = Request(text, tokens[10], tokens[390], "attack", "agent")
    one, two = shorten(near, tokens, 50), shorten(far, tokens, 50)
    assert one.kept is not None and len(one.kept) == 1 and one.request.text.split()[0] == "w181"
    assert two.kept is not None and len(two.kept) == 2 and JOINT in two.request.text
    assert len(one.request.text.split()) == 50 and len(two.request.text.split()) == 44 + 1
    note = describe_windows([(far, two), (near, one)], 400, 512)
    assert "400 tokens, window 512" in note and "'w390'" in note and "'w010'" in note
    assert f"{two.kept[0][0]}-{two.kept[0][1]} and {two.kept[1][0]}-" in note and "1 more pairs" in note


def test_a_span_longer_than_the_window_keeps_its_end() -> None:
    text = " ".join(f"w{number:03}" for number in range(100))
    tokens = [match.span() for match in re.finditer(r"\S+", text)]
    request = Request(text, (0, tokens[80][1]), tokens[90], "attack", "agent")
    found = shorten(request, tokens, 30).request
    assert found.text[slice(*found.span)].endswith("w080") and len(found.text.split()) <= 30
    assert found.trigger is not None and found.text[slice(*found.trigger)] == "w090"


def test_too_small_a_window_is_an_error() -> None:
    tokens = [(at, at + 1) for at in range(100)]
    with pytest.raises(FrostlineError, match=r"leaves 3 tokens for the passage.*at least 8"):
        shorten(Request("x" * 100, (1, 2), (4, 5), "attack", "agent"), tokens, 3)
