"""Saving a backbone as an ordinary folder, which transformers or timm, ``cil-run`` and ``eae-zero`` load as it is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.base import Backbone
from backbones.catalog import load_backbone
from backbones.core.artifacts import save_tensors, write_json
from backbones.core.errors import FrostlineError
from backbones.core.preprocess import Preprocessing
from backbones.core.samples import Progress, silent
from backbones.core.tokens import TextPreprocessing
from backbones.lm import isolated
from backbones.merging import WEIGHTS, compare_features, made_whole, probe_features
from backbones.processors import write_processor
from backbones.sentences import write_sentences
from backbones.text import Reading
from backbones.vit import timm_config

FACTS = "frostline.json"
PHASE = "saving"


@dataclass(frozen=True)
class Saved:
    """A folder, how it is loaded, and the largest difference of a feature after loading it."""

    folder: Path
    usage: str
    difference: float


def refuse_existing(out: Path) -> None:
    """Raise FrostlineError if ``out`` exists; to be asked before any work."""
    if out.exists():
        raise FrostlineError(f"{out} exists already; pass a folder that does not, or remove it.")


@contextmanager
def making_anew(out: Path) -> Iterator[None]:
    """Free the name of a folder for another one; what stood there goes when that is made, and else comes back."""
    before = out.with_name(f".{out.name}.before")
    if out.exists():
        shutil.rmtree(before, ignore_errors=True)
        out.replace(before)
    try:
        yield
    except BaseException:
        if before.exists():
            shutil.rmtree(out, ignore_errors=True)
            before.replace(out)
        raise
    shutil.rmtree(before, ignore_errors=True)


def save_backbone(
    backbone: Backbone,
    out: Path | str,
    facts: Mapping[str, Any],
    *,
    language_model: Any = None,
    progress: Progress = silent,
) -> Saved:
    """Write a backbone, without any delta on it, as a new folder; it is loaded and compared before it gets its name.

    Args:
        backbone: of timm or transformers.
        out: folder to make: config.json, model.safetensors, tokenizer and pooling or preprocessing.
        facts: JSON values written to ``frostline.json`` beside them.
        language_model: the transformers model with a head whose encoder this backbone is, saved in its place.
        progress: told of the phase.

    Raises:
        FrostlineError: ``out`` exists or cannot be written, a model that has no such form, or other features
            once it is loaded.
    """
    out = Path(out)
    refuse_existing(out)
    progress(PHASE, 0, 2)
    wanted = probe_features(backbone)
    with made_whole(out) as folder:
        if hasattr(backbone.module, "save_pretrained"):
            usage = _transformers(backbone, folder, out, language_model)
        else:
            usage = _timm(backbone, folder, out)
        write_json(folder / FACTS, {"format": 1, **facts, "fingerprint": backbone.fingerprint()})
        progress(PHASE, 1, 2)
        difference = compare_features(load_backbone(str(folder)), wanted, out)
    progress(PHASE, 2, 2)
    return Saved(out, usage, difference)


def _timm(backbone: Backbone, folder: Path, out: Path) -> str:
    preprocessing = backbone.preprocessing
    assert isinstance(preprocessing, Preprocessing)
    write_json(folder / "config.json", timm_config(backbone.module, backbone.name, preprocessing))
    save_tensors(folder / WEIGHTS, backbone.frozen_state(), {"format": "pt"})
    return f"cil-run --backbone {out}, or timm.create_model({f'local-dir:{out}'!r}, pretrained=True, num_classes=0)"


def _transformers(backbone: Backbone, folder: Path, out: Path, language_model: Any) -> str:
    module: Any = language_model if language_model is not None else backbone.module
    preprocessing = backbone.preprocessing
    with isolated():  # no bars
        module.save_pretrained(folder, safe_serialization=True)
    if isinstance(preprocessing, TextPreprocessing):
        tokenizer = preprocessing.tokenizer
        tokenizer.save_pretrained(folder)
        reading = backbone.reading
        assert isinstance(reading, Reading)
        write_sentences(folder, reading, preprocessing, backbone.width)
        also = f", eae-zero --lm {out}" if language_model is not None else ""
        return f"cil-run --backbone {out}{also}, or {type(module).__name__}.from_pretrained({str(out)!r})"
    assert isinstance(preprocessing, Preprocessing)
    write_json(folder / "preprocessor_config.json", write_processor(preprocessing))
    return f"cil-run --backbone {out}, or {type(module).__name__}.from_pretrained({str(out)!r})"
