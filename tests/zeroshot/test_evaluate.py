"""Evaluation: hand-made cases, scikit-learn's figures, laws, and each of its messages."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from backbones.core.errors import FrostlineError
from benchmarks.passages import Argument, Event, Mention, Passage, Trigger
from zeroshot.evaluate import Report, blind, compare, evaluate
from zeroshot.evaluate.heads import head_word

TEXT = "In Rome the mayor shot his own brother with a gun and he fled to Milan."
ROLES = ("attacker", "victim", "place", "instrument")


def span(words):
    return TEXT.index(words), TEXT.index(words) + len(words)


def passage(arguments, doc_id="d1", *, event="E1", kind="attack", trigger="shot", coref=None, extra=()):
    """A passage with one event whose arguments are {words: role}."""
    coref = coref or {}
    names = {words: f"T{number}" for number, words in enumerate(dict.fromkeys([*arguments, *coref]))}
    entities = [
        Mention(id=name, start=span(words)[0], end=span(words)[1], type="PER", coref=coref.get(words))
        for words, name in names.items()
    ]
    given = tuple(Argument(entity=names[words], role=role) for words, role in arguments.items())
    start, end = span(trigger)
    first = Event(id=event, type=kind, trigger=Trigger(start=start, end=end), arguments=given)
    return Passage(doc_id=doc_id, text=TEXT, entities=tuple(entities), events=(first, *extra))


GOLD = {"the mayor": "attacker", "his own brother": "victim", "Rome": "place", "a gun": "instrument"}


def counts(score):
    return score.correct, score.predicted, score.gold


def test_a_hand_case_is_counted_by_hand():
    guess = {"the mayor": "attacker", "his own brother": "attacker", "gun": "instrument", "Milan": "place"}
    report = evaluate([passage(GOLD)], [passage(guess)])
    assert counts(report.identification) == (2, 4, 4)
    assert counts(report.classification) == (1, 4, 4)
    assert counts(report.head_identification) == (3, 4, 4)
    assert counts(report.head_classification) == (2, 4, 4)
    assert report.classification.f1 == 0.25 and report.head_classification.f1 == 0.5
    assert report.accuracy is None and report.coref_identification is None
    assert (report.documents, report.events, report.arguments) == (1, 1, 4)
    assert {(cell.gold, cell.predicted): cell.count for cell in report.confusion} == {
        ("attacker", "attacker"): 1, ("victim", "attacker"): 1, ("place", None): 1, ("instrument", None): 1,
        (None, "place"): 1, (None, "instrument"): 1,
    }  # fmt: skip
    rows = {row.name: counts(row.score) for row in report.roles}
    assert rows == {"attacker": (1, 2, 1), "victim": (0, 0, 1), "place": (0, 1, 1), "instrument": (0, 1, 1)}
    assert [(row.name, counts(row.score)) for row in report.event_types] == [("attack", (1, 4, 4))]


def test_accuracy_is_given_where_exactly_the_gold_spans_were_predicted():
    guess = GOLD | {"Rome": "victim"}
    report = evaluate([passage(GOLD)], [passage(guess)])
    assert (report.accuracy.value, report.accuracy.correct, report.accuracy.total) == (0.75, 3, 4)
    del guess["a gun"]
    assert evaluate([passage(GOLD)], [passage(guess)]).accuracy is None


def test_a_pair_that_the_gold_leaves_open_is_not_counted():
    report = evaluate([passage(GOLD | {"Milan": None})], [passage(GOLD | {"Milan": "place"})])
    assert counts(report.classification) == (4, 4, 4)
    assert report.accuracy.value == 1.0


def test_a_cluster_counts_once_whichever_mention_is_named():
    clusters = {"the mayor": "C1", "he": "C1"}
    gold = passage({"the mayor": "attacker", "Rome": "place"}, coref=clusters)
    guess = passage({"he": "attacker", "mayor": "attacker"})
    report = evaluate([gold], [guess])
    assert counts(report.classification) == (0, 2, 2)
    assert counts(report.head_classification) == (1, 2, 2)
    assert counts(report.coref_classification) == (1, 1, 2)


def test_events_are_matched_by_id_then_by_type_and_trigger():
    assert evaluate([passage(GOLD)], [passage(GOLD, event="other")]).classification.f1 == 1.0
    for wrong in ({"kind": "injure"}, {"trigger": "fled"}):
        report = evaluate([passage(GOLD)], [passage(GOLD, event="other", **wrong)])
        assert counts(report.classification) == (0, 4, 4)
    assert evaluate([passage(GOLD)], [passage(GOLD, kind="injure")]).classification.f1 == 1.0  # same id


@pytest.mark.parametrize(
    ("words", "head"),
    [
        ("the mayor of Rome", "mayor"),
        ("Vyacheslav Gladkikh", "Gladkikh"),
        ("soldiers who fled, and others", "soldiers"),
        ("Russia's", "Russia"),
        ("his own brother", "brother"),
        ("the U.S.", "U.S"),
        ("$1.2 billion", "billion"),
        ("...", "..."),
        ("of Rome", "Rome"),
    ],
)
def test_the_head_is_the_last_word_before_what_modifies_it(words, head):
    found = head_word(words, Mention(id="T", start=0, end=len(words)))
    assert found == (words.index(head), words.index(head) + len(head))


def test_a_head_that_is_given_wins():
    mention = Mention(id="T", start=0, end=17, head=(13, 17))
    assert head_word("the mayor of Rome", mention) == (13, 17)


pairs = st.lists(
    st.tuples(st.sampled_from([*ROLES, None]), st.sampled_from([*ROLES, None])), min_size=1, max_size=12
).filter(lambda rows: any(wanted for wanted, _ in rows))
WORDS = ("In", "Rome", "the", "mayor", "his", "own", "brother", "with", "gun", "and", "fled", "Milan")


def documents(rows, side):
    """Documents of at most three pairs each; role None: the pair is not listed."""
    parts = [rows[start : start + 3] for start in range(0, len(rows), 3)]
    chosen = [
        {WORDS[3 * number + at]: row[side] for at, row in enumerate(part) if row[side] is not None}
        for number, part in enumerate(parts)
    ]
    return [passage(arguments, f"d{number}") for number, arguments in enumerate(chosen)]


@settings(deadline=None, max_examples=40)
@given(pairs)
def test_figures_are_those_of_scikit_learn(rows):
    report = evaluate(documents(rows, 0), documents(rows, 1), bootstrap=0)
    truth, guess = ([row[side] or "none" for row in rows] for side in (0, 1))
    labels = sorted({*truth, *guess} - {"none"})

    def expected(average):
        figures = precision_recall_fscore_support(truth, guess, labels=labels, average=average, zero_division=0)
        return figures[:3]

    for average, score in (("micro", report.classification), ("macro", report.macro)):
        assert (score.precision, score.recall, score.f1) == pytest.approx(expected(average), abs=1e-12)
    by_role = {row.name: row.score for row in report.roles}
    ours = [[getattr(by_role[label], name) for label in labels] for name in ("precision", "recall", "f1")]
    assert np.allclose(ours, expected(None), atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(pairs, st.randoms(use_true_random=False))
def test_perfect_is_one_order_is_nothing_and_mending_never_harms(rows, random):
    gold, guess = documents(rows, 0), documents(rows, 1)
    perfect = evaluate(gold, gold, bootstrap=5)
    for score in (perfect.identification, perfect.classification, perfect.head_classification, perfect.macro):
        assert score.f1 == 1.0
    assert perfect.accuracy.value == 1.0

    report = evaluate(gold, guess, bootstrap=20, seed=3)
    mixed = [item.model_copy(update={"entities": item.entities[::-1]}) for item in guess]
    random.shuffle(mixed)
    random.shuffle(gold)
    assert evaluate(gold, mixed, bootstrap=20, seed=3) == report

    wrong = [at for at, (wanted, got) in enumerate(rows) if wanted != got]
    if wrong:
        at = random.choice(wrong)
        rows[at] = (rows[at][0], rows[at][0])
        better = evaluate(documents(rows, 0), documents(rows, 1), bootstrap=0)
        assert better.classification.f1 > report.classification.f1 or report.classification.f1 == 0.0
        assert better.identification.f1 >= report.identification.f1


def many(good, count=40):
    """Documents of which the first ``good`` are predicted right."""
    gold = [passage(GOLD, f"d{number:02}") for number in range(count)]
    guess = [passage(GOLD if at < good else dict.fromkeys(GOLD, "place"), f"d{at:02}") for at in range(count)]
    return gold, guess


def test_intervals_hold_the_figure_repeat_and_narrow_with_more_documents():
    report = evaluate(*many(20))
    low, high = report.accuracy.interval
    assert low < report.accuracy.value < high
    # The standard error of the mean over 40 documents that are 1 or 1/4, each one half of the time.
    expected = 2 * 1.96 * 0.375 / np.sqrt(40)
    assert high - low == pytest.approx(expected, rel=0.2)
    assert evaluate(*many(20)) == report
    assert evaluate(*many(20), bootstrap=20, seed=1).macro != evaluate(*many(20), bootstrap=20).macro
    wide = evaluate(*many(5, 10)).accuracy.interval
    assert wide[1] - wide[0] > 1.5 * (high - low)
    assert len(report.roles[0].score.interval) == 2 and len(report.macro.interval) == 2


def test_no_interval_without_bootstrap_or_with_one_document():
    assert evaluate(*many(20), bootstrap=0).classification.interval is None
    assert evaluate([passage(GOLD)], [passage(GOLD)]).classification.interval is None


def test_evaluation_touches_no_global_generator():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    evaluate(*many(20))
    assert (np.random.get_state()[1] == before).all()


def test_a_report_is_json_and_comes_back():
    report = evaluate(*many(20))
    assert Report.model_validate(json.loads(report.model_dump_json())) == report


def test_the_paired_difference_is_sharper_than_the_intervals_and_changes_sign():
    gold, better = many(25)
    _, worse = many(20)
    found = compare(gold, better, worse)
    assert found.difference == pytest.approx(found.first - found.second) and found.difference > 0
    assert found.interval[0] > 0 and found.p < 0.05
    single = evaluate(gold, worse)
    assert single.classification.interval[1] > found.first - 0.02  # the intervals themselves overlap
    turned = compare(gold, worse, better)
    assert turned.difference == -found.difference and turned.p == found.p
    same = compare(gold, better, better)
    assert (same.difference, same.interval, same.p) == (0.0, (0.0, 0.0), 1.0)
    assert compare(gold[:1], better[:1], worse[:1]).p is None


def test_blind_takes_the_answers_away():
    gold = passage(GOLD, coref={"the mayor": "C1"})
    given_spans = blind(gold)
    assert {argument.role for argument in given_spans.events[0].arguments} == {None}
    assert given_spans.entities == gold.entities
    untyped = blind(gold, types=False)
    assert {(mention.type, mention.coref) for mention in untyped.entities} == {(None, None)}
    raw = blind(gold, spans=False)
    assert raw.entities == () and raw.events[0].arguments == () and raw.events[0].candidates == "auto"


def message(*arguments, **options):
    with pytest.raises(FrostlineError) as caught:
        evaluate(*arguments, **options)
    return str(caught.value)


def test_messages_name_what_is_wrong_and_what_to_do():
    gold, other = passage(GOLD), passage(GOLD, "news-2")
    assert "no gold roles: none of the 1 documents" in message([passage(dict.fromkeys(GOLD))], [gold])
    said = message([gold, other], [gold, passage(GOLD, "news-2.json")])
    assert "predictions lack 1 of 2 gold documents: 'news-2'" in said and "Did you mean 'news-2.json'" in said
    said = message([gold], [other])
    assert "no document in common" in said and "'d1'" in said and "'news-2'" in said and "doc_id" in said
    assert "gold: doc_id 'd1' is given 2 times" in message([gold, gold], [gold])
    assert "predictions: doc_id 'd1' is given 2 times" in message([gold], [gold, gold])
    changed = gold.model_copy(update={"text": TEXT.replace("mayor", "baker")})
    assert "differs from character 12 on ('mayor" in message([gold], [changed])
    assert "bootstrap = -1" in message([gold], [gold], bootstrap=-1)
    with pytest.raises(FrostlineError, match="unknown criterion 'head'"):
        compare([gold], [gold], [gold], criterion="head")


def test_predictions_of_other_documents_are_left_out_and_it_is_said():
    report = evaluate([passage(GOLD)], [passage(GOLD), passage(GOLD, "d2")])
    assert report.classification.f1 == 1.0
    assert "1 documents that are not in the gold were left out: 'd2'" in report.notes[0]
