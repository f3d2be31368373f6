"""Heads computed by hand: one step of IPT on unit vectors, the shrinkage of a whitening, RanPAC's ridge."""

import math

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from continual.heads.ipt import Ipt, IptHead
from continual.heads.metric import Metric, oas_share
from continual.heads.ranpac import Ranpac

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
