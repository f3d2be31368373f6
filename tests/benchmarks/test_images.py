"""Images: what a file of any kind becomes, digests that follow the content, and errors that name the file."""

from __future__ import annotations

import os
import struct
import zlib
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image

from backbones.core.errors import FrostlineError
from backbones.core.reading import limited
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
    save(tmp_path / "negative.tif", Image.fromarray(-np.ones((2, 2), np.float32)))
    save(tmp_path / "nan.tif", Image.fromarray(np.full((2, 2), np.nan, np.float32)))
    save(tmp_path / "program.png", Image.fromarray(PIXELS), format="EPS")  # Pillow would start a program to read it
    whole = save(tmp_path / "whole.avif", Image.fromarray(np.repeat(np.repeat(PIXELS, 20, 0), 20, 1))).read_bytes()
    (tmp_path / "bad.avif").write_bytes(whole.replace(b"pitm", b"pitx"))
    names = ("bad.avif", "half.png", "text.png", "empty.jpg", "missing.png", "negative.tif", "nan.tif", "program.png")
    for name in names:
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
    monkeypatch.setattr("backbones.core.images._blake", lambda *_: pytest.fail("read again"))
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


GREY = np.tile(np.arange(0, 256, 4, dtype=np.int64), (8, 1))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_values_of_fewer_bits_than_the_file_has_room_for_are_scaled(tmp_path: Path, bits: int, suffix: str) -> None:
    values = np.rint(GREY / 255 * (2**bits - 1)).astype(np.uint16)
    path = save(tmp_path / f"a{suffix}", Image.fromarray(values))
    assert np.abs(decode_image(path)[..., 0].astype(int) - GREY).max() <= 1


def test_deep_values_are_scaled_alike_in_a_whole_data_set(tmp_path: Path) -> None:
    dark, bright = (
        save(tmp_path / f"{n}.png", Image.fromarray((GREY * f).astype(np.uint16)))
        for n, f in (("dark", 2), ("bright", 16))
    )
    plain = save(tmp_path / "plain.png", Image.fromarray(PIXELS))
    samples = FolderImages([dark, bright, plain], [0, 0, 0])
    assert samples[0].max() == round(252 * 2 / 4095 * 255) and samples[1].max() == round(252 * 16 / 4095 * 255)
    assert decode_image(dark).max() == round(252 * 2 / 1023 * 255)
    assert decode_image(dark, {"I": 4095.0}).max() == samples[0].max()
    alone = FolderImages([dark, plain], [0, 0])
    assert (alone.digests()[0] != samples.digests()[0]).any(), "another scale is another input"
    assert (alone.digests()[1] == samples.digests()[2]).all()
    assert samples.notes == (
        "2 images have values of more than 8 bits; black to white is 0 to 4,095, by the greatest value in them",
    )


def test_a_brighter_file_that_comes_later_changes_scale_and_digests(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{n}.png", Image.fromarray(GREY.astype(np.uint16))) for n in range(2)]
    samples = FolderImages(paths, [0, 0])
    before = samples.digests()
    save(paths[1], Image.fromarray((GREY * 16).astype(np.uint16)))
    after = samples.digests()
    assert (before != after).any(axis=1).all()
    assert samples[0].max() == round(252 / 4095 * 255)


@pytest.mark.parametrize(("most", "ceiling"), [(1.0, 1.0), (255.0, 255.0), (4000.0, 4095.0)])
def test_fractions_are_scaled_by_their_range(tmp_path: Path, most: float, ceiling: float) -> None:
    values = (GREY / 252 * most).astype(np.float32)
    path = save(tmp_path / "a.tif", Image.fromarray(values))
    assert np.abs(decode_image(path)[..., 0] - values / ceiling * 255).max() <= 0.51


def test_a_grey_map_that_states_its_greatest_value_is_scaled_by_it(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 3 1 4095\n" + np.array([0, 1000, 4095], dtype=">u2").tobytes())
    assert decode_image(path)[0, :, 0].tolist() == [0, 62, 255]


def colours_of_sixteen_bits(values: np.ndarray) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_colours_of_twelve_bits_in_sixteen_are_scaled_too(tmp_path: Path) -> None:
    for factor in (16, 257):
        (tmp_path / "a.png").write_bytes(colours_of_sixteen_bits(PIXELS.astype(np.int64) * factor))
        assert np.abs(decode_image(tmp_path / "a.png").astype(int) - PIXELS).max() <= 1


def test_an_orientation_is_applied_to_deep_values_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257), exif=exif)
    assert np.array_equal(decode_image(path)[..., 0], np.rot90(PIXELS[..., 0], -1))


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".webp", ".png"])
def test_of_several_frames_the_first_is_taken_and_it_is_said(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (250, 10, 90)]
    path = save(tmp_path / f"a{suffix}", frames[0], save_all=True, append_images=frames[1:])
    samples = FolderImages([path, save(tmp_path / "b.png", Image.fromarray(PIXELS))], [0, 0])
    samples.digests()
    assert samples.notes == ("1 images have several frames or pages; the first is taken",)
    assert abs(int(samples[0].mean()) - 250) <= 2


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    rows = zlib.compress(b"\0" * 2**20)  # far too few: nothing of them is read
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    content = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(FrostlineError, match=r"a\.png"):  # beyond Pillow's own bound
        decode_image(tmp_path / "a.png")
    path = save(tmp_path / "b.png", Image.fromarray(PIXELS))
    with (
        limited(pixels=34),
        pytest.raises(FrostlineError, match=r"b\.png is 7 x 5 pixels .* limit of 34"),
    ):
        decode_image(path)
    with limited(pixels=35):
        assert decode_image(path).shape == (5, 7, 3)
