"""IPT: losses against autograd and brute force, the order of effects on digits, constant cost, errors."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import Tensor

from backbones.core.errors import FrostlineError
from continual.heads import HEADS
from continual.heads.ipt import Ipt
from continual.heads.metric import Metric
from continual.heads.replay import Bank, condense
from continual.heads.rows import unit
from continual.heads.tuning import cosine_loss, maximum_similarity_loss

PLAIN = {
    "prototypes": 5, "tau": 1 / 16, "metric": "none", "noise": 0, "settle": False, "balance": False, "average": False,
    "replay_weight": "index", "epochs": 30, "batch_size": 64, "lr": 0.05, "decay": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    point = at.clone().requires_grad_(True)
    loss(point).backward()
    assert point.grad is not None
    return point.grad


@given(seed=st.integers(0, 1000), tau=st.floats(0.05, 1.0))
@settings(max_examples=25, deadline=None)
def test_cosine_loss_has_the_gradient_that_autograd_finds(seed: int, tau: float) -> None:
    generator = _generator(seed)
    points, prototypes = (unit(torch.randn(count, 6, generator=generator).double()) for count in (9, 4))
    columns = torch.randint(0, 4, (9,), generator=generator)
    weights = torch.rand(9, generator=generator).double()

    def written_out(rows: Tensor) -> Tensor:
        logits = points @ torch.nn.functional.normalize(rows, dim=1).T / tau
        return (torch.nn.functional.cross_entropy(logits, columns, reduction="none") * weights).sum()

    loss, gradient = cosine_loss(points, prototypes, columns, weights, tau)
    torch.testing.assert_close(loss, written_out(prototypes))
    torch.testing.assert_close(gradient, _gradient(written_out, prototypes))


@given(seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_maximum_similarity_loss_against_a_loop_and_autograd(seed: int) -> None:
    generator = _generator(seed)
    owners = torch.tensor([3, 3, 3, 5, 5, 9])
    points, examples = (unit(torch.randn(count, 4, generator=generator).double()) for count in (12, 6))
    columns = owners[torch.randint(0, 6, (12,), generator=generator)]

    def written_out(rows: Tensor) -> Tensor:
        directions = torch.nn.functional.normalize(rows, dim=1)
        best = [
            torch.stack([point @ directions[k] for k in range(6) if owners[k] == column]).max()
            for point, column in zip(points, columns, strict=True)
        ]
        return 1 - torch.stack(best).mean()

    loss, gradient = maximum_similarity_loss(points, columns, examples, owners)
    torch.testing.assert_close(loss, written_out(examples))
    torch.testing.assert_close(gradient, _gradient(written_out, examples))


def test_settled_examples_are_what_kmeans_would_keep() -> None:
    """Brute force: means of the winners, their shares, and the root mean square of what is left."""
    points = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 3.0], [0.1, 1.0], [0.0, 2.0], [5.0, 5.0]])
    columns = torch.tensor([4, 4, 4, 4, 4, 5])
    examples = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [1.0, 1.0]])
    bank = condense(points, columns, examples, torch.tensor([4, 4, 4, 5]), settle=True)
    assert bank.owners.tolist() == [4, 4, 5]  # the third example won nothing
    torch.testing.assert_close(bank.points, torch.stack([points[:2].mean(0), points[2:5].mean(0), points[5]]))
    torch.testing.assert_close(bank.shares, torch.tensor([0.4, 0.6, 1.0]))
    rest = torch.cat([points[:2] - points[:2].mean(0), points[2:5] - points[2:5].mean(0)])
    torch.testing.assert_close(bank.spreads, torch.tensor([float(rest.square().mean().sqrt()), 0.0]))


def test_replay_draws_classes_alike_and_examples_by_their_share() -> None:
    bank, fresh = Bank(), Bank()
    fresh.points = torch.eye(3)
    fresh.owners, fresh.shares = torch.tensor([0, 0, 1]), torch.tensor([0.9, 0.1, 1.0])
    fresh.spreads = torch.tensor([0.0, 2.0])
    bank.add(fresh, lambda points: points)
    points, columns = bank.sampler(True)(20000, 0.0, _generator(0), lambda points: points)
    assert points.mean(0).tolist() == pytest.approx([0.45, 0.05, 0.5], abs=0.015)
    assert torch.equal(columns, (points[:, 2] == 1).long())
    points, _ = bank.sampler(False)(20000, 0.0, _generator(0), lambda points: points)
    assert points.mean(0).tolist() == pytest.approx([0.25, 0.25, 0.5], abs=0.015)
    points, columns = bank.sampler(True)(20000, 1.5, _generator(0), lambda points: points)
    assert float((points[columns == 1] - torch.eye(3)[2]).std()) == pytest.approx(3.0, rel=0.03)


def test_within_metric_whitens_the_pooled_classes_and_can_be_undone() -> None:
    generator = _generator(1)
    mix = torch.randn(5, 5, generator=generator)
    metric, rest = Metric("within", 0.0), []
    for _ in range(4):
        positions = torch.arange(3).repeat_interleave(400)
        noise = torch.randn(1200, 5, generator=generator) @ mix
        features = noise + 10 * torch.randn(3, 5, generator=generator)[positions]
        metric = metric.observed(features, positions)
        rest.append(torch.cat([features[positions == c] - features[positions == c].mean(0) for c in range(3)]))
    pooled = torch.cat(rest).double() @ metric.into
    torch.testing.assert_close(pooled.T @ pooled / (4 * 1197), torch.eye(5).double(), atol=0.02, rtol=0)
    points = torch.randn(7, 5, generator=generator).double()
    torch.testing.assert_close(metric.fro(metric.to(points)), points, atol=1e-6, rtol=1e-6)


@cache
def _digits(name: str, **values: object) -> tuple[float, float, float]:
    """A_bar, A_last and mean CDR over two seeds of 5 experiences of 2 digits on fixed random features."""
    images, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
    totals = torch.zeros(3)
    for seed in (0, 1):
        lift = torch.randn(64, 128, generator=_generator(100 + seed)) / 8
        features = torch.relu((images.float() / 8 - 0.6) @ lift)
        held = torch.rand(len(labels), generator=_generator(200 + seed)) < 0.3
        order = torch.randperm(10, generator=_generator(seed))
        head = HEADS.load(name).parse(values, "head").build(seed)
        accuracies, drifts, before = [], [], torch.full((len(labels),), -1)
        for step in range(5):
            now, seen = order[2 * step : 2 * step + 2], order[: 2 * step + 2]
            rows = torch.isin(labels, now) & ~held
            head.partial_fit(features[rows], labels[rows].long())
            old, tested = torch.isin(labels, order[: 2 * step]) & held, torch.isin(labels, seen) & held
            chosen = torch.full((len(labels),), -1)
            chosen[tested] = head.predict(features[tested])
            accuracies.append(float((chosen == labels)[tested].float().mean()))
            if step:
                lost = (before == labels) & torch.isin(chosen, now)
                drifts.append(float(lost[old].float().mean()))
            before = chosen
        totals += torch.tensor([sum(accuracies) / 5, accuracies[-1], sum(drifts) / 4]) / 2
    return float(totals[0]), float(totals[1]), float(totals[2])


@pytest.mark.parametrize("values", [{}, PLAIN], ids=["default", "plain"])
def test_ipt_beats_class_means_which_beat_forgetting_on_digits(values: dict[str, object]) -> None:
    """The order of effects known for this setting: IPT .966/.933/.022, class means .924/.885/.028, naive .211 last."""
    ipt, ncm = _digits("ipt", **values), _digits("ncm")
    masked, naive = _digits("cosine", mask="new"), _digits("linear")
    assert ipt[0] > ncm[0] + 0.015 and ipt[1] > ncm[1] + 0.02
    assert ipt[0] > 0.94 and ipt[1] > 0.9 and ipt[2] < 0.05
    assert ncm[1] > masked[1] + 0.2 > naive[1]
    assert naive[1] < 0.35 and naive[2] > 0.3


def test_old_prototypes_replayed_are_what_keeps_old_classes() -> None:
    """On raw features; the within-class metric alone already protects much."""
    assert _digits("ipt", **PLAIN)[1] > _digits("ipt", **(PLAIN | {"replay_weight": 0.0}))[1] + 0.2


def _stream(count: int, samples: int = 30, width: int = 12) -> list[tuple[Tensor, Tensor]]:
    generator = _generator(5)
    return [
        (torch.randn(samples, width, generator=generator) + 2 * torch.randn(width, generator=generator), labels)
        for labels in torch.arange(count)[:, None].expand(count, samples)
    ]


def test_steps_and_rows_replayed_do_not_grow_with_experiences(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    honest = cosine_loss

    def counting(points: Tensor, *rest: Tensor | float) -> tuple[Tensor, Tensor]:
        seen.append(len(points))
        return honest(points, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("continual.heads.ipt.cosine_loss", counting)
    head, work = Ipt(replay_size=40, epochs=2, batch_size=64).build(0), []
    for features, labels in _stream(12):
        seen.clear()
        head.partial_fit(features, labels)
        work.append(sum(seen))
    assert work[0] == 60 and set(work[1:]) == {60 + 2 * 40}


def test_threads_decide_nothing_and_are_given_back() -> None:
    states = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        head = Ipt(epochs=2).build(0)
        for features, labels in _stream(3):
            head.partial_fit(features, labels)
        assert torch.get_num_threads() == threads
        states.append(head.state())
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())


def test_progress_counts_epochs_and_counts_of_parameters_are_exact() -> None:
    told: list[tuple[str, int, int]] = []
    head = Ipt(prototypes=3, epochs=2).build(0)
    for features, labels in _stream(2):
        head.partial_fit(features, labels, lambda *news: told.append(news))
    assert told == [("IPT", 1, 2), ("IPT", 2, 2)] * 2
    assert head.trainable_parameters == 2 * 12 + 3 * 12
    assert head.stored_parameters == 2 * 12 + (6 * 12 + 6 + 6 + 2) + (12 * 12 + 12)
    assert head.prototypes()["example"][1].tolist() == [0, 0, 0, 1, 1, 1]


def test_nothing_of_the_samples_is_kept() -> None:
    head = Ipt(prototypes=4).build(0)
    features, labels = _stream(1)[0]
    state = head.partial_fit(features, labels).state()
    assert sum(tensor.numel() for tensor in state.values()) < 30 * 12
    rows = {tuple(row) for row in features.tolist()}
    assert not any(tuple(row) in rows for row in state["bank.points"].tolist())


def test_a_loss_that_is_no_number_names_head_epoch_and_step_and_changes_nothing() -> None:
    head = Ipt(tau=1e-40, epochs=3).build(0)
    before = head.state()
    with pytest.raises(
        FrostlineError, match=r"'ipt' became (nan|inf) in experience 0, epoch 1, step 1; lower its lear"
    ):
        head.partial_fit(torch.randn(9, 4, generator=_generator(0)), torch.arange(9) % 3)
    assert all(torch.equal(before[name], tensor) for name, tensor in head.state().items())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"prototype": 3}, "unknown key 'prototype'. Did you mean 'prototypes'?"),
        ({"tau": 0}, "tau = 0"),
        ({"metric": "mahalanobis"}, "metric = 'mahalanobis'"),
        ({"replay_weight": "often"}, "replay_weight"),
        ({"replay_weight": -1}, "replay_weight"),
    ],
)
def test_settings_out_of_range_are_named(values: dict[str, object], words: str) -> None:
    with pytest.raises(FrostlineError) as caught:
        Ipt.parse(values, "head 'ipt'")
    assert words in str(caught.value)
