"""From a problem to its scores."""

import time

import numpy as np
import pytest
from scipy.special import logsumexp

from backbones.core.errors import FrostlineError
from backbones.core.samples import silent
from benchmarks.ontologies import EntityType, EventType, Ontology, Role
from benchmarks.passages import Event, Mention, Passage, Trigger
from zeroshot import scoring as scoring_module
from zeroshot.problem import Pair, Problem
from zeroshot.scorers.ensemble import Ensemble
from zeroshot.scoring import role_requests, score, type_requests

ONTOLOGY = Ontology(
    name="tiny",
    entity_types={"per": EntityType(name="person"), "loc": EntityType(names={"de": "Ort"})},
    events={
        "Conflict:Attack": EventType(
            roles={
                "Attacker": Role(description="who attacks", descriptions={"de": "wer angreift"}),
                "Target": Role(names={"de": "Ziel"}),
            }
        )
    },
)


def problem(*, none=False, types=(("per",), ("per", "loc")), language="en"):
    passage = Passage(
        doc_id="d",
        text="Rebels shot guards",
        language=language,
        events=(Event(id="e", type="Conflict:Attack", trigger=Trigger(start=7, end=11)),),
    )
    mentions = (Mention(id="a", start=0, end=6), Mention(id="b", start=12, end=18))
    return Problem(passage, ONTOLOGY, mentions, (Pair(0, 0, none), Pair(0, 1, none)), types)


class Lengths:
    """Scores a label by its length; NONE, where it is asked, by 1."""

    scores_none = False

    def fingerprint(self):
        return "lengths"

    def score(self, requests, progress=None):
        self.asked = list(requests)
        return np.array([float(len(each.label) or 1) + each.span[0] for each in requests])

    def notes(self):
        return ()


class Opinionated(Lengths):
    scores_none = True


class Backwards(Lengths):
    """Likes short labels."""

    def score(self, requests, progress=None):
        return -0.3 * super().score(requests)


def test_requests_say_names_in_the_language_of_the_text():
    asked = role_requests(problem(language="de"), 1)
    assert [each.label for each in asked] == ["attacker", "Ziel"]
    assert asked[0].description == "wer angreift" and asked[1].description is None
    assert asked[0].event == "attack" and asked[0].span == (12, 18) and asked[0].trigger == (7, 11)
    assert [each.label for each in type_requests(problem(language="de"), 1)] == ["person", "Ort"]
    assert type_requests(problem(), 0) == []  # given, nothing to ask


def test_scores_of_a_cell_are_log_probabilities_whatever_is_added_to_them():
    case = problem()
    scores = score(case, Lengths())
    for group in (*case.pair_groups, case.type_groups[1]):
        assert logsumexp(scores[group]) == pytest.approx(0, abs=1e-12)
    assert scores[case.pair_groups[0]] == pytest.approx(scores[case.pair_groups[1]])  # the span's offset cancels
    assert scores[case.type_groups[0]] == pytest.approx([0.0])
    assert np.diff(scores[case.pair_groups[0]])[0] == pytest.approx(len("target") - len("attacker"))


def test_type_weight_scales_types_alone():
    case = problem()
    once, twice = score(case, Lengths()), score(case, Lengths(), type_weight=2.0)
    changed = case.type_groups[1]
    assert twice[changed] == pytest.approx(2 * once[changed])
    kept = np.setdiff1d(np.arange(len(once)), changed)
    assert np.array_equal(once[kept], twice[kept])


def test_none_is_as_likely_as_an_average_role_unless_the_scorer_knows_better():
    case = problem(none=True)
    roles = score(problem(), Lengths())[:2]
    scorer = Lengths()
    cell = score(case, scorer)[case.pair_groups[0]]
    assert all(each.label for each in scorer.asked)
    assert cell[:2] - cell[2] == pytest.approx(roles + np.log(2))
    knowing = score(case, Opinionated())[case.pair_groups[0]]
    assert knowing[:2] - knowing[2] == pytest.approx([len("attacker") - 1, len("target") - 1])


def test_none_bias_is_in_log_odds():
    case = problem(none=True)
    plain, shifted = score(case, Lengths()), score(case, Lengths(), none_bias=1.5)
    group = case.pair_groups[0]
    assert (shifted[group][2] - shifted[group][0]) - (plain[group][2] - plain[group][0]) == pytest.approx(1.5)


@pytest.mark.parametrize("weight", [0.2, 1.0, 3.0])
def test_a_member_that_says_nothing_of_none_abstains_from_it_and_speaks_for_roles(weight):
    case = problem(none=True)
    pool = score(case, Ensemble([(Opinionated(), 1.0), (Backwards(), weight)]))
    alone, other = score(case, Opinionated()), score(case, Backwards())
    for group in case.pair_groups:
        assert logsumexp(pool[group]) == pytest.approx(0, abs=1e-12)
        assert pool[group][-1] == pytest.approx(alone[group][-1])  # as likely as the member that answers says
        mixed = (np.diff(alone[group][:-1]) + weight * np.diff(other[group][:-1])) / (1 + weight)
        assert np.diff(pool[group][:-1]) == pytest.approx(mixed)
    mixed = (np.diff(alone[case.type_groups[1]]) + weight * np.diff(other[case.type_groups[1]])) / (1 + weight)
    assert np.diff(pool[case.type_groups[1]]) == pytest.approx(mixed)


def test_where_no_role_is_out_of_the_question_or_all_answer_the_pool_is_the_ensembles_own():
    mixed = Ensemble([(Opinionated(), 1.0), (Backwards(), 0.5)])
    silent = Ensemble([(Lengths(), 1.0), (Backwards(), 0.5)])
    assert score(problem(), mixed) == pytest.approx(score(problem(), silent))
    alike = Ensemble([(Opinionated(), 1.0), (Opinionated(), 2.0)])
    assert score(problem(none=True), alike) == pytest.approx(score(problem(none=True), Opinionated()))


def test_scores_that_are_not_finite_are_an_error_that_names_the_cell():
    class Broken(Lengths):
        def score(self, requests, progress=None):
            found = super().score(requests)
            found[1] = np.nan
            return found

    with pytest.raises(FrostlineError, match=r"nan for the role 'target' of 'Rebels' \(1 of 6"):
        score(problem(), Broken())


def test_a_wrong_number_of_scores_is_an_error():
    class Short(Lengths):
        def score(self, requests, progress=None):
            return np.zeros(1)

    with pytest.raises(FrostlineError, match=r"shape \(1,\) for 6 requests"):
        score(problem(), Short())


class Slow(Lengths):
    """Takes its time over each request, and tells of its progress."""

    def score(self, requests, progress=silent):
        for done in range(len(requests)):
            time.sleep(0.02)
            progress("scoring", done + 1, len(requests))
        return super().score(requests)

    def notes(self):
        return ("slow",)


def test_out_of_time_the_cells_that_are_left_have_equal_labels_and_that_is_said(monkeypatch):
    monkeypatch.setattr(scoring_module, "TOGETHER", 1)
    asked, said, began = problem(none=True), [], time.monotonic()
    whole = score(asked, Slow(), say=said.append)
    assert said == ["slow"]
    said.clear()
    found = score(asked, Slow(), until=time.monotonic() + 0.06, say=said.append)
    first, second = asked.pair_groups
    np.testing.assert_allclose(found[first], whole[first])
    np.testing.assert_allclose(found[second], -np.log(3))
    assert said[0] == "slow" and "in 2 of 3 cells all labels are equally likely (--time-limit)" in said[-1]
    late = score(asked, Slow(), until=began, say=said.append)
    assert all(np.ptp(late[columns]) < 1e-9 for columns in (first, second)) and "in 3 of 3 cells" in said[-1]
    np.testing.assert_allclose(score(asked, Slow(), until=time.monotonic() + 60), whole)


def test_members_of_an_ensemble_that_are_late_have_no_say():
    asked = problem(none=True)
    team = Ensemble([(Opinionated(), 0.5), (Backwards(), 0.5)])
    late = score(asked, team, until=0.0)
    assert np.ptp(late[asked.pair_groups[0]][:-1]) < 1e-9
