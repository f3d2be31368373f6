"""Stacks: several PATs on one backbone at once, such as ``layernorm+prefix+adapter``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, SerializeAsAny
from torch import nn

from backbones.base import Backbone
from backbones.core.errors import FrostlineError, nearest
from backbones.core.seed import derive
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.pat.sites import UnfitError

JOIN = "+"


class Stack(Settings):
    """PATs that act together; each is attached on top of those before it.

    Args:
        parts: name of a PAT -> its settings, in the order of attaching.
    """

    touches: ClassVar[str] = "what its members touch"

    parts: dict[str, SerializeAsAny[Settings]] = Field(min_length=1)

    @property
    def starts_as_identity(self) -> bool:
        """Whether every member starts as the identity."""
        return all(part.starts_as_identity for part in self._members())

    @property
    def mergeable(self) -> bool:
        """Whether every member can be folded into weights."""
        return all(part.mergeable for part in self._members())

    def grow(self, backbone: Backbone, seed: int) -> StackDelta:
        """Put every member on ``backbone``.

        Raises:
            FrostlineError: a member that does not fit, or two rules that overlap; the backbone is left as it was.
        """
        return StackDelta(self, backbone, seed)

    def parameter_count(self, backbone: Backbone) -> int:
        """Return the sum over the members.

        Raises:
            FrostlineError: a member that does not fit. That rules overlap shows when they are put on.
        """
        total = 0
        for name, part in self.parts.items():
            try:
                total += part.parameter_count(backbone)  # type: ignore[attr-defined]
            except FrostlineError as error:
                raise _within(self, name, error) from error
        return total

    def _members(self) -> list[Any]:
        return list(self.parts.values())


class StackDelta(Delta):
    """The deltas of a stack.

    Attributes:
        parts: name of a PAT -> its delta.
    """

    def __init__(self, settings: Stack, backbone: Backbone, seed: int) -> None:
        super().__init__(backbone, settings)
        self.parts = nn.ModuleDict()
        for name, part in settings.parts.items():
            try:
                child: Delta = part.grow(backbone, derive(seed, "stack", name))  # type: ignore[attr-defined]
            except FrostlineError as error:
                raise _within(settings, name, error) from error
            self.parts[name] = child
            self._undo.append(child.detach)
            self._layers.append(child.first_layer)
            self._folds.extend(child._folds)

    def stages(self, experience: int) -> int:
        """Return the most stages of any member."""
        return max(child.stages(experience) for child in self._children())

    def enter(self, experience: int, stage: int) -> None:
        """Let the members that have this stage get ready for it."""
        for child in self._children():
            if stage < child.stages(experience):
                child.enter(experience, stage)

    @property
    def attached(self) -> bool:
        """Whether any change is in force."""
        return any(child.attached for child in self._children())

    def _children(self) -> list[Delta]:
        return [child for child in self.parts.values() if isinstance(child, Delta)]


def _within(stack: Stack, name: str, error: FrostlineError) -> FrostlineError:
    """Return the error of a member with the name of the stack; one that says that a site is missing goes on to."""
    kind = UnfitError if isinstance(error, UnfitError) else FrostlineError
    return kind(f"stack {JOIN.join(stack.parts)!r}, at {name!r}: {error}")


def make_pat(name: str, values: Mapping[str, Any], layers: str | None = None) -> Any:
    """Return the PAT of a name or of several joined by ``+``.

    Args:
        name: a registered name such as ``lora``, or a stack such as ``layernorm+prefix+adapter``.
        values: its settings; of a stack, name of a member -> settings, or keys such as ``prefix.length``.
        layers: layers for every member that is not told otherwise.

    Raises:
        FrostlineError: an unknown name (nearest offered), one named twice, wrong settings, layers for a PAT that cannot
            choose them.
    """
    names = [part.strip() for part in name.split(JOIN)]
    if len(names) == 1:
        return _make(names[0], values, layers)
    again = sorted({part for part in names if names.count(part) > 1})
    if again:
        raise FrostlineError(f"stack {name!r} names {again[0]!r} twice; give each PAT once.")
    shares = _shares(name, names, values)
    return Stack(parts={part: _make(part, shares[part], layers) for part in names})


def pat_values(pat: Any) -> dict[str, Any]:
    """Return the settings of a PAT as ``make_pat`` takes them; JSON types only."""
    if isinstance(pat, Stack):
        return {name: part.model_dump(mode="json") for name, part in pat.parts.items()}
    found: dict[str, Any] = pat.model_dump(mode="json")
    return found


def pat_name(pat: Any) -> str:
    """Return the registered name of a PAT, or those of a stack's members joined by ``+``: what ``make_pat`` takes.

    Raises:
        FrostlineError: no registry knows it.
    """
    from backbones.pat import PATS

    if isinstance(pat, Stack):
        return JOIN.join(pat.parts)
    target = f"{type(pat).__module__}:{type(pat).__qualname__}"
    for entry in PATS.entries():
        if entry.target.partition("[")[0].strip() == target or entry.load() is type(pat):
            return entry.name
    raise FrostlineError(
        f"the PAT {target} has no name; register it under the entry-point group {PATS.group}, so that what it trains "
        "can be loaded again."
    )


def _make(name: str, values: Mapping[str, Any], layers: str | None) -> Any:
    from backbones.pat import PATS

    kind = PATS.load(name)
    if layers is not None and "layers" in kind.model_fields:
        values = {"layers": layers, **values}
    elif layers is not None:
        raise FrostlineError(f"PAT {name!r} has no setting 'layers'; leave the choice of layers ({layers}) out.")
    return kind.parse(values, f"PAT {name!r}")


def _shares(name: str, names: list[str], values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    shares: dict[str, dict[str, Any]] = {part: {} for part in names}
    for key, value in values.items():
        member, dot, inner = key.partition(".")
        if member not in shares or not (dot or isinstance(value, Mapping)):
            close = nearest(member, names, limit=1)
            hint = f" Did you mean '{close[0]}{dot}{inner}'?" if close and dot else ""
            raise FrostlineError(
                f"stack {name!r}: the setting {key!r} belongs to none of its members.{hint} Write it as "
                f"{names[0]}.KEY, with one of {', '.join(names)} in front."
            )
        for word, given in {inner: value}.items() if dot else value.items():
            if shares[member].setdefault(word, given) != given:
                raise FrostlineError(
                    f"stack {name!r}: the setting {member}.{word} is given twice ({shares[member][word]!r} and "
                    f"{given!r}); keep one."
                )
    return shares
