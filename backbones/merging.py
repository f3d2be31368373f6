"""Folding a trained delta into plain weights, in the files that timm or transformers loads without us."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backbones.base import Backbone
from backbones.catalog import LoadOptions, load_backbone
from backbones.core.artifacts import save_tensors, write_json
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.seed import numpy_generator
from backbones.deltas import load_delta
from backbones.encoder import Encoder
from backbones.hub import fetch
from backbones.lm import BUNDLED, folder_of, isolated
from backbones.pat.stack import pat_name, pat_values
from backbones.text import prepare

FACTS, WEIGHTS = "merged.json", "model.safetensors"
TOLERANCE = 1e-5  # of features, relative to the largest of them
SIDE = ("*.json", "*.txt", "*.model")  # what stands beside weights: tokenizers, processors, ways of pooling
PHASES = ("load the backbone", "fold the delta in", "write the weights", "load them again and compare features")


@dataclass(frozen=True)
class Merged:
    """What ``merge`` wrote.

    Attributes:
        folder: where.
        pat: name of the PAT that was folded in.
        tensors: how many tensors were written; changed: how many of them differ from the base's.
        difference: largest difference of a feature from that with the delta beside the backbone.
        usage: how to load it.
        notes: what the user should know.
    """

    folder: Path
    pat: str
    tensors: int
    changed: int
    difference: float
    usage: str
    notes: tuple[str, ...]


def merge(
    base: str, delta: Path | str, out: Path | str, options: LoadOptions | None = None, progress: Progress = silent
) -> Merged:
    """Fold a delta into the weights of its backbone and write them as plain ones.

    A backbone of transformers becomes a folder with config.json, model.safetensors and what stands beside them in the
    base (tokenizer, processor, pooling); any other a folder with model.safetensors under the names of the base. The
    result is loaded again and compared before the folder gets its name.

    Args:
        base: name of the backbone, see ``load_backbone``.
        delta: folder, see ``load_delta``.
        out: folder to make.
        options: of loading the base.
        progress: told of the phases.

    Raises:
        FrostlineError: ``out`` exists, a delta that cannot be folded or loaded, or features that are not the same.
    """
    delta = Path(delta)
    out = Path(out)
    if out.exists():
        raise FrostlineError(f"{out} exists already; pass a folder that does not, or remove it.")
    options = options or LoadOptions()
    progress(PHASES[0], 0, len(PHASES))
    backbone = load_backbone(base, options)
    frozen = {name: tensor.clone() for name, tensor in backbone.frozen_state().items()}
    progress(PHASES[1], 1, len(PHASES))
    grown = load_delta(delta, backbone)
    weights = grown.merged()
    wanted = probe_features(backbone, grown)
    pat, settings, notes = pat_name(grown.settings), pat_values(grown.settings), (*backbone.notes, *grown.notes)
    grown.detach()
    progress(PHASES[2], 2, len(PHASES))
    facts = {"pat": pat, "pat_settings": settings}
    usage, difference = write_plain(backbone, base, weights, wanted, out, options, {FACTS: facts}, progress)
    changed = sum(not torch.equal(weights[name], frozen[name]) for name in frozen)
    progress(PHASES[3], len(PHASES), len(PHASES))
    return Merged(out, pat, len(weights), changed, difference, usage, notes)


def write_plain(
    backbone: Backbone,
    base: str,
    weights: Mapping[str, Tensor],
    wanted: Tensor,
    out: Path,
    options: LoadOptions,
    facts: Mapping[str, Mapping[str, Any]],
    progress: Progress = silent,
) -> tuple[str, float]:
    """Write plain weights as a new folder; they are loaded again and compared before the folder gets its name.

    Args:
        backbone: the base, with nothing on it.
        base: what it was loaded as.
        weights: every tensor by its own name.
        wanted: what ``probe_features`` must give with these weights.
        out: folder to make.
        options: of loading the base.
        facts: name of a file to write beside the weights -> JSON values; what the base was is added.
        progress: told of the comparison.

    Returns:
        How the folder is loaded, and the largest difference of a feature from ``wanted``.

    Raises:
        FrostlineError: a folder that cannot be written, or features that are not the same.
    """
    with made_whole(out) as folder:
        usage = _write(backbone, base, weights, folder, out)
        if options.image_size is not None:
            usage += f" (with --image-size {options.image_size})"
        origin = {"format": 1, "base": base, "architecture": _architecture(backbone)}
        for name, values in facts.items():
            write_json(folder / name, {**origin, **values, "base_fingerprint": backbone.fingerprint()})
        progress(PHASES[3], 3, len(PHASES))
        difference = compare_features(_again(base, folder, options), wanted, out)
    return usage, difference


def probe_features(backbone: Backbone, delta: Any = None) -> Tensor:
    """Return features of a few made-up inputs: any will do to see whether two models compute the same."""
    generator = numpy_generator(0, "merge")
    side = 64
    made: dict[str, list[Any]] = {
        "image": [generator.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(4)],
        "text": ["Where is my new card?", "Please book a flight to Rome for tomorrow morning.", "no", "7 + 5 = 12"],
    }
    return Encoder(backbone, delta, precision="fp32").features(made[backbone.modality])


def compare_features(backbone: Backbone, wanted: Tensor, out: Path) -> float:
    difference = float((probe_features(backbone) - wanted).abs().max())
    bound = TOLERANCE * max(1.0, float(wanted.abs().max()))
    if not difference <= bound:
        raise FrostlineError(
            f"nothing was written to {out}: the folded weights give features that differ by {difference:.1e} from "
            f"those with the delta beside the backbone (allowed: {bound:.1e}). Keep the delta beside it."
        )
    return difference


@contextmanager
def made_whole(out: Path) -> Iterator[Path]:
    """Lend a folder that becomes ``out`` if all goes well, and is removed if not."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part"))
    except OSError as error:
        raise FrostlineError(f"cannot write {out}: {error.strerror or error}. Pass another folder.") from error
    try:
        yield temporary
        for path in temporary.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        temporary.chmod(0o755)
        temporary.replace(out)
    except OSError as error:
        raise FrostlineError(f"cannot write {out}: {error.strerror or error}. Pass another folder.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(backbone: Backbone, base: str, weights: Mapping[str, Tensor], folder: Path, out: Path) -> str:
    """Write plain weights; returns how they are loaded."""
    if hasattr(backbone.module, "save_pretrained"):
        _write_transformers(backbone, base, weights, folder)
        return f"cil-run --backbone {out}, or {type(backbone.module).__name__}.from_pretrained({str(out)!r})"
    save_tensors(folder / WEIGHTS, weights, {"format": "pt"})
    known = _architecture(backbone)
    plain = f"timm.create_model({known!r}, num_classes=0)" if known else "the plain model"
    return f"cil-run --backbone {base} --weights {out / WEIGHTS}, or load_state_dict of {plain}"


def _architecture(backbone: Backbone) -> str | None:
    """Return what timm or transformers calls the model, None for one that neither made by name."""
    config = getattr(backbone.module, "config", None)
    named = getattr(config, "model_type", None)
    return named or dict(getattr(backbone.module, "pretrained_cfg", None) or {}).get("architecture")


def _write_transformers(backbone: Backbone, base: str, weights: Mapping[str, Tensor], folder: Path) -> None:
    target = folder_of(base) if backbone.modality == "text" or base in BUNDLED else base.removeprefix("hf:")
    module: Any = type(backbone.module)
    with isolated():
        # The base is loaded once more: what we drop because features do not need it, such as a pooler, is kept.
        whole, info = fetch(base, lambda: module.from_pretrained(target, output_loading_info=True), target)
        lost = {str(name).partition(".")[0] for name in info["missing_keys"]}
        for part in lost:  # random, since the base has no weights for it
            setattr(whole, part, None)
        prepare(whole)
        _missing, unknown = whole.load_state_dict(dict(weights), strict=False)
        assert not unknown, f"the model on disk lacks {unknown[:3]}"
        for path in _beside(base, target):
            _copy(path, folder / path.name)
        whole.save_pretrained(folder)  # last: its config.json is the true one


def _beside(base: str, target: str) -> list[Path]:
    """Return the files and folders that stand beside the weights of a base, on disk or in the cache of the hub."""
    place = Path(target)
    if not place.is_dir():
        from huggingface_hub import snapshot_download

        # loading the base has brought in all that loading needs
        place = Path(fetch(base, lambda: snapshot_download(target, local_files_only=True)))
    found = [path for pattern in SIDE for path in sorted(place.glob(pattern)) if not path.name.endswith(".index.json")]
    poolings = [path.parent for path in sorted(place.glob("*/config.json")) if (place / "modules.json").exists()]
    return [*found, *poolings]


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir()
        for path in [*source.glob("*.json"), *source.glob("*.safetensors"), *source.glob("*.bin")]:
            _copy(path, target / path.name)
    else:
        shutil.copyfile(source, target)


def _again(base: str, folder: Path, options: LoadOptions) -> Backbone:
    if (folder / "config.json").exists():
        return load_backbone(str(folder), options)
    return load_backbone(base, replace(options, weights=folder / WEIGHTS))
