"""Files of differences: safetensors with two vectors and metadata.

The vectors are ``indices`` (int64, ascending) and ``values`` (float32 or float64), both of shape (k,). An index is a
place in the concatenation of the flattened (row-major) tensors that the metadata list. The metadata are strings:

``format``     ``frostline-difference``
``version``    ``1``
``base``       SHA-256 of the weights of the base (``backbones.compose.difference.weights_digest``)
``base_name``  what the base was called
``tensors``    JSON: a list of [name, shape] in the order of the concatenation
``k``          length of both vectors
``settings``   JSON: how the difference was made
"""

from __future__ import annotations

import json
from pathlib import Path

from backbones.compose.difference import Difference
from backbones.core.artifacts import load_tensors, save_tensors
from backbones.core.errors import FrostlineError
from backbones.core.reading import parse_json

FORMAT, VERSION = "frostline-difference", "1"


def save_difference(path: Path | str, difference: Difference) -> None:
    """Write a difference as one safetensors file, atomically."""
    path = Path(path)
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "base": difference.base,
        "base_name": difference.base_name,
        "tensors": json.dumps([[name, list(shape)] for name, shape in difference.tensors]),
        "k": str(difference.k),
        "settings": json.dumps(dict(difference.settings)),
    }
    save_tensors(path, {"indices": difference.indices, "values": difference.values}, metadata)


def read_difference(path: Path | str) -> Difference:
    """Read what ``save_difference`` wrote.

    Raises:
        FrostlineError: no such file, damaged, another format, or vectors that are no difference.
    """
    path = Path(path)
    tensors, said = load_tensors(path)
    if said.get("format") != FORMAT or not {"indices", "values"} <= set(tensors):
        raise FrostlineError(
            f"{path} holds no difference: its metadata say format {said.get('format')!r}, not {FORMAT!r}. Weights of a "
            "whole model become a difference by backbones.compose.extract_difference."
        )
    if said.get("version") != VERSION:
        raise FrostlineError(f"{path} is a difference of version {said.get('version')!r}; we read version {VERSION!r}.")
    try:
        shapes = tuple((str(name), tuple(int(side) for side in shape)) for name, shape in parse_json(said["tensors"]))
        settings = dict(parse_json(said["settings"]))
        base, name = said["base"], said["base_name"]
    except (KeyError, TypeError, ValueError) as error:
        raise FrostlineError(f"the metadata of {path} cannot be read ({error}); make the file again.") from error
    return Difference(tensors["indices"], tensors["values"], shapes, base, name, settings, label=str(path))
