"""A dictionary of bounded size."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(OrderedDict[Key, Value]):
    """A dictionary that keeps what was written or read with ``get`` last, and forgets the rest.

    Args:
        most: entries that are kept.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __setitem__(self, key: Key, value: Value) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > self.most:
            self.popitem(last=False)

    def recall(self, key: Key) -> Value | None:
        """Return what is kept under ``key``, which is recent from now on, or None."""
        if key not in self:
            return None
        self.move_to_end(key)
        return self[key]
