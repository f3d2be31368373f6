"""The other heads against named references, the registry, and the errors that all heads share."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor

from backbones.core.errors import FrostlineError
from continual.heads import HEADS
from continual.heads.fecam import Fecam
from continual.heads.linear import Cosine, Linear
from continual.heads.metric import oas_share
from continual.heads.ncm import Ncm
from continual.heads.ranpac import Ranpac
from continual.heads.slda import Slda
from continual.testing import check_head, synthetic_stream


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _overlapping(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(6).repeat_interleave(50)
    mix = torch.randn(8, 8, generator=generator)
    return torch.randn(6, 8, generator=generator)[labels] * 2 + torch.randn(300, 8, generator=generator) @ mix, labels


def _in_three(head: object, features: Tensor, labels: Tensor) -> None:
    for step in range(3):
        rows = labels // 2 == step
        head.partial_fit(features[rows], labels[rows])  # type: ignore[attr-defined]


def test_listing_heads_imports_no_torch() -> None:
    code = "import sys; from continual.heads import HEADS; HEADS.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_head_offers_the_nearest() -> None:
    with pytest.raises(FrostlineError, match=r"unknown head 'itp'\. Did you mean 'ipt'"):
        HEADS.load("itp")


def test_ncm_is_scikit_learns_cosine_similarity_with_class_means() -> None:
    features, labels = _overlapping()
    head = Ncm().build(0)
    _in_three(head, features, labels)
    centres = torch.stack([features[labels == label].mean(0) for label in range(6)])
    expected = cosine_similarity(features.numpy(), centres.numpy()).argmax(axis=1)
    assert head.predict(features).tolist() == expected.tolist()


def test_slda_in_three_experiences_is_scikit_learns_lda_at_once() -> None:
    features, labels = _overlapping()
    head = Slda(shrinkage=0).build(0)
    _in_three(head, features, labels)
    pooled = features.double() - torch.stack([features[labels == k].double().mean(0) for k in range(6)])[labels]
    share = oas_share(pooled.T @ pooled / (300 - 6), 300 - 6)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=share).fit(features.numpy(), labels.numpy())
    assert (head.predict(features).numpy() == reference.predict(features.numpy())).mean() > 0.98


def test_ranpac_is_ridge_on_the_lifted_features() -> None:
    features, labels = _overlapping()
    head = Ranpac(units=60).build(0)
    _in_three(head, features, labels)
    lifted = torch.relu(features @ head.projection_).double().numpy()
    alpha = float(head.ridge_) * float(head.gram_.diagonal().double().mean())
    reference = Ridge(alpha=alpha, fit_intercept=False).fit(lifted, np.eye(6)[labels.numpy()])
    np.testing.assert_allclose(head.scores(features).numpy(), reference.predict(lifted), atol=2e-3)


def test_fecam_is_the_mahalanobis_distance_written_out() -> None:
    features, labels = _overlapping()
    head = Fecam(shrinkage=0.5).build(0)
    _in_three(head, features, labels)
    rows = features[labels == 4].double().numpy()
    covariance = np.cov(rows.T)
    covariance += 0.5 * np.trace(covariance) / 8 * np.eye(8)
    scale = np.sqrt(np.diag(covariance))
    gap = features[0].double().numpy() - rows.mean(0)
    expected = -gap @ np.linalg.inv(covariance / np.outer(scale, scale)) @ gap
    assert float(head.scores(features[:1])[0, 4]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("settings", [Linear, Cosine])
def test_mask_new_leaves_old_rows_as_they_are_and_none_moves_them(settings: type[Linear] | type[Cosine]) -> None:
    stream = synthetic_stream(4, 2, 20, 8, 0)
    for mask, same in (("new", True), ("none", False)):
        head = settings(mask=mask).build(0)
        head.partial_fit(*stream[0])
        old = head.weight_.clone()
        head.partial_fit(*stream[1])
        assert torch.equal(head.weight_[:2], old) is same
        assert head.trainable_parameters == head.weight_[2 if same else 0 :].numel()


def test_one_experience_of_linear_is_near_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    features, labels = _overlapping()
    head = Linear(epochs=40, lr=0.5).build(0).partial_fit(features, labels)
    reference = LogisticRegression(C=100, max_iter=2000).fit(features.numpy(), labels.numpy())
    agree = (head.predict(features).numpy() == reference.predict(features.numpy())).mean()
    assert agree > 0.9


def test_linear_names_the_step_where_its_loss_blew_up() -> None:
    features, labels = _overlapping()
    with pytest.raises(FrostlineError, match=r"'linear' became (nan|inf) in experience 0, epoch \d+, step \d+"):
        Linear(lr=1e39).build(0).partial_fit(features, labels)


def test_messages_of_refusals() -> None:
    stream = synthetic_stream(4, 2, 5, 8, 0)
    head = Ncm().build(0)
    with pytest.raises(FrostlineError, match="has not learned a class yet; call partial_fit"):
        head.predict(stream[0][0])
    head.partial_fit(*stream[0])
    with pytest.raises(FrostlineError, match=r"\(3, 9\); this head was fitted on \(n, 8\)"):
        head.scores(torch.zeros(3, 9))
    broken = stream[1][0].clone()
    broken[3, 5] = torch.inf
    with pytest.raises(FrostlineError, match="features of sample 3 are not finite"):
        head.partial_fit(broken, stream[1][1])
    with pytest.raises(FrostlineError, match=f"class {int(stream[0][1].min())} was learned in an earlier experience"):
        head.partial_fit(*stream[0])
    with pytest.raises(FrostlineError, match=r"does not belong to the head 'slda' \(wrong or missing: metric"):
        Slda().build(0).load_state(head.state())


class _Leaky:
    """A head that looks at the whole batch, as check_head must notice."""

    name = "leaky"
    order_free = False

    def build(self, seed: int) -> object:
        head = Ncm().build(seed)
        honest = head.scores
        head.scores = lambda features: honest(features - features.mean(0)) if len(features) else honest(features)  # type: ignore[method-assign]
        return head


def test_check_head_catches_a_head_that_looks_at_the_batch() -> None:
    with pytest.raises(AssertionError, match=r"depend on the order|in batches of|predicted right|refuse"):
        check_head(_Leaky())  # type: ignore[arg-type]
