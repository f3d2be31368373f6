"""Preprocessing against direct computations, whatever the batch and the sizes."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backbones.core.errors import FrostlineError
from backbones.core.preprocess import Preprocessing

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
SETTINGS = st.builds(
    Preprocessing,
    size=st.integers(1, 24),
    mode=st.sampled_from(["direct", "crop"]),
    crop_share=st.sampled_from([0.5, 0.875, 1.0]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    mean=st.just((0.485, 0.456, 0.406)),
    std=st.just((0.229, 0.224, 0.225)),
)


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_without_resizing_it_is_the_plain_formula():
    raw = image(6, 6)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    out = Preprocessing(6, mean=mean, std=std)([raw])
    wanted = (raw.astype(np.float64) / 255 - mean) / std
    assert out.shape == (1, 3, 6, 6) and out.dtype == torch.float32 and out.is_contiguous()
    assert np.allclose(out[0].permute(1, 2, 0).numpy(), wanted, rtol=0, atol=2e-6)


def test_the_usual_scale_runs_from_minus_one_to_one():
    out = Preprocessing(2)([np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)])
    assert torch.equal(out[0], torch.full((3, 2, 2), -1.0)) and torch.equal(out[1], torch.ones(3, 2, 2))


@pytest.mark.parametrize("name", ["bicubic", "bilinear"])
@pytest.mark.parametrize("side", [9, 40])
def test_resizing_is_pillows_within_a_grey_level(name, side):
    raw = image(20, 20)
    out = Preprocessing(side, interpolation=name)([raw])
    found = (out[0].permute(1, 2, 0).numpy() * 127.5 + 127.5).round()
    wanted = np.asarray(Image.fromarray(raw).resize((side, side), Image.Resampling[name.upper()]), dtype=np.float64)
    assert np.abs(found - wanted).max() <= 1


def test_direct_squeezes_and_crop_cuts_the_middle():
    raw = np.zeros((10, 30, 3), np.uint8)
    raw[:, 10:20] = 255
    direct = Preprocessing(10)([raw])[0, 0]
    crop = Preprocessing(10, mode="crop", crop_share=1.0)([raw])[0, 0]
    assert direct[0, 0] < -0.9 and direct[0, 5] > 0.9 and direct[0, 9] < -0.9
    assert torch.equal(crop, torch.ones(10, 10))


def test_crop_at_a_share_is_the_middle_of_the_resized_image():
    raw = image(16, 16)
    cropped = Preprocessing(14, mode="crop", crop_share=0.875)([raw])
    assert torch.equal(cropped, Preprocessing(16)([raw])[..., 1:15, 1:15])


@settings(max_examples=60, deadline=None)
@given(SETTINGS, st.lists(SIZES, min_size=1, max_size=4), st.booleans())
def test_a_batch_gives_the_bits_of_single_images(preprocessing, sizes, alike):
    raw = [image(*(sizes[0] if alike else size), seed) for seed, size in enumerate(sizes)]
    batch = preprocessing(raw)
    assert batch.shape == (len(raw), 3, preprocessing.size, preprocessing.size)
    assert torch.isfinite(batch).all() and batch.is_contiguous()
    assert torch.equal(batch, torch.cat([preprocessing([each]) for each in raw]))


@settings(max_examples=30, deadline=None)
@given(SETTINGS, SIZES, st.integers(0, 255))
def test_a_plain_image_stays_plain_whatever_the_size(preprocessing, size, grey):
    out = preprocessing([np.full((*size, 3), grey, np.uint8)])
    for channel in range(3):
        wanted = (grey / 255 - preprocessing.mean[channel]) / preprocessing.std[channel]
        assert torch.allclose(out[0, channel], torch.tensor(wanted, dtype=torch.float32), rtol=0, atol=2e-6)


def test_inputs_are_not_changed_and_read_only_or_turned_ones_are_welcome():
    raw = [image(8, 8), image(9, 8).transpose(1, 0, 2), image(5, 5)[::-1]]
    copies = [each.copy() for each in raw]
    for each in raw:
        each.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixed = Preprocessing(6)(raw)
        single = Preprocessing(6)(raw[:1])
    assert torch.equal(single, mixed[:1]) and torch.equal(mixed, Preprocessing(6)(copies))
    assert all(np.array_equal(a, b) for a, b in zip(raw, copies, strict=True))


def test_no_images_give_an_empty_batch():
    assert Preprocessing(6)([]).shape == (0, 3, 6, 6)


def test_what_was_set_is_described_and_changed_only_on_a_copy():
    usual = Preprocessing(16)
    assert usual.with_mode("crop").described() == {**usual.described(), "mode": "crop"}
    assert usual.mode == "direct"
    assert set(usual.described()) == {"size", "mode", "crop_share", "interpolation", "mean", "std", "scale"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mode": "corp"}, "unknown preprocessing 'corp'. Did you mean 'crop'"),
        ({"interpolation": "bicubik"}, "unknown interpolation 'bicubik'. Did you mean 'bicubic'"),
        ({"size": 0}, "size 0 must be at least 1"),
        ({"crop_share": 0.0}, r"crop_share 0.0 in (0, 1]"),
        ({"crop_share": 1.5}, r"crop_share 1.5 in (0, 1]"),
        ({"std": (0.5, 0.0, 0.5)}, "std"),
    ],
)
def test_wrong_settings_are_named(given, words):
    with pytest.raises(FrostlineError) as caught:
        Preprocessing(**{"size": 8, **given})
    assert words in str(caught.value)


def test_an_image_of_another_form_is_named():
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(FrostlineError, match=r"uint8.*\(height, width, 3\)"):
            Preprocessing(4)([wrong])
