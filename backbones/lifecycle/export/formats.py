"""The formats of an export and what each needs, known without torch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, get_args

from backbones.core.errors import FrostlineError, unknown

Format = Literal["onnx", "torch-export", "int8"]
FORMATS: tuple[Format, ...] = get_args(Format)
ONNX = ("onnx", "onnxscript", "onnxruntime")
NEEDED = {"onnx": ONNX, "int8": ONNX}


def check_extra(kind: str) -> None:
    """Raise FrostlineError for an unknown format, or if a package that it needs is not installed."""
    if kind not in FORMATS:
        raise unknown("format", kind, FORMATS)
    missing = [name for name in NEEDED.get(kind, ()) if find_spec(name) is None]
    if missing:
        raise FrostlineError(
            f"the format {kind!r} needs {', '.join(missing)}; install them with pip install 'frostline[export]', or "
            "pass --format torch-export, which needs nothing more."
        )
