"""Raw inputs from the command line: image files, texts, files of texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backbones.core.errors import FrostlineError
from backbones.core.reading import check_text, read_text


def read_inputs(
    words: Sequence[str], modality: str, ceilings: Mapping[str, float] | None = None
) -> tuple[list[str], list[Any]]:
    """Return what to call each input, and the raw inputs.

    Args:
        words: image files; of modality ``"text"``: a file stands for its lines that are not blank, anything else for
            itself.
        modality: ``"image"`` or ``"text"``.
        ceilings: see ``decode_image``.

    Raises:
        FrostlineError: a file that cannot be read, or no input at all.
    """
    if modality == "image":
        from benchmarks.images import decode_image

        return list(words), [decode_image(word, ceilings) for word in words]
    texts = [check_text(text, f"input {text[:40]!r}...") for word in words for text in _texts(word)]
    if not texts:
        raise FrostlineError(f"{', '.join(map(repr, words))}: no text to classify; pass a text, or a file of texts.")
    return texts, list(texts)


def _texts(word: str) -> list[str]:
    path = Path(word)
    try:
        is_file = path.exists() and not path.is_dir()
    except OSError:  # a text may be longer than any file name
        is_file = False
    if not is_file:
        return [word] if word.strip() else []
    try:
        return [line for line in re.split(r"\r?\n|\r", read_text(path)) if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise FrostlineError(f"cannot read the texts of {path}: {error}. Save it as UTF-8, a text a line.") from error
