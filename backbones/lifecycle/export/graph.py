"""A backbone as one function from a preprocessed batch to features, and its export to torch.export and ONNX files."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backbones.base import Backbone
from backbones.lifecycle.export.formats import check_extra as check_extra

BATCH, LENGTH, FEATURES = "batch", "length", "features"


class FeatureModel(nn.Module):
    """The forward pass of a backbone: a preprocessed batch to features, float32 of shape (batch, width)."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.module = backbone.module
        object.__setattr__(self, "backbone", backbone)

    backbone: Backbone

    def forward(self, batch: Tensor) -> Tensor:
        return self.backbone.features(batch)


def export_program(backbone: Backbone, example: Tensor, path: Path) -> None:
    """Write the forward pass as a ``torch.export`` file (.pt2) that takes any number of samples, texts of any length.

    Args:
        backbone: with nothing on it.
        example: a preprocessed batch of two samples or more.
        path: to write.
    """
    with _quiet():
        program = torch.export.export(FeatureModel(backbone), (example,), dynamic_shapes=_dynamic(backbone))
        torch.export.save(program, path)


def export_onnx(backbone: Backbone, example: Tensor, path: Path) -> None:
    """Write the forward pass as an ONNX file, see ``export_program`` for the arguments.

    Raises:
        FrostlineError: the extra ``export`` is not installed.
    """
    check_extra("onnx")
    with _quiet():
        torch.onnx.export(
            FeatureModel(backbone),
            (example,),
            str(path),
            dynamo=True,
            dynamic_shapes=_dynamic(backbone),
            input_names=[BATCH],
            output_names=[FEATURES],
            external_data=False,
            verbose=False,
        )


def quantise_onnx(source: Path, path: Path) -> None:
    """Write an ONNX file whose linear layers multiply in int8.

    Weights are int8 for each output channel; what enters a layer is put on 8 bits by its range in the batch at hand.
    Weights keep to 7 bits: without VNNI, sums of two products saturate at 16 bits.

    Raises:
        FrostlineError: the extra ``export`` is not installed.
    """
    check_extra("int8")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            str(source),
            str(path),
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=["MatMul", "Gemm"],
        )


def _dynamic(backbone: Backbone) -> tuple[dict[int, Any]]:
    shapes: dict[int, Any] = {0: torch.export.Dim(BATCH, min=1, max=65536)}
    if backbone.modality == "text":
        shapes[2] = torch.export.Dim(LENGTH, min=4, max=int(backbone.preprocessing.window))  # type: ignore[attr-defined]
    return (shapes,)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' remarks on their own workings off the screen."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
