"""Semantic-drift compensation: laws, a brute-force reference, and its errors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from continual.drift import compensation, sdc
from continual.heads.ncm import Ncm

SIGMAS = [None, 0.5, 5.0]


def _normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_pure_translation_is_recovered_everywhere(sigma: float | None) -> None:
    old, shift = _normal(0, 40, 6).double(), _normal(1, 6).double()
    points = torch.cat([_normal(2, 5, 6), 1e4 * _normal(3, 5, 6)]).double()
    torch.testing.assert_close(sdc(points, old, old + shift, sigma), shift.expand(10, 6), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_where_nothing_moved_nothing_is_moved(sigma: float | None) -> None:
    old = _normal(0, 40, 6)
    assert not sdc(1e3 * _normal(2, 300, 6), old, old, sigma).any()


@given(seed=st.integers(0, 500), sigma=st.floats(0.5, 4))
@settings(max_examples=25, deadline=None)
def test_against_the_formula_written_out(seed: int, sigma: float) -> None:
    points, old, new = (_normal(seed + k, n, 3).double() for k, n in enumerate((4, 15, 15)))
    expected = []
    for point in points.numpy():
        weights = np.exp(-((point - old.numpy()) ** 2).sum(1) / (2 * sigma**2))
        expected.append((weights[:, None] * (new - old).numpy()).sum(0) / weights.sum())
    np.testing.assert_allclose(sdc(points, old, new, sigma).numpy(), np.stack(expected), rtol=1e-6, atol=1e-9)


def test_a_point_beyond_underflow_takes_the_shift_of_its_nearest_sample() -> None:
    old = torch.tensor([[0.0, 0.0], [1000.0, 0.0]])
    new = old + torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert sdc(torch.tensor([[1e6, 0.0], [-1e6, 0.0]]), old, new, 1.0).tolist() == [[0.0, 2.0], [1.0, 0.0]]


def test_a_point_on_its_sample_with_no_sigma_given_takes_that_shift() -> None:
    old, new = _normal(0, 8, 3), _normal(1, 8, 3)
    torch.testing.assert_close(sdc(old, old, new), new - old)


def test_the_order_of_paired_samples_does_not_matter_but_their_pairing_does() -> None:
    points, old, new = _normal(0, 6, 4), _normal(1, 30, 4), _normal(2, 30, 4)
    shuffle = torch.randperm(30, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(sdc(points, old[shuffle], new[shuffle], 1.0), sdc(points, old, new, 1.0))
    assert not torch.allclose(sdc(points, old, new[shuffle], 1.0), sdc(points, old, new, 1.0), atol=0.1)


def test_a_head_follows_a_move_of_its_features() -> None:
    features, labels = _normal(0, 60, 5) + 3, torch.arange(60) % 3
    moved = features + torch.tensor([4.0, -2.0, 0.0, 1.0, 0.5])
    head = Ncm().build(0).partial_fit(features, labels)
    head.translate(compensation(features, moved))
    torch.testing.assert_close(head.means_, Ncm().build(0).partial_fit(moved, labels).means_)


def test_no_points_give_no_shifts() -> None:
    assert sdc(torch.empty(0, 4), _normal(0, 3, 4), _normal(1, 3, 4)).shape == (0, 4)


@pytest.mark.parametrize(
    ("shapes", "sigma", "words"),
    [
        (((2, 3), (5, 3), (4, 3)), None, "features of the same samples before and after"),
        (((2, 4), (5, 3), (5, 3)), None, "features of the same samples before and after"),
        (((2, 3), (0, 3), (0, 3)), None, "with n >= 1"),
        (((2, 3), (5, 3), (5, 3)), 0.0, "sigma = 0.0"),
        (((2, 3), (5, 3), (5, 3)), float("nan"), "sigma = nan"),
    ],
)
def test_what_cannot_be_compensated_is_refused(shapes: tuple[tuple[int, int], ...], sigma: float, words: str) -> None:
    with pytest.raises(FrostlineError) as caught:
        sdc(*(_normal(0, *shape) for shape in shapes), sigma)
    assert words in str(caught.value)


def test_values_that_are_not_finite_are_refused() -> None:
    old = _normal(0, 5, 3)
    with pytest.raises(FrostlineError, match="not finite"):
        sdc(old, old, old / 0)
