"""A report as one self-contained HTML page, its pictures, and the same figures as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.core.artifacts import write_bytes, write_json, write_text
from backbones.core.errors import FrostlineError
from backbones.core.visible import escape

PAGE, DATA = "report.html", "report.json"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } p { max-width: 46rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 1.4rem 0 0.4rem; }
th, td { padding: 0.25rem 0.9rem 0.25rem 0; text-align: left; border-bottom: 1px solid #ddd; vertical-align: top; }
td.number { text-align: right; white-space: nowrap; } .note { color: #595959; }
figure { margin: 1.2rem 0; } img { max-width: 100%; height: auto; }
pre { background: #f5f5f5; padding: 0.8rem; overflow-x: auto; font-size: 0.85rem; }
"""


@dataclass(frozen=True)
class Table:
    """A table of words and ready-made numbers; every row has as many cells as the header."""

    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise FrostlineError(f"table {self.caption!r}: a row of {len(row)} under {len(self.header)} columns.")


@dataclass(frozen=True)
class Picture:
    """A PNG with its file name and its caption."""

    name: str
    png: bytes
    caption: str


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str


Part = Table | Picture | Prose


def write_page(folder: Path, title: str, lead: str, parts: Sequence[Part], facts: Mapping[str, Any]) -> Path:
    """Write ``report.html``, every picture and ``report.json`` into ``folder`` and return the page's path.

    Args:
        folder: made if it is not there.
        title: heading of the page.
        lead: first paragraph: what was done, and what came out.
        parts: tables, pictures and paragraphs in order.
        facts: JSON values: settings, figures, fingerprints; shown at the end of the page.
    """
    for part in parts:
        if isinstance(part, Picture):
            write_bytes(folder / part.name, part.png)
    tables = [
        {"caption": p.caption, "header": list(p.header), "rows": [list(row) for row in p.rows]}
        for p in parts
        if isinstance(p, Table)
    ]
    write_json(folder / DATA, {"title": title, "lead": lead, "tables": tables, "facts": facts})
    write_text(folder / PAGE, render(title, lead, parts, facts))
    return folder / PAGE


def render(title: str, lead: str, parts: Sequence[Part], facts: Mapping[str, Any]) -> str:
    """Return the HTML of a page (see ``write_page``)."""
    body = [f"<h1>{escape(title)}</h1>\n<p>{escape(lead)}</p>\n", *(_part(part) for part in parts)]
    if facts:
        said = json.dumps(facts, indent=2, ensure_ascii=False)
        body.append(f"<section>\n<h2>Settings and facts</h2>\n<pre>{escape(said)}</pre>\n</section>\n")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{''.join(body)}</body>\n</html>\n"
    )


def _part(part: Part) -> str:
    if isinstance(part, Prose):
        return f"<p>{escape(part.text)}</p>\n"
    if isinstance(part, Picture):
        data, caption = base64.b64encode(part.png).decode("ascii"), escape(part.caption)
        return (
            f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
            f'<figcaption class="note">{caption}</figcaption></figure>\n'
        )
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in part.header)
    rows = "".join(f"<tr><td>{escape(first)}</td>{''.join(map(_cell, rest))}</tr>\n" for first, *rest in part.rows)
    caption = f"<caption>{escape(part.caption)}</caption>" if part.caption else ""
    return (
        f'<div class="wide"><table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n'
    )


def _cell(text: str) -> str:
    kind = ' class="number"' if text[:1] in "+-−.0123456789" and text[:1] else ""
    return f"<td{kind}>{escape(text)}</td>"
