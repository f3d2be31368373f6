"""Heads computed by hand: one step of IPT on unit vectors, the shrinkage of a whitening, RanPAC's ridge."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from continual.heads import HEADS
from continual.heads.ipt import Ipt, IptHead
from continual.heads.linear import Cosine, CosineRule, Linear
from continual.heads.metric import Metric, oas_share
from continual.heads.ranpac import _RIDGES, Ranpac, _choose
from continual.heads.tuning import Schedule, steps
from continual.testing import synthetic_stream

TAU, LR = 0.5, 0.25
STEP = {
    "prototypes": 1, "tau": TAU, "metric": "none", "noise": 0, "epochs": 1, "batch_size": 8, "lr": LR, "momentum": 0,
    "decay": False, "replay_size": 4,
}  # fmt: skip


def _two_experiences(**values: object) -> IptHead:
    """Class 0 at e1, then classes 1 and 2 at e2 and e3: all prototypes are samples, replayed is e1."""
    head = Ipt.model_validate({**STEP, **values}).build(0)
    axes = torch.eye(3)
    head.partial_fit(axes[:1], torch.tensor([0]))
    return head.partial_fit(axes[1:], torch.tensor([1, 2]))


def _by_hand(weight: float, scale: float) -> Tensor:
    """Category prototypes after one step of gradient descent on scale * (mean CE of e2, e3 + weight * CE of e1).

    A point on an axis has logit 1 / tau for its own class and 0 for the two others, so each of these has probability
    ``p`` and its prototype is pushed away from the point by ``p / tau`` times the weight of the point; what
    points along the prototype itself falls away on the sphere.
    """
    push = LR * scale * (1 / (math.exp(1 / TAU) + 2)) / TAU
    rows = torch.tensor(
        [
            [1.0, -push / 2, -push / 2],
            [-push * weight, 1.0, -push / 2],
            [-push * weight, -push / 2, 1.0],
        ]
    )
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(("average", "scale"), [(True, lambda w: 1 / (1 + w)), (False, lambda w: 1.0)])
@pytest.mark.parametrize(("replay_weight", "weight"), [("classes", 1 / 2), ("index", 1.0), (3.0, 3.0), (0.0, 0.0)])
def test_one_step_of_ipt_is_the_step_computed_by_hand(average, scale, replay_weight, weight) -> None:
    head = _two_experiences(average=average, replay_weight=replay_weight)
    torch.testing.assert_close(head.category_, _by_hand(weight, scale(weight)), atol=1e-6, rtol=0)


def test_replay_weight_by_index_counts_experiences() -> None:
    head = Ipt.model_validate({**STEP, "replay_weight": "index", "average": False}).build(0)
    axes = torch.eye(3)
    for label in (0, 1):
        head.partial_fit(axes[label : label + 1], torch.tensor([label]))
    before = head.category_.clone()
    head.partial_fit(axes[2:], torch.tensor([2]))
    # The third experience replays e1 and e2 twice as heavily as it learns e3; only e3's own prototype is met by e1 and
    # e2 in the shares in which they were drawn, so what their pushes add up to is twice that of a single experience.
    turned = head.category_[2] / head.category_[2, 2]
    chances = [1 / (sum(math.exp(float(before[k] @ axes[point]) / TAU) for k in (0, 1)) + 1) for point in (0, 1)]
    pushes = [-float(turned[point]) / (2 * LR * chances[point] / TAU) for point in (0, 1)]
    assert sum(pushes) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("count", "least"), [(4, 0.01), (400, 0.5)])
def test_a_whitening_shrinks_by_its_least_share_or_by_oas_whichever_is_larger(count: int, least: float) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, 3, generator=generator) * torch.tensor([1.0, 2.0, 5.0])
    metric = Metric("within", least).observed(features, torch.zeros(count, dtype=torch.int64))
    rest = features.double() - features.double().mean(dim=0)
    covariance = rest.T @ rest / (count - 1)
    oas = oas_share(covariance, count - 1)
    assert (oas > least) == (count == 4)  # one case of each kind
    share = oas if count == 4 else least
    shrunk = (1 - share) * covariance + share * covariance.trace() / 3 * torch.eye(3).double()
    torch.testing.assert_close(metric.back @ metric.back, shrunk, rtol=1e-5, atol=1e-6)


def test_ranpac_chooses_its_ridge_on_rows_that_it_was_not_fitted_on() -> None:
    """Labels of chance: any fit to the kept rows is worse on the held-out ones than none, so the largest ridge wins;
    on rows of the fit itself the smallest would."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 5, generator=generator)
    labels = torch.arange(60) % 2
    head = Ranpac(units=50).build(0).partial_fit(features, labels)
    assert float(head.ridge_) == 10.0
    lifted = torch.relu(features @ head.projection_).double().numpy()
    wanted = torch.nn.functional.one_hot(labels).numpy()
    level = float((torch.from_numpy(lifted).T @ torch.from_numpy(lifted)).diagonal().mean())
    errors = [
        ((Ridge(alpha=ridge * level, fit_intercept=False).fit(lifted, wanted).predict(lifted) - wanted) ** 2).sum()
        for ridge in (1e-6, 10.0)
    ]
    assert errors[0] < errors[1]


def test_ranpac_asks_the_held_out_share_that_was_set() -> None:
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(40) % 4
    for share in (0.1, 0.5):
        head = Ranpac(units=30, held_out=share).build(0).partial_fit(features, labels)
        lifted = torch.relu(features @ head.projection_).double()
        torch.testing.assert_close(head.gram_.double(), lifted.T @ lifted, rtol=1e-4, atol=1e-4)  # all rows in the end


def test_the_oas_share_is_that_of_the_papers_formula() -> None:
    """Chen et al. 2010, equation 23, for diag(1, 2, 3, 4): squares 30, squared trace 100, so 115 / (40.5 * 5) at 40."""
    covariance = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    assert oas_share(covariance, 40) == pytest.approx(115 / (40.5 * 5))
    assert oas_share(covariance, 5) == 1.0  # 115 / 27.5
    assert oas_share(torch.eye(4, dtype=torch.float64), 40) == 1.0  # nothing to shrink towards but itself


def test_the_standard_metric_is_fixed_by_the_first_experience() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(50, 3, generator=generator) * torch.tensor([0.01, 2.0, 0.0]) + 5.0
    positions = torch.zeros(50, dtype=torch.int64)
    metric = Metric("standard", 0.0).observed(features, positions)
    deviations = features.double().std(dim=0, correction=0)
    deviations[2] = deviations.mean()  # a feature that never varied gets the mean scale
    wanted = (features.double() - features.double().mean(dim=0)) / deviations
    torch.testing.assert_close(metric.to(features.double()), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(metric.fro(metric.to(features.double())), features.double(), rtol=1e-6, atol=1e-6)
    later = metric.observed(features * 100, positions)
    assert torch.equal(later.centre, metric.centre) and torch.equal(later.scatter, metric.scatter)
    flat = Metric("standard", 0.0).observed(torch.ones(4, 3), torch.zeros(4, dtype=torch.int64))
    assert torch.equal(flat.into, torch.eye(3, dtype=torch.float64))


def test_the_centre_of_a_whitening_is_the_mean_of_all_samples_seen() -> None:
    parts = [torch.randn(count, 3, generator=torch.Generator().manual_seed(count)) + count for count in (7, 20, 4)]
    metric = Metric("within", 0.1)
    for part in parts:
        metric = metric.observed(part, torch.arange(len(part)) % 2)
    torch.testing.assert_close(metric.centre, torch.cat(parts).mean(dim=0), rtol=1e-6, atol=1e-6)


def test_one_sample_for_each_class_leaves_the_features_as_they_are() -> None:
    metric = Metric("within", 0.1).observed(torch.randn(3, 4), torch.arange(3))
    assert torch.equal(metric.into, torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize(("kind", "moves"), [("none", False), ("standard", True), ("within", True)])
def test_the_centre_moves_with_the_features_where_there_is_one(kind, moves: bool) -> None:
    metric = Metric(kind, 0.1).observed(torch.randn(6, 2), torch.arange(6) % 2)
    before = metric.centre.clone()
    metric.translate(lambda points: points + 3.0)
    assert torch.equal(metric.centre, before + 3.0 * moves)


@pytest.mark.parametrize("seed", range(6))
def test_the_ridge_of_ranpac_is_the_one_with_the_least_error_of_all_tried(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lifted, columns = np.maximum(rng.normal(size=(60, 30)), 0), rng.integers(0, 3, 60)
    lifted[:, :3] += rng.uniform(0.1, 2) * np.eye(3)[columns]
    wanted = np.eye(3)[columns]
    fitted, held = slice(0, 40), slice(40, 60)
    level = (lifted[fitted] ** 2).sum(axis=0).mean()
    errors = [
        ((Ridge(alpha=ridge * level, fit_intercept=False, solver="svd").fit(lifted[fitted], wanted[fitted])
          .predict(lifted[held]) - wanted[held]) ** 2).sum()
        for ridge in _RIDGES
    ]  # fmt: skip
    rows = torch.from_numpy(lifted)
    gram, totals = rows[fitted].T @ rows[fitted], rows[fitted].T @ torch.from_numpy(wanted)[fitted]
    chosen = _choose(gram, totals, rows[held], torch.from_numpy(columns)[held])
    assert chosen == _RIDGES[int(np.argmin(errors))]


@pytest.mark.parametrize("name", HEADS.names())
def test_prototypes_are_named_and_belong_to_the_classes_seen(name: str) -> None:
    kind = HEADS.load(name)
    head = kind(**({"units": 32} if "units" in kind.model_fields else {})).build(0)
    assert head.prototypes() == {}
    stream = synthetic_stream(4, 2, 10, 8, 0)
    for features, labels in stream:
        head.partial_fit(features, labels)
    kept = head.prototypes()
    assert set(kept) <= {"category", "example"}
    for points, owners in kept.values():
        assert points.shape == (len(owners), 8) and set(owners.tolist()) == set(head.classes_.tolist())
    if name in ("ncm", "fecam", "slda"):
        features, labels = (torch.cat(part) for part in zip(*stream, strict=True))
        means = torch.stack([features[labels == label].mean(dim=0) for label in head.classes_])
        torch.testing.assert_close(kept["category"][0], means, rtol=1e-5, atol=1e-6)


def test_the_rows_of_a_cosine_classifier_have_the_gradient_of_autograd_at_any_length() -> None:
    generator = torch.Generator().manual_seed(0)
    rule = CosineRule(0.25)
    inputs = rule.inputs(torch.randn(7, 4, generator=generator))
    rows = (3 * torch.randn(3, 4, generator=generator)).requires_grad_(True)
    columns = torch.arange(7) % 3
    logits = inputs @ torch.nn.functional.normalize(rows, dim=1).T / 0.25
    torch.nn.functional.cross_entropy(logits, columns).backward()
    _, gradient = rule.loss(inputs, rows.detach(), columns, torch.full((7,), 1 / 7))
    torch.testing.assert_close(gradient, rows.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rule.logits(inputs, rows.detach()), logits.detach(), rtol=1e-5, atol=1e-6)


def test_one_step_of_the_linear_head_is_the_step_computed_by_hand() -> None:
    """Samples at 0 and 2 in four features become -1 and 1, divided by sqrt(4), with a one for the bias; with weights of
    zero each class has probability 1/2, so the mean gradient of class 1 is (-1/2 * 1/2 + 1/2 * -1/2) / 2 = -1/4 for
    each weight and 0 for its bias."""
    features, labels = torch.tensor([[0.0] * 4, [2.0] * 4]), torch.tensor([0, 1])
    head = Linear(epochs=1, lr=0.5, momentum=0, decay=False).build(0).partial_fit(features, labels)
    torch.testing.assert_close(head.weight_, torch.tensor([[-0.125] * 4 + [0.0], [0.125] * 4 + [0.0]]))


@pytest.mark.parametrize("settings", [Linear, Cosine])
def test_a_trained_head_draws_by_its_seed(settings: type[Linear] | type[Cosine]) -> None:
    features, labels = synthetic_stream(4, 4, 70, 8, 0)[0]
    first, again, other = (settings().build(seed).partial_fit(features, labels).weight_ for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("change", [{"momentum": 0.0}, {"decay": False}, {"weight_decay": 0.1}, {"batch_size": 8}])
def test_every_setting_of_the_loop_reaches_it(change: dict[str, object]) -> None:
    features, labels = synthetic_stream(4, 4, 20, 8, 0)[0]
    plain, changed = (Linear(**each).build(0).partial_fit(features, labels).weight_ for each in ({}, change))
    assert not torch.allclose(plain, changed, atol=1e-6)


def test_the_learning_rate_decays_along_a_cosine_over_all_steps_of_all_epochs() -> None:
    schedule = Schedule(epochs=2, batch_size=4, lr=0.3, momentum=0.0, decay=True)
    made = list(steps(6, schedule, torch.Generator().manual_seed(0), lambda *_: None, "x"))
    assert [len(rows) for rows, _, _ in made] == [4, 2, 4, 2]
    wanted = [0.3 * (1 + math.cos(math.pi * done / 4)) / 2 for done in range(4)]
    assert [rate for _, rate, _ in made] == pytest.approx(wanted)
    assert [where for _, _, where in made] == [f"epoch {e}, step {s}" for e in (1, 2) for s in (1, 2)]


CHANGES = (
    {"momentum": 0.0}, {"decay": False}, {"batch_size": 8}, {"lr": 0.01}, {"epochs": 3}, {"tau": 0.5}, {"noise": 0.0},
    {"balance": False}, {"replay_size": 7}, {"settle": False}, {"metric": "none"}, {"shrinkage": 0.9},
    {"prototypes": 2}, {"replay_weight": 0.1}, {"average": False},
)  # fmt: skip


def _category(seed: int = 0, **values: object) -> Tensor:
    head = Ipt.model_validate({"prototypes": 3, "epochs": 2, **values}).build(seed)
    for features, labels in synthetic_stream(6, 2, 30, 8, 0):
        head.partial_fit(features, labels)
    return head.category_


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_every_setting_of_ipt_reaches_its_prototypes(change: dict[str, object]) -> None:
    assert not torch.allclose(_category(), _category(**change), atol=1e-7)


def test_ipt_draws_by_its_seed_and_its_logits_are_cosines_over_tau() -> None:
    assert torch.equal(_category(), _category()) and not torch.equal(_category(), _category(seed=1))
    head = _two_experiences()
    probe = torch.tensor([[2.0, 0.0, 0.0]])
    torch.testing.assert_close(head.scores(probe), head.category_[:, :1].T / TAU)
