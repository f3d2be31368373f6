"""brat (Stenetorp et al. 2012), stand-off annotation: ``.ann`` beside the text in ``.txt``; characters, end-exclusive.

Read are text-bound annotations (T), events (E) and equivalences (``* Equiv``); relations, attributes,
normalisations and notes say nothing of the arguments of events and are counted.
"""

from __future__ import annotations

import re

from backbones.core.errors import FrostlineError
from benchmarks.passages.build import Builder, Found
from benchmarks.passages.files import File
from benchmarks.passages.formats.graph import Link, Spot, Trigger, compose
from benchmarks.passages.nodes import Node, Note
from benchmarks.passages.source import ReadLimits, decode_text
from benchmarks.passages.types import Passage, Span

_SPAN = re.compile(r"(\S+) (\d{1,12} \d{1,12}(?:;\d{1,12} \d{1,12})*)")
_PART = re.compile(r"(\S+):([^:\s]+)")
_NUMBERED = re.compile(r"(.+?)\d+")


def read(file: File, limits: ReadLimits, note: Note) -> Passage:
    """Read a ``.ann`` file and the text beside it.

    Raises:
        FrostlineError: there is no text; a line that brat does not write; see ``compose``.
    """
    beside = file.beside(".txt")
    if beside is None:
        raise FrostlineError(
            f"{file.name}: expected the text of this brat annotation beside it, in {file.stem}.txt, found no such "
            "file. Put the .txt that was annotated into the same folder."
        )
    rows = re.split(r"\r?\n", decode_text(file.content(limits), file.name))
    root = Node({}, file.name, note)
    builder = Builder(root, decode_text(beside.content(limits), beside.name))
    clusters = _clusters(rows)
    spots: dict[str, Spot] = {}
    events: dict[str, Trigger] = {}
    links: list[Link] = []
    left = 0
    for number, row in enumerate(rows):
        node = Node(row, f"{file.name}, line {number + 1}", note)
        name, _, rest = row.partition("\t")
        if name.startswith("T"):
            label, found = _span(rest, node)
            spots[name] = Spot(found, label, clusters.get(name))
        elif name.startswith("E"):
            parts = _PART.findall(rest)
            if not parts:
                raise node.fail("TYPE:TRIGGER ROLE:ID ... after the id of an event and a tab")
            events[name] = Trigger(parts[0][1], parts[0][0])
            roles = {role for role, _ in parts[1:]}
            links += [Link(name, target, _role(role, roles), node) for role, target in parts[1:]]
        else:
            left += bool(row.strip()) and name != "*"
    if left:
        root.tell(f"{left} relations, attributes and notes of brat were passed over: they name no arguments of events")
    for name, event in events.items():
        if event.spot not in spots:
            raise root.fail("the trigger of an event among the T lines", found=f"{event.spot!r} of {name}")
    return compose(builder, ("brat", ""), spots, events, links, file.stem)


def _clusters(rows: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        if row.startswith("*\tEquiv "):
            names = row.split()[2:]
            found |= dict.fromkeys(names, names[0] if names else "")
    return found


def _span(rest: str, node: Node) -> tuple[str, Found]:
    what, _, said = rest.partition("\t")
    match = _SPAN.fullmatch(what)
    if match is None:
        raise node.fail("TYPE START END and the text, with tabs before and after, as brat writes it")
    pieces: list[Span] = [(int(start), int(end)) for start, end in (each.split() for each in match[2].split(";"))]
    if len(pieces) > 1:
        node.tell("a span in several pieces is read as one, from the first to the last")
    span = pieces[0][0], pieces[-1][1]
    return match[1], Found(node, span, said if len(pieces) == 1 and said else None)


def _role(role: str, roles: set[str]) -> str:
    """Return a role without the number that brat gives the second one of its name, as in ``Theme2``."""
    numbered = _NUMBERED.fullmatch(role)
    return numbered[1] if numbered is not None and numbered[1] in roles else role
