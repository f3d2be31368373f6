"""Colours of roles: the same role has the same colour on the whole page, and its name always stands beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from zeroshot.result import Result

LIGHT = (
    "#0b62c4", "#b3261e", "#19723a", "#7a2fd6", "#9a4d00", "#006e76",
    "#b0146a", "#586400", "#4450b8", "#83452b", "#2b6785", "#6a4a9e",
)  # fmt: skip
DARK = (
    "#6fb1ff", "#ff8f85", "#6ed68f", "#c59bff", "#ffb066", "#4fd3dc",
    "#ff8cc6", "#c9d65a", "#a3adff", "#e0a98c", "#8fc7e0", "#c7aef0",
)  # fmt: skip
"""Text colours, at least 4.5 : 1 against the page and the cards of their theme."""

PATTERNS = 3
"""Solid, dashed, dotted: what tells roles apart once the colours are used up."""


@dataclass(frozen=True)
class Look:
    """Number of a colour (an index into LIGHT and DARK) and of a pattern."""

    colour: int
    pattern: int

    @property
    def classes(self) -> str:
        return f"c{self.colour} p{self.pattern}"


def looks(results: Iterable[Result]) -> dict[str, Look]:
    """Give every role of the page its look.

    Frequent roles choose first, each the colour that it shares with the fewest roles of the same documents.
    """
    together: list[set[str]] = []
    count: Counter[str] = Counter()
    for result in results:
        roles = [found.role for event in result.events for found in event.arguments if found.role is not None]
        count.update(roles)
        together.append(set(roles))
    beside: dict[str, Counter[str]] = {role: Counter() for role in count}
    for group in together:
        for role in group:
            beside[role].update(group)
    chosen: dict[str, Look] = {}
    used: Counter[int] = Counter()
    for role in sorted(count, key=lambda role: (-count[role], role)):
        clash: Counter[int] = Counter()
        for other, look in chosen.items():
            clash[look.colour] += beside[role][other]
        colour = min(range(len(LIGHT)), key=lambda index: (clash[index], used[index], index))
        chosen[role] = Look(colour, used[colour] % PATTERNS)
        used[colour] += 1
    return chosen


def variables() -> str:
    """Return the rules that define the colours for both themes, the reader's choice winning over the system's."""
    light = ";".join(f"--c{index}:{colour}" for index, colour in enumerate(LIGHT))
    dark = ";".join(f"--c{index}:{colour}" for index, colour in enumerate(DARK))
    classes = "".join(f".c{index}{{--c:var(--c{index})}}" for index in range(len(LIGHT)))
    return (
        f":root{{{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}"
        f"@media screen{{:root[data-theme=dark]{{{dark}}}}}{classes}"
    )
