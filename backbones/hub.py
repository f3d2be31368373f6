"""Weights from the hub: quietly, from the cache when the hub is out of reach, and checked against their digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backbones.core.errors import FrostlineError

FILES = ("model.safetensors", "pytorch_model.bin")
INSTEAD = (
    "Without a network pass --weights FILE.safetensors (timm:), a folder with config.json and model.safetensors, or "
    "--backbone bundled:vit-micro; HF_ENDPOINT names a mirror and HF_HOME a filled cache."
)


def fetch(name: str, make: Callable[[], Any], repository: str = "") -> Any:
    """Run a loader that may need the network.

    Args:
        name: what the user asked for.
        make: downloads, if it must, and builds the model.
        repository: where on the hub its weights are; ``""`` or a folder: nothing to check.

    Raises:
        FrostlineError: out of reach, cut off or damaged on the way; says what to pass instead.
    """
    try:
        with _offline_if_unreachable(), _quiet():
            made = make()
    except FrostlineError:
        raise
    except Exception as error:  # hubs fail with many kinds of exceptions, none of them ours
        _drop_damaged(repository)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FrostlineError(f"cannot load the weights of {name!r}: {reason.rstrip('.')}. {INSTEAD}") from error
    damaged = _drop_damaged(repository)
    if damaged:
        raise FrostlineError(
            f"the weights of {name!r} were damaged on the way (checksum of {damaged} is wrong) and are removed from the "
            f"cache: try again. {INSTEAD}"
        )
    return made


def _drop_damaged(repository: str) -> str:
    """Remove cached weight files whose SHA-256 is not the one the hub names them by; return their names.

    The hub's client checks sizes only; it stores large files under their digest.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or Path(repository).is_dir():
        return ""
    from huggingface_hub import try_to_load_from_cache

    found = []
    for file in FILES:
        cached = try_to_load_from_cache(repository, file)
        if not isinstance(cached, str):
            continue
        blob = Path(cached).resolve()
        if re.fullmatch(r"[0-9a-f]{64}", blob.name) and _sha256(blob) != blob.name:
            blob.unlink(missing_ok=True)
            Path(cached).unlink(missing_ok=True)
            found.append(file)
    return ", ".join(found)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Tell the hub client to use its cache only while the hub cannot be reached: its own retries take a minute."""
    import socket
    from urllib.parse import urlsplit

    from huggingface_hub import constants

    hub = urlsplit(constants.ENDPOINT)
    offline = bool(constants.HF_HUB_OFFLINE)
    try:
        if not offline:
            port = hub.port or (443 if hub.scheme == "https" else 80)
            socket.create_connection((hub.hostname or "", port), timeout=5).close()
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing what it loaded and how fast; what matters is checked and said by us."""
    import logging

    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("transformers.modeling_utils")
    level, bars = logger.level, transformers_logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
