"""Registries: lazy tables of ``name -> module:attr`` that read as a list of contents and admit guests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from operator import attrgetter
from typing import Any

from backbones.core.errors import FrostlineError, unknown

OWN = "frostline"


@dataclass(frozen=True)
class Entry:
    """One claimed name: where its object lives, one line about it, and the distribution it comes from."""

    name: str
    target: str
    summary: str
    origin: str

    def load(self) -> Any:
        """Import the object; raises FrostlineError if the target does not exist or its module fails."""
        module, _, attribute = self.target.partition("[")[0].strip().partition(":")
        try:
            return attrgetter(attribute)(import_module(module))
        except Exception as error:  # a guest's module may fail in any way while it is imported
            raise FrostlineError(
                f"{self.name!r} is registered by {self.origin} as {self.target!r}, which cannot be imported: "
                f"{type(error).__name__}: {error}. Mend or uninstall {self.origin}."
            ) from error


class Registry:
    """A table of names of one kind; guests join through the entry-point ``group``.

    Args:
        kind: the word used in messages, such as ``"PAT"``.
        group: entry-point group, such as ``"backbones.pats"``.
        builtin: name -> (``"module:attr"``, one line).
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, tuple[str, str]]) -> None:
        self.kind = kind
        self.group = group
        self._builtin = builtin

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        table = {name: Entry(name, target, line, OWN) for name, (target, line) in self._builtin.items()}
        for point in entry_points(group=self.group):
            entry = _guest(point)
            held = table.get(entry.name)
            if held is not None and held.target != entry.target:
                raise FrostlineError(
                    f"the {self.kind} name {entry.name!r} is claimed twice: by {held.origin} ({held.target}) and by "
                    f"{entry.origin} ({entry.target}). Rename one of them or uninstall one package."
                )
            table[entry.name] = entry
        return dict(sorted(table.items()))

    def names(self) -> list[str]:
        """All claimed names in alphabetical order."""
        return list(self._entries)

    def entries(self) -> list[Entry]:
        """All entries in alphabetical order of their names."""
        return list(self._entries.values())

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def check(self, name: str) -> None:
        """Raise FrostlineError with the nearest names if nobody claims ``name``; nothing is imported."""
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries)

    def load(self, name: str) -> Any:
        """Import what ``name`` stands for; raises FrostlineError as ``check`` does."""
        self.check(name)
        return self._entries[name].load()


def _guest(point: EntryPoint) -> Entry:
    origin = point.dist.name if point.dist is not None else "an unnamed distribution"
    return Entry(point.name, point.value, f"from {origin}", origin)
