"""Weights from the Hugging Face hub: quick to see that there is no network, checked against the hub's checksums."""

from __future__ import annotations

import hashlib
import logging
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from backbones.core.errors import FrostlineError
from backbones.core.reading import check_regular

T = TypeVar("T")
PATIENCE = 5.0  # seconds until a hub that does not answer counts as unreachable
INSTEAD = (
    "Without a network pass --weights FILE.safetensors (timm:), a folder with config.json and model.safetensors, or "
    "--backbone bundled:vit-micro"
)
LOCAL = (
    "Save the model again (a folder with config.json and model.safetensors, of a text encoder with tokenizer.json), or "
    "copy it again if it came from elsewhere."
)


def fetch(name: str, make: Callable[[], T], repository: str = "", instead: str = INSTEAD) -> T:
    """Run a loader that may use the hub and turn its failures into one sentence on what to pass instead.

    Args:
        name: the backbone, for messages.
        make: the loader.
        repository: what it reads on the hub, whose cached files are checked; ``""`` or a folder: local files alone.
        instead: what to pass without a network, for the message.

    Raises:
        FrostlineError: no network, a file of another checksum than the hub's (it is removed), or any other failure.
    """
    folder = Path(repository) if repository else Path(name)
    remote = bool(repository) and not folder.is_dir()
    for entry in folder.iterdir() if folder.is_dir() else ():  # the loaders would wait for a pipe among them for ever
        if entry.exists():
            check_regular(entry)
    try:
        with _offline_if_unreachable(wanted=remote), _quiet():
            made = make()
    except FrostlineError:
        raise
    except Exception as error:  # hubs fail with many kinds of exceptions, none of them ours
        if remote:
            _refuse_damage(name, repository)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        advice = f"{instead}; HF_ENDPOINT names a mirror and HF_HOME a filled cache." if remote else LOCAL
        raise FrostlineError(f"cannot load the weights of {name!r}: {reason}. {advice}") from error
    if remote:
        _refuse_damage(name, repository)
    return made


def _refuse_damage(name: str, repository: str) -> None:
    damaged = _remove_damaged(repository)
    if damaged:
        raise FrostlineError(
            f"the download of {name!r} is damaged: {', '.join(damaged)} has another SHA-256 than the hub announced. "
            "It was removed; run the same command again to download it anew."
        )


def _remove_damaged(repository: str) -> list[str]:
    """Remove the cached files of ``repository`` that are not what the hub announced; return their names.

    The hub names its large files by their SHA-256, and so does its client in the cache, but compares sizes alone.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    damaged = []
    for link in sorted(folder.glob("snapshots/*/**/*")):
        blob = link.resolve()
        if link.is_symlink() and blob.is_file() and re.fullmatch("[0-9a-f]{64}", blob.name):
            with blob.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != blob.name:
                blob.unlink()
                link.unlink()
                damaged.append(link.name)
    return damaged


@contextmanager
def _offline_if_unreachable(wanted: bool) -> Iterator[None]:
    """Tell the hub's client to use its cache only while the hub cannot be reached: its own retries take a minute."""
    from huggingface_hub import constants

    offline = bool(constants.HF_HUB_OFFLINE)
    constants.HF_HUB_OFFLINE = offline or not wanted or not _reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline


def _reachable(endpoint: str) -> bool:
    """Tell whether ``endpoint``, or the proxy that stands before it, accepts a connection."""
    hub = urlsplit(endpoint)
    proxies = {} if proxy_bypass(hub.hostname or "") else getproxies()
    proxy = proxies.get(hub.scheme) or proxies.get("all")
    if proxy:
        hub = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    try:
        port = hub.port or (443 if hub.scheme == "https" else 80)
        socket.create_connection((hub.hostname or "", port), timeout=PATIENCE).close()
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing a report of what it loaded; what matters is checked and said by us."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
