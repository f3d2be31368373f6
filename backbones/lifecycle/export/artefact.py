"""Exported folders: made, run and compared before they are called done, and loaded again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backbones.base import Backbone
from backbones.core.artifacts import write_json
from backbones.core.errors import FrostlineError
from backbones.core.reading import read_json
from backbones.core.samples import Progress, silent
from backbones.core.tokens import TextPreprocessing
from backbones.encoder import usual_chunk
from backbones.lifecycle.export.formats import FORMATS as FORMATS
from backbones.lifecycle.export.formats import check_extra
from backbones.lifecycle.export.graph import export_onnx, export_program, quantise_onnx
from backbones.lifecycle.export.pickles import refuse_pickles
from backbones.merging import made_whole
from backbones.training.saving import refuse_existing

MANIFEST = "export.json"
FILES = {"onnx": "model.onnx", "int8": "model.onnx", "torch-export": "model.pt2"}
TOLERANCE = 1e-5  # of features, relative to the largest of them
COARSE = 0.9  # mean cosine that int8 features must have to the float32 ones
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Exported:
    """What ``export`` wrote.

    Attributes:
        folder: where; kind: its format; size: bytes of the model file.
        difference: largest difference of a feature, relative to the largest feature.
        cosine: mean cosine between the features and those of the backbone.
    """

    folder: Path
    kind: str
    size: int
    difference: float
    cosine: float


def export(
    backbone: Backbone,
    kind: str,
    out: Path | str,
    samples: Sequence[Any],
    *,
    threads: int = 1,
    progress: Progress = silent,
) -> Exported:
    """Write a backbone in a deployable format; it is loaded and run on two sizes of batch before the folder is named.

    Args:
        backbone: with nothing on it.
        kind: one of ``FORMATS``: ``onnx`` and ``int8`` are run by onnxruntime, ``torch-export`` by torch alone.
        out: folder to make: the model, ``export.json`` with shapes and preprocessing, the tokenizer of a text encoder.
        samples: two raw inputs or more, to compare on.
        threads: of the comparison.
        progress: told of the phases.

    Raises:
        FrostlineError: unknown format, a missing package, ``out`` exists, fewer than two samples, or features that
            are not those of the backbone: by more than 1e-5 of the largest, for int8 a mean cosine below 0.9.
    """
    out = Path(out)
    check_extra(kind)
    refuse_existing(out)
    if len(samples) < 2:
        raise FrostlineError(f"{len(samples)} samples to compare the export on; pass two or more.")
    batch = backbone.preprocessing(list(samples))
    with made_whole(out) as folder:
        progress("export", 0, 2)
        _write(backbone, kind, batch, folder)
        progress("export", 1, 2)
        write_json(folder / MANIFEST, _manifest(backbone, kind, batch))
        if isinstance(backbone.preprocessing, TextPreprocessing):
            backbone.preprocessing.tokenizer.save_pretrained(folder)
        difference, cosine = _compare(backbone, load_exported(folder, threads), batch)
        good = cosine >= COARSE if kind == "int8" else difference <= TOLERANCE
        if not good:
            raise FrostlineError(
                f"nothing was written to {out}: features of the {kind} file differ by {difference:.1e} of the largest "
                f"from those of {backbone.name!r} (mean cosine {cosine:.4f}; allowed: "
                f"{f'cosine {COARSE}' if kind == 'int8' else f'{TOLERANCE:.0e}'}). Choose another format."
            )
        size = (folder / FILES[kind]).stat().st_size
        progress("export", 2, 2)
    return Exported(out, kind, size, difference, cosine)


def _write(backbone: Backbone, kind: str, batch: Tensor, folder: Path) -> None:
    target = folder / FILES[kind]
    if kind == "torch-export":
        export_program(backbone, batch, target)
    elif kind == "onnx":
        export_onnx(backbone, batch, target)
    else:
        full = folder / "float32.onnx"
        export_onnx(backbone, batch, full)
        quantise_onnx(full, target)
        full.unlink()


def _manifest(backbone: Backbone, kind: str, batch: Tensor) -> dict[str, Any]:
    return {
        "format": 1,
        "kind": kind,
        "backbone": backbone.name,
        "fingerprint": backbone.fingerprint(),
        "modality": backbone.modality,
        "input": {"name": "batch", "dtype": str(batch.dtype).removeprefix("torch."), "shape": ["n", *batch.shape[1:]]},
        "output": {"name": "features", "width": backbone.width},
        "preprocessing": backbone.preprocessing.described(),
        "torch": torch.__version__,
    }


def load_exported(folder: Path | str, threads: int = 1) -> Run:
    """Load what ``export`` wrote as a function from a preprocessed batch to features, float32 on the CPU.

    A .pt2 file whose loading would unpickle anything but tensors is refused before torch reads it.

    Args:
        folder: made by ``export``.
        threads: of onnxruntime; torch has its own setting.

    Raises:
        FrostlineError: no such folder, a damaged file, or a missing package.
    """
    folder = Path(folder)
    try:
        kind = read_json(folder / MANIFEST)["kind"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FrostlineError(
            f"{folder} is no exported backbone: {MANIFEST} cannot be read ({error}); pass a folder that backbone "
            "export wrote."
        ) from error
    check_extra(str(kind))
    path = folder / FILES[kind]
    try:
        return _program(path) if kind == "torch-export" else _session(path, threads)
    except FrostlineError:
        raise
    except Exception as error:  # either reader fails on damaged bytes in any way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FrostlineError(f"{path} cannot be loaded ({reason}); export it again.") from error


def _program(path: Path) -> Run:
    refuse_pickles(path)
    program = torch.export.load(path).module()

    def run(batch: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = program(batch)
        return found

    return run


def _session(path: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: batch.numpy()})[0])

    return run


def features_of(run: Run, backbone: Backbone, samples: Sequence[Any], progress: Progress = silent) -> Tensor:
    """Return features of raw inputs by an exported model: float32, shape (n, width), in their order.

    Args:
        run: see ``load_exported``.
        backbone: whose preprocessing is used.
        samples: raw inputs.
        progress: told of the samples done.
    """
    groups = backbone.preprocessing.groups(list(samples))
    order = sorted(range(len(samples)), key=lambda row: groups[row])
    found: dict[int, Tensor] = {}
    size = usual_chunk(backbone)
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        features = run(backbone.preprocessing([samples[row] for row in rows]))
        found |= {row: features[number] for number, row in enumerate(rows)}
        progress("features of the export", len(found), len(order))
    return torch.stack([found[row] for row in range(len(samples))])


def _compare(backbone: Backbone, run: Run, batch: Tensor) -> tuple[float, float]:
    """Return the largest relative difference and the mean cosine, over the batch and over its first sample alone."""
    differences, cosines = [], []
    for part in (batch, batch[:1]):
        with torch.inference_mode():
            wanted = backbone.features(part)
        found = run(part)
        differences.append(float((found - wanted).abs().max() / wanted.abs().max()))
        cosines.append(float(torch.cosine_similarity(found, wanted).mean()))
    return max(differences), min(cosines)
