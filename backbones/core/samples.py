"""Samples: the least that an encoder needs to know of data."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Samples(Protocol):
    """A finite, ordered, random-access collection of raw inputs."""

    @property
    def modality(self) -> str:
        """``"image"`` or ``"text"``."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any:
        """The raw input: an image as uint8 array of shape (height, width, 3), RGB; a text as str."""
        ...

    def digests(self) -> NDArray[np.uint8]:
        """Content digests, uint8, shape (n, 16): equal rows mean equal raw inputs."""
        ...


class Progress(Protocol):
    """What a long call reports to: phase, units done, units in all (-1: unknown). The library never prints."""

    def __call__(self, phase: str, done: int, total: int) -> None: ...


def silent(phase: str, done: int, total: int) -> None:
    """A Progress that tells nobody."""
