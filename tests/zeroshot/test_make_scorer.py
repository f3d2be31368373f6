"""Scorers from words."""

import pytest

from backbones.core.errors import FrostlineError
from zeroshot.scorers.ensemble import Ensemble
from zeroshot.scorers.make import make_scorer, parse_scorer


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("embedding", ("embedding", 1.0, {})),
        ("masked*0.5", ("masked", 0.5, {})),
        ("masked*2,lm=some/dir,mode=label", ("masked", 2.0, {"lm": "some/dir", "mode": "label"})),
    ],
)
def test_words_are_name_weight_and_settings(words, found):
    assert parse_scorer(words) == found


@pytest.mark.parametrize(
    "words", ["", "*2", "embedding*", "embedding*-1", "embedding*0", "embedding*inf", "embedding*nan"]
)
def test_words_that_are_none_are_refused(words):
    with pytest.raises(FrostlineError, match=r"NAME\*WEIGHT"):
        parse_scorer(words)


def test_the_name_says_what_was_meant():
    scorer, name = make_scorer(["embedding,temperature=0.1"], {"precision": "fp32"})
    assert name == "embedding,temperature=0.1,precision=fp32" and scorer.temperature == 0.1
    pool, name = make_scorer(["embedding", "embedding*2,cues=0"], calibrate="pmi")
    assert isinstance(pool, Ensemble) and name == "embedding + embedding*2,cues=0 (pmi)"


def test_no_scorer_and_settings_that_none_has_are_refused():
    with pytest.raises(FrostlineError, match=r"no scorer is given; known: .*embedding"):
        make_scorer([])
    with pytest.raises(FrostlineError, match=r"has no setting 'mode'\. It has: lm, "):
        make_scorer(["embedding"], {"mode": "paper"})
