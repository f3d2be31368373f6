"""Image processors of transformers: the same pixels as theirs, or a refusal that names the setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_runs import write_tiny_backbone

from backbones.catalog import LoadOptions, load_backbone
from backbones.core.errors import FrostlineError
from backbones.core.preprocess import Preprocessing
from backbones.core.reading import limited
from backbones.processors import read_processor, write_processor

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, size=(*size, 3), dtype=np.uint8) for size in ((40, 64), (33, 17), (16, 16), (301, 20))]
VIT: dict[str, Any] = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}
CROP: dict[str, Any] = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 20},
    "crop_size": {"height": 16, "width": 16},
}
STATED: dict[str, dict[str, Any]] = {
    "what the class takes": VIT,
    "crop": CROP,
    "crop of an odd rest": {**CROP, "size": {"shortest_edge": 19}},
    "crop of all": {**CROP, "size": {"shortest_edge": 16}},
    "numbers for sizes": {"feature_extractor_type": "CLIPFeatureExtractor", "size": 18, "crop_size": 16},
    "number for a size": {"feature_extractor_type": "ViTFeatureExtractor", "size": 16, "resample": 2},
    "bicubic": {**VIT, "resample": 3},
    "nearest": {**VIT, "resample": 0},
    "not normalised": {**VIT, "do_normalize": False},
    "not scaled": {**VIT, "do_rescale": False},
    "neither": {**VIT, "do_rescale": False, "do_normalize": False},
    "another scale": {**VIT, "rescale_factor": 1 / 127.5},
    "own mean": {**CROP, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.3, 0.2, 0.1]},
    "fast": {**VIT, "image_processor_type": "ViTImageProcessorFast"},
    "small crop of its side": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 16}},
}


def theirs(stated: dict[str, Any]) -> torch.Tensor:
    kind = stated.get("image_processor_type") or stated["feature_extractor_type"]
    kind = kind.replace("FeatureExtractor", "ImageProcessor")
    made = getattr(transformers, kind.removesuffix("Fast")).from_dict(stated)
    return made([torch.from_numpy(image).permute(2, 0, 1) for image in IMAGES], return_tensors="pt").pixel_values


@pytest.mark.parametrize("kind", STATED)
def test_pixels_are_those_of_transformers(kind: str) -> None:
    mine = read_processor(STATED[kind], "x", None, 16)(IMAGES)
    assert torch.equal(mine, theirs(STATED[kind]).float())


@pytest.mark.parametrize("kind", STATED)
def test_what_is_read_can_be_written(kind: str) -> None:
    read = read_processor(STATED[kind], "x", None, 16)
    again = write_processor(read)
    assert read_processor(json.loads(json.dumps(again)), "x", None, 16)(IMAGES).equal(read(IMAGES))
    assert torch.equal(theirs(again), read(IMAGES))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({**VIT, "resample": 1}, r"resizes with resample = 1 \(lanczos\)"),
    ({**VIT, "resample": 5}, r"resizes with resample = 5 \(hamming\)"),
    ({**VIT, "do_resize": False}, r"does not resize \(do_resize = false\)"),
    ({**VIT, "size": {"height": 16, "width": 20}}, "makes inputs that are no squares"),
    ({**CROP, "do_center_crop": False}, "makes inputs that are no squares .*shortest_edge"),
    ({**CROP, "size": {"shortest_edge": 12}}, "pads images"),
    ({**CROP, "crop_size": {"height": 16, "width": 8}}, "makes inputs that are no squares .*crop_size"),
    ({**VIT, "do_pad": True}, "asks for do_pad = True"),
    ({**VIT, "do_flip_channel_order": True}, "asks for do_flip_channel_order = True"),
    ({**VIT, "rescale_offset": True}, "asks for rescale_offset = True"),
]


@pytest.mark.parametrize(("stated", "words"), REFUSED, ids=[words[:30] for _, words in REFUSED])
def test_what_is_not_done_is_refused_by_name_unless_the_user_says_how(stated: dict[str, Any], words: str) -> None:
    with pytest.raises(FrostlineError, match=f"of backbone 'x' {words}.*pass --preprocessing direct or crop"):
        read_processor(stated, "x", None, 16)
    assert read_processor(stated, "x", "direct", 16) == Preprocessing(
        16, "direct", mean=_mean(stated), std=_std(stated)
    )


def _mean(stated: dict[str, Any]) -> Any:
    return (0.5,) * 3 if stated["image_processor_type"].startswith("ViT") else (0.48145466, 0.4578275, 0.40821073)


def _std(stated: dict[str, Any]) -> Any:
    return (0.5,) * 3 if stated["image_processor_type"].startswith("ViT") else (0.26862954, 0.26130258, 0.27577711)


def test_a_processor_of_an_unknown_class_is_named() -> None:
    with pytest.raises(FrostlineError, match=r"is a 'OwnImageProcessor', unknown to transformers"):
        read_processor({"image_processor_type": "OwnImageProcessor"}, "x", None, 16)


def test_a_folder_gives_the_pixels_of_its_own_processor(tmp_path: Path) -> None:
    folder = write_tiny_backbone(tmp_path / "vit")
    size = json.loads((folder / "config.json").read_text())["image_size"]
    stated = {
        **CROP,
        "crop_size": {"height": size, "width": size},
        "size": {"shortest_edge": size + 3},
        "do_normalize": False,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    assert torch.equal(load_backbone(str(folder)).preprocessing(IMAGES), theirs(stated))
    direct = load_backbone(str(folder), LoadOptions(preprocessing="direct")).preprocessing
    assert isinstance(direct, Preprocessing) and direct.mode == "direct" and direct.mean == (0.0,) * 3


def test_a_picture_of_one_row_does_not_grow_beyond_the_limit() -> None:
    line = np.zeros((1, 5000, 3), np.uint8)
    with limited(pixels=100_000), pytest.raises(FrostlineError, match="of 5000 x 1 becomes one of 100000 x 20 pixels"):
        Preprocessing(16, "crop", 0.8)([line])
    assert Preprocessing(16, "direct")([line]).shape == (1, 3, 16, 16)
