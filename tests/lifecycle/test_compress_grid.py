"""Grids of weights: few levels, quantised twice is quantised once, the reference library gives the same codes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.core.seed import torch_generator
from backbones.lifecycle.compress.calibrate import moments, quantise_calibrated
from backbones.lifecycle.compress.grid import Quantisation, quantise, snap
from backbones.testing_models import raw_batch, tiny_vit

GRIDS = st.builds(
    Quantisation,
    bits=st.integers(2, 8),
    granularity=st.sampled_from(["channel", "tensor", "group"]),
    group=st.sampled_from([3, 8]),
    scales=st.sampled_from(["mse", "minmax"]),
)


def normal(rows: int, inputs: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(rows, inputs, generator=torch_generator(seed, "grid"))


@given(grid=GRIDS, seed=st.integers(0, 999), scale=st.sampled_from([1e-30, 1e-6, 0.02, 1.0, 1e20]))
@settings(max_examples=60, deadline=None)
def test_few_levels_and_twice_is_once(grid, seed, scale):
    weight = normal(5, 16, seed, scale)
    codes = quantise(weight, grid)
    assert int(codes.codes.abs().max()) <= grid.top
    for row in codes.codes:
        assert len(row.unique()) <= 2**grid.bits
    once = codes.weight()
    assert torch.equal(quantise(once, grid).weight(), once)
    assert quantise(once, grid).scale.isfinite().all()


@given(grid=GRIDS, seed=st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_the_error_of_the_range_is_at_most_half_a_step(grid, seed):
    weight = normal(4, 12, seed)
    codes = quantise(weight, Quantisation(**{**grid.model_dump(), "scales": "minmax"}))
    steps = codes.scale.repeat_interleave(codes.group, dim=1)[:, :12]
    # the scale has 8 significant bits: the largest weight may lie half a step beyond the largest code
    assert ((codes.weight() - weight).abs() <= 0.5 * steps * 1.001).all()


def test_searched_scales_are_never_worse_than_the_range():
    weight = normal(64, 128)
    for bits in (2, 3, 4, 6, 8):
        errors = [
            (quantise(weight, Quantisation(bits=bits, scales=scales)).weight() - weight).square().sum()
            for scales in ("mse", "minmax")
        ]
        assert errors[0] <= errors[1]


def test_a_finer_share_of_scales_and_more_bits_lower_the_error():
    weight = normal(32, 128) * torch.linspace(0.1, 3, 128)
    found = [
        float((quantise(weight, Quantisation(bits=4, granularity=share, group=16)).weight() - weight).norm())
        for share in ("tensor", "channel", "group")
    ]
    assert found == sorted(found, reverse=True)
    by_bits = [float((quantise(weight, Quantisation(bits=bits)).weight() - weight).norm()) for bits in range(2, 9)]
    assert by_bits == sorted(by_bits, reverse=True)


def test_zeros_stay_zero_and_a_row_of_zeros_is_no_trouble():
    weight = normal(4, 8)
    weight[1] = 0
    weight[2, 3] = 0
    found = quantise(weight, Quantisation(bits=3)).weight()
    assert (found[1] == 0).all() and found[2, 3] == 0 and found.isfinite().all()


def test_rounding_is_that_of_torchao():
    ao = pytest.importorskip("torchao.quantization", reason="pip install 'frostline[reference]'")
    from torchao.quantization.granularity import PerAxis

    for bits in (2, 3, 4, 6, 8):
        layer = torch.nn.Linear(64, 32, bias=False)
        with torch.no_grad():
            layer.weight.copy_(normal(32, 64))
        weight = layer.weight.detach().clone()
        holder = torch.nn.Sequential(layer)
        ao.quantize_(holder, ao.IntxWeightOnlyConfig(weight_dtype=getattr(torch, f"int{bits}"), granularity=PerAxis(0)))
        theirs = holder[0].weight.detach()
        top = 2 ** (bits - 1) - 1
        scale = weight.abs().amax(dim=1, keepdim=True) / (top + 0.5)
        # theirs has one level more, below: compare where our grid has a level
        ours = snap(weight, scale, top).float() * scale
        inside = theirs.dequantize() >= -top * scale * 1.0001
        assert torch.allclose(theirs.dequantize()[inside], ours[inside], rtol=1e-6, atol=1e-7)
        assert inside.float().mean() > 0.9


def test_errors_on_a_random_matrix_are_of_the_published_size():
    """Stated for 2, 3, 4, 6 and 8 bits, but neither which error nor of which matrix: .084 .038 .019 .0043 .0012.

    Root mean squared errors of N(0, 0.1^2), 512 x 512, one scale for the tensor, levels as torchao spaces them, come
    nearest of the definitions that were tried; the largest number of the draw moves them by some percent.
    """
    weight = normal(512, 512, scale=0.1)
    for bits, published in ((2, 0.084), (3, 0.038), (4, 0.019), (6, 0.0043), (8, 0.0012)):
        top = 2 ** (bits - 1) - 1
        scale = weight.abs().max() / (top + 0.5)
        error = float((torch.round(weight / scale).clamp(-top - 1, top) * scale - weight).square().mean().sqrt())
        assert error == pytest.approx(published, rel=0.2)


def test_calibrated_rounding_keeps_outputs_closer_and_pruned_weights_at_zero():
    generator = torch_generator(0, "inputs")
    inputs = torch.randn(400, 24, generator=generator) @ torch.randn(24, 24, generator=generator)
    weight, moment = normal(16, 24), (inputs.T @ inputs).double() / 400
    mask = normal(16, 24, 1) > 0
    for chosen in (None, mask):
        grid = Quantisation(bits=3)
        start = weight if chosen is None else weight * chosen
        near, made = quantise(start, grid).weight(), quantise_calibrated(start, grid, moment, chosen).weight()
        errors = [float((inputs @ (found - start).T).square().mean()) for found in (made, near)]
        assert errors[0] < (0.6 if chosen is None else 0.97) * errors[1]
        if chosen is not None:
            assert (made[~chosen] == 0).all()


def test_calibrated_rounding_keeps_what_lies_on_the_grid_already():
    grid = Quantisation(bits=4)
    moment = torch.eye(24, dtype=torch.float64) + 0.1
    once = quantise(normal(8, 24), grid)
    assert torch.equal(quantise_calibrated(once.weight(), grid, moment).weight(), once.weight())


def test_moments_are_those_of_the_inputs():
    backbone = tiny_vit()
    held = []
    handle = backbone.module.blocks[0].mlp.fc1.register_forward_pre_hook(lambda _m, args: held.append(args[0]))
    samples = raw_batch(backbone, 3)
    found = moments(backbone, ["blocks.0.mlp.fc1", "patch_embed.proj"], samples)
    rows = held[0].reshape(-1, 24).double()
    handle.remove()
    assert torch.allclose(found["blocks.0.mlp.fc1"], rows.T @ rows / len(rows), rtol=1e-5, atol=1e-8)
    assert found["patch_embed.proj"].shape == (48, 48)
