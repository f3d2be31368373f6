"""Images: what a file of any kind becomes, digests that follow the content, and errors that name the file."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image

from backbones.core.errors import FrostlineError
from benchmarks.images import ArrayImages, FolderImages, decode_image
from benchmarks.testing import check_samples
from benchmarks.types import Subset

PIXELS = np.random.default_rng(0).integers(0, 256, size=(5, 7, 3), dtype=np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tif", ".webp"])
def test_lossless_formats_give_the_pixels_back(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == ".webp" else {}
    path = save(tmp_path / f"a{suffix}", Image.fromarray(PIXELS), **options)
    assert np.array_equal(decode_image(path), PIXELS)


def test_jpeg_gives_what_pillow_decodes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.fromarray(PIXELS))
    assert np.array_equal(decode_image(path), np.asarray(Image.open(path)))


def test_grey_is_repeated(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(PIXELS[..., 0]))
    assert np.array_equal(decode_image(path), np.repeat(PIXELS[..., :1], 3, axis=-1))


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    grey = np.array([[0, 128, 257, 32768, 65535]], dtype=np.uint16)
    path = save(tmp_path / "a.png", Image.fromarray(grey))
    assert decode_image(path)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_one_bit_and_palette_and_cmyk_are_converted(tmp_path: Path) -> None:
    bits = save(tmp_path / "bits.png", Image.fromarray(PIXELS[..., 0] > 99))
    assert np.array_equal(decode_image(bits)[..., 1], np.where(PIXELS[..., 0] > 99, 255, 0))
    palette = Image.fromarray(PIXELS).quantize(8)
    path = save(tmp_path / "palette.png", palette)
    assert np.array_equal(decode_image(path), np.asarray(palette.convert("RGB")))
    cmyk = Image.fromarray(PIXELS).convert("CMYK")
    assert np.array_equal(decode_image(save(tmp_path / "a.tif", cmyk)), np.asarray(cmyk.convert("RGB")))


def test_transparent_pixels_show_white(tmp_path: Path) -> None:
    alpha = np.zeros((5, 7, 1), np.uint8)
    alpha[0], alpha[1] = 255, 128
    path = save(tmp_path / "a.png", Image.fromarray(np.concatenate([PIXELS, alpha], axis=-1)))
    read = decode_image(path)
    assert np.array_equal(read[0], PIXELS[0])
    assert np.abs(read[1].astype(float) - (PIXELS[1] * (128 / 255) + 255 * (127 / 255))).max() <= 1
    assert (read[2:] == 255).all()


def test_a_transparent_palette_colour_shows_white(tmp_path: Path) -> None:
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    path = save(tmp_path / "a.png", palette, transparency=1)
    assert decode_image(path).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_an_exif_orientation_is_applied(tmp_path: Path, orientation: int, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(PIXELS), exif=exif)
    assert np.array_equal(decode_image(path), np.rot90(PIXELS, turn))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    save(tmp_path / "whole.png", Image.fromarray(np.repeat(np.repeat(PIXELS, 20, 0), 20, 1)))
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-200])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    save(tmp_path / "float.tif", Image.fromarray(np.ones((2, 2), np.float32)))
    for name in ("half.png", "text.png", "empty.jpg", "missing.png", "float.tif"):
        with pytest.raises(FrostlineError, match=rf"cannot read the image .*{name}: .+Copy it again.* or remove it"):
            FolderImages([tmp_path / name], [0])[0]


def test_digests_of_files_are_blake2b_of_their_bytes(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{index}.png", Image.fromarray(PIXELS + index)) for index in range(3)]
    samples = FolderImages(paths, [0, 1, 0])
    check_samples(samples)
    wanted = [blake2b(path.read_bytes(), digest_size=16).digest() for path in paths]
    assert [row.tobytes() for row in samples.digests()] == wanted
    assert np.array_equal(Subset(samples, np.array([2, 0])).digests(), samples.digests()[[2, 0]])


def test_a_changed_file_changes_its_digest_and_no_other(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{index}.png", Image.fromarray(PIXELS)) for index in range(2)]
    samples = FolderImages(paths, [0, 1])
    before = samples.digests()
    assert (before[0] == before[1]).all()
    content = bytearray(paths[1].read_bytes())
    content[-20] ^= 1
    paths[1].write_bytes(content)
    os.utime(paths[1], ns=(1, 2))
    after = samples.digests()
    assert (after[0] == before[0]).all()
    assert (after[1] != before[1]).any()


def test_unchanged_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(PIXELS))
    samples = FolderImages([path], [0])
    first = samples.digests()
    monkeypatch.setattr("benchmarks.images._blake", lambda *_: pytest.fail("read again"))
    assert np.array_equal(samples.digests(), first)


def test_the_digest_of_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match=r"cannot read the image .*gone\.png: No such file"):
        FolderImages([tmp_path / "gone.png"], [0]).digests()


@settings(deadline=None, max_examples=40)
@given(one=arrays(np.uint8, (4, 2, 3, 3)), two=arrays(np.uint8, (4, 2, 3, 3)))
def test_digests_of_arrays_are_equal_exactly_where_the_pixels_are(one: np.ndarray, two: np.ndarray) -> None:
    first, second = (ArrayImages(images, [0, 1, 2, 3]).digests() for images in (one, two))
    assert [(a == b).all() for a, b in zip(first, second, strict=True)] == [
        np.array_equal(a, b) for a, b in zip(one, two, strict=True)
    ]


def test_digests_of_arrays_tell_shapes_apart() -> None:
    flat = np.zeros((1, 2, 8, 3), np.uint8)
    one, two = (ArrayImages(flat.reshape(shape), [0]).digests() for shape in ((1, 2, 8, 3), (1, 4, 4, 3)))
    assert (one != two).any()


def test_what_was_digested_cannot_change() -> None:
    images = np.zeros((1, 2, 2, 3), np.uint8)
    samples = ArrayImages(images, [0])
    check_samples(samples)
    images[:] = 1
    assert samples[0].max() == 0
    with pytest.raises(ValueError, match="read-only"):
        samples[0][:] = 1


@pytest.mark.parametrize(
    "images", [np.zeros((2, 3, 4, 4), np.uint8), np.zeros((2, 4, 4, 3), np.float32), np.zeros((4, 4, 3), np.uint8)]
)
def test_arrays_of_another_kind_are_refused(images: np.ndarray) -> None:
    with pytest.raises(FrostlineError, match=r"images have dtype .* must be uint8 of shape \(n, height, width, 3\)"):
        ArrayImages(images, [0, 1])


def test_labels_must_match_in_number(tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match=r"1 images came with labels of shape \(2,\)"):
        FolderImages([tmp_path / "a.png"], [0, 1])
