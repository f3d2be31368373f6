"""Metrics: laws, brute force, and the errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from backbones.core.errors import FrostlineError
from continual import metrics
from continual.figures_summary import combine, step_figures, summarise

Run = tuple[np.ndarray, np.ndarray, list[list[int]]]


@st.composite
def runs(draw: st.DrawFn, equal: bool = False, right: float = 0.5) -> Run:
    """Draw a stream of shuffled classes with predictions that class-incremental heads could make."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    order = random.permutation(sum(sizes)).tolist()
    classes = [[order.pop() for _ in range(size)] for size in sizes]
    labels = []
    for part in classes:
        labels += list(part) + random.choice(part, 3 * max(sizes) - len(part) if equal else random.integers(7)).tolist()
    truth = np.array(labels)[random.permutation(len(labels))]
    where = metrics.experience_of(truth, classes)
    rows = []
    for step in range(len(classes)):
        known = np.concatenate(classes[: step + 1])
        guess = np.where(random.random(len(truth)) < right, truth, random.choice(known, len(truth)))
        rows.append(np.where(where <= step, guess, -1))
    return np.array(rows), truth, classes


def brute_cdr(run: Run) -> list[float | None]:
    predictions, labels, classes = run
    values: list[float | None] = [None]
    for step in range(1, len(predictions)):
        right = drifted = 0
        for sample, label in enumerate(labels):
            is_old = any(label in part for part in classes[:step])
            if is_old and predictions[step - 1][sample] == label:
                right += 1
                drifted += predictions[step][sample] in classes[step]
        values.append(drifted / right if right else None)
    return values


def brute_forgetting(run: Run) -> list[float]:
    predictions, labels, classes = run
    values = []
    for index, part in enumerate(classes[:-1]):
        rows = [i for i, label in enumerate(labels) if label in part]
        history = [sum(line[i] == labels[i] for i in rows) / len(rows) for line in predictions[index:]]
        values.append(max(history) - history[-1])
    return values


@given(runs())
@settings(deadline=None)
def test_every_figure_stays_in_its_bounds(run: Run) -> None:
    summary = summarise(*run)
    shares = [*summary.a_t_sample, *summary.a_t_task, *summary.task_identification]
    shares += [value for value in (*summary.cdr, *summary.forgetting_per_experience) if value is not None]
    assert all(0 <= value <= 1 for value in shares)
    for right, identified in zip(summary.a_t_sample, summary.task_identification, strict=True):
        assert right <= identified
    if summary.bwt is not None and summary.forgetting is not None:
        assert summary.forgetting >= 0
        assert -summary.forgetting - 1e-12 <= summary.bwt <= 1
        assert summary.fwt == 0


@given(runs(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_test_samples_does_not_matter(run: Run, random: object) -> None:
    predictions, labels, classes = run
    order = list(range(len(labels)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert summarise(predictions[:, order], labels[order], classes) == summarise(*run)


@given(runs())
@settings(max_examples=40, deadline=None)
def test_accuracy_is_that_of_scikit_learn(run: Run) -> None:
    predictions, labels, classes = run
    summary = summarise(*run)
    assert summary.a_last_sample == accuracy_score(labels, predictions[-1])
    where = metrics.experience_of(labels, classes)
    matrix = metrics.accuracy_matrix(predictions, labels, where)
    for step, row in enumerate(predictions):
        part = [accuracy_score(labels[where == i], row[where == i]) for i in range(step + 1)]
        assert matrix[step, : step + 1].tolist() == part
        assert summary.a_t_sample[step] == accuracy_score(labels[where <= step], row[where <= step])
        assert summary.a_t_task[step] == pytest.approx(sum(part) / len(part), abs=1e-12)
        assert np.isnan(matrix[step, step + 1 :]).all()
    assert summary.a_bar_sample == pytest.approx(sum(summary.a_t_sample) / len(predictions), abs=1e-12)
    total = metrics.counts(predictions, labels, where)
    assert metrics.a_t_sample(matrix, total) == pytest.approx(summary.a_t_sample, abs=1e-12)
    assert metrics.a_t_task(matrix) == pytest.approx(summary.a_t_task, abs=1e-12)


@given(runs(right=0.8))
@settings(deadline=None)
def test_drift_and_forgetting_are_those_of_plain_loops(run: Run) -> None:
    summary = summarise(*run)
    assert list(summary.cdr) == brute_cdr(run)
    assert list(summary.forgetting_per_experience) == pytest.approx(brute_forgetting(run), abs=1e-12)


@given(runs(right=1.0))
@settings(deadline=None)
def test_perfect_predictions(run: Run) -> None:
    summary = summarise(*run)
    assert {summary.a_bar_sample, summary.a_bar_task, summary.a_last_sample, summary.a_last_task} == {1.0}
    assert summary.task_identification_last == summary.task_identification_mean == 1
    if len(run[0]) > 1:
        assert summary.cdr_mean == summary.forgetting == summary.bwt == 0


@given(runs(equal=True))
@settings(deadline=None)
def test_sample_and_task_weights_agree_on_equal_experiences(run: Run) -> None:
    summary = summarise(*run)
    assert summary.a_t_sample == pytest.approx(summary.a_t_task, abs=1e-12)


@given(runs())
@settings(max_examples=30, deadline=None)
def test_a_run_summarised_step_by_step_is_the_same(run: Run) -> None:
    predictions, labels, classes = run
    figures = [
        step_figures(row, labels, classes, predictions[step - 1] if step else None, step=step)
        for step, row in enumerate(predictions)
    ]
    assert combine(figures) == summarise(*run)


def test_a_learner_that_knows_only_its_newest_classes_drifts_wholly() -> None:
    classes = [[4, 1], [0], [2, 3]]
    labels = np.repeat(np.arange(5), 2)
    rows = [np.where(np.isin(labels, part), labels, part[0]) for part in classes]
    summary = summarise(np.array(rows), labels, classes)
    assert summary.cdr == (None, 1.0, 1.0)
    assert summary.a_t_task == pytest.approx((1, 1 / 2, 1 / 3))
    assert summary.a_t_sample == pytest.approx((1, 1 / 3, 2 / 5))
    assert (summary.forgetting, summary.bwt) == (1.0, -1.0)


def test_forgetting_remembers_the_best_and_backward_transfer_the_first() -> None:
    matrix = np.array([[0.5, np.nan, np.nan], [0.9, 0.4, np.nan], [0.6, 0.7, 0.8]])
    assert metrics.forgetting_per_experience(matrix) == pytest.approx([0.3, 0.0])
    assert metrics.bwt(matrix) == pytest.approx((0.1 + 0.3) / 2)


def test_forward_transfer_compares_with_the_accuracy_before_learning() -> None:
    matrix = np.array([[0.5, 0.3, 0.2], [0.9, 0.4, 0.6], [0.6, 0.7, 0.8]])
    assert metrics.fwt(matrix) == pytest.approx((0.3 + 0.6) / 2)
    assert metrics.fwt(matrix, np.array([0.9, 0.1, 0.2])) == pytest.approx((0.2 + 0.4) / 2)
    assert math.isnan(metrics.fwt(matrix[:2]) - metrics.fwt(np.full((2, 2), np.nan)))


def test_one_step_has_nothing_to_forget() -> None:
    summary = summarise(np.array([[0, 1, 1]]), np.array([0, 1, 0]), [[0, 1]])
    assert (summary.forgetting, summary.bwt, summary.fwt, summary.cdr_mean) == (None, None, None, None)
    assert (summary.cdr, summary.forgetting_per_experience) == ((None,), ())


def test_drift_is_undefined_where_nothing_was_right() -> None:
    summary = summarise(np.array([[1, 0, -1], [2, 2, 2]]), np.array([0, 1, 2]), [[0, 1], [2]])
    assert summary.cdr == (None, None)
    assert summary.cdr_mean is None


def test_an_experience_without_test_samples_is_left_out() -> None:
    summary = summarise(np.array([[0, -1], [0, -1], [0, 2]]), np.array([0, 2]), [[0], [1], [2]])
    assert summary.a_t_task == (1.0, 1.0, 1.0)
    assert summary.forgetting_per_experience == (0.0, None)
    assert summary.forgetting == 0


def test_three_hundred_experiences() -> None:
    labels = np.repeat(np.arange(300), 2)
    steps = np.arange(300)[:, None]
    summary = summarise(np.where(labels[None] <= steps, labels[None], -1), labels, [[i] for i in range(300)])
    assert summary.a_bar_task == 1
    assert len(summary.cdr) == 300


def test_the_interval_is_students() -> None:
    found = metrics.interval([1.0, 2.0, 3.0])
    assert found.mean == 2
    assert found.half_width == pytest.approx(4.302652729911275 / math.sqrt(3))  # t(0.975, 2) of printed tables: 4.303
    assert (found.low, found.high) == (found.mean - found.half_width, found.mean + found.half_width)
    assert metrics.interval([1.0, 2.0, 3.0], confidence=0.5).half_width < found.half_width
    assert metrics.interval([0.7] * 4).half_width == 0


def test_one_seed_has_no_interval() -> None:
    found = metrics.interval([0.25])
    assert (found.mean, found.n, found.half_width, found.low, found.high) == (0.25, 1, None, None, None)


TRUTH = np.array([0, 1, 2])
CLASSES = [[0, 1], [2]]


@pytest.mark.parametrize(
    ("predictions", "labels", "classes", "words"),
    [
        (np.array([[0, 1]]), TRUTH, CLASSES, r"shape \(1, 2\), labels \(3,\)"),
        (np.empty((1, 0), int), np.empty(0, int), CLASSES, "n >= 1"),
        (np.array([0, 1, 1]), TRUTH, CLASSES, "1 to as many steps as experiences"),
        (np.zeros((3, 3), int), TRUTH, CLASSES, "for 2 experiences"),
        (np.array([[0, -1, -1]]), TRUTH, CLASSES, "step 0 does not evaluate test sample 1 of experience 0"),
        (np.array([[0, 2, -1]]), TRUTH, CLASSES, "predicts class 2 for test sample 1; only classes of experiences 0"),
        (np.array([[0, 9, -1]]), TRUTH, CLASSES, "predicts class 9"),
        (np.array([[0, -7, -1]]), TRUTH, CLASSES, "predicts class -7"),
        (np.array([[0, 1, 0]]), np.array([0, 1, 5]), CLASSES, "test sample 2 has class 5, which no experience"),
        (np.array([[-1]]), np.array([2]), CLASSES, "experiences 0 to 0 have no test sample"),
        (np.array([[0, 1, -1]]), TRUTH, [[0, 1], [1, 2]], "class 1 comes in experiences 0 and 1"),
        (np.array([[0, 1, -1]]), TRUTH, [[0, 1], []], "each of at least one class"),
        (np.array([[0, 1, -1]]), TRUTH, [[0, 1], [-2]], "class -2 is negative"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    predictions: np.ndarray, labels: np.ndarray, classes: list[list[int]], words: str
) -> None:
    with pytest.raises(FrostlineError, match=words):
        summarise(predictions, labels, classes)


def test_a_later_step_needs_the_one_before() -> None:
    with pytest.raises(FrostlineError, match="step 1 needs the predictions of step 0"):
        step_figures(TRUTH, TRUTH, CLASSES, step=1)
    with pytest.raises(FrostlineError, match="step 2 of a stream of 2 experiences"):
        step_figures(TRUTH, TRUTH, CLASSES, TRUTH, step=2)


@pytest.mark.parametrize(("values", "confidence"), [([], 0.95), ([1.0, math.nan], 0.95), ([1.0, 2.0], 1.0)])
def test_an_interval_needs_finite_values_and_a_confidence(values: list[float], confidence: float) -> None:
    with pytest.raises(FrostlineError, match=r"such as 0\.95"):
        metrics.interval(values, confidence)


def test_the_size_of_a_stream_counts_where_its_last_experiences_have_no_sample_yet() -> None:
    predictions, labels, experiences = np.array([[0, 1]]), np.array([0, 2]), np.array([0, 1])
    assert metrics.counts(predictions, labels, experiences, 4).tolist() == [[1, 1, 0, 0]]
    assert metrics.accuracy_matrix(predictions, labels, experiences, 4)[0, :2].tolist() == [1.0, 0.0]
    assert metrics.accuracy_matrix(predictions, labels, experiences, 4).shape == (1, 4)


def test_the_task_weighted_accuracy_takes_neither_the_future_nor_what_is_missing() -> None:
    matrix = np.array([[0.5, 0.9], [math.nan, 0.7]])  # the first step was asked of the second experience, too
    assert metrics.a_t_task(matrix).tolist() == [0.5, 0.7]
