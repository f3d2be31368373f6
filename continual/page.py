"""One self-contained HTML page of a report: tables and pictures, no other file and no network needed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence

from backbones.core.visible import escape
from continual.figures_table import STEP_HEADER, step_rows, table_rows
from continual.report import MultiReport, Report, RunReport

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.8rem 0.25rem 0; text-align: left; border-bottom: 1px solid #ddd; vertical-align: top; }
td:nth-child(2) { white-space: nowrap; } .note { color: #595959; }
figure { margin: 1.2rem 0; } img { max-width: 100%; height: auto; }
pre { background: #f5f5f5; padding: 0.8rem; overflow-x: auto; font-size: 0.85rem; }
"""
CAPTIONS = {
    "accuracy.png": "Accuracy on all seen classes after each experience",
    "accuracy_matrix.png": "Accuracy on each experience after each step",
    "drift.png": "Category drift and forgetting of each experience",
    "map.png": "Test features with category and example prototypes in the plane of two principal components",
}


def page(report: Report, pictures: Mapping[str, bytes]) -> str:
    """Return the HTML page of a report.

    Args:
        report: of one run or of several seeds.
        pictures: file name -> PNG bytes, embedded in this order.
    """
    runs: tuple[RunReport, ...] = report.runs if isinstance(report, MultiReport) else (report,)
    rows = [(row.name, row.value, row.note) for row in table_rows(report)]
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="note">{escape(_subtitle(runs))}</p>',
        _section("Figures", _table(("figure", "value", "meaning"), rows)),
        _section("Pictures", "".join(_picture(name, content) for name, content in pictures.items())),
    ]
    parts += [_section(_of("Experiences", run, runs), _table(STEP_HEADER, step_rows(run))) for run in runs]
    notes = [(str(run.seed), note) for run in runs for note in _notes(run)]
    if notes:
        parts.append(_section("Notes", _table(("seed", "note"), notes)))
    parts.append(_section("Fingerprints", _table(("what", "digest"), _digests(runs))))
    for run in runs:
        parts.append(_section(_of("Settings", run, runs), _json(run.settings)))
    parts.append(_section("Environment", _json(runs[0].environment.model_dump(mode="json"))))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(report.title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{''.join(parts)}</body>\n</html>\n"
    )


def _subtitle(runs: Sequence[RunReport]) -> str:
    stream = runs[0].stream
    done = f"{len(runs[0].steps)} of {len(stream.experiences)} experiences"
    return f"{stream.name}: {len(stream.class_order)} classes, {done}, {len(runs)} seed{'s' if len(runs) > 1 else ''}"


def _of(title: str, run: RunReport, runs: Sequence[RunReport]) -> str:
    return f"{title}, seed {run.seed}" if len(runs) > 1 else title


def _notes(run: RunReport) -> list[str]:
    return [*run.notes, *(f"experience {step.index + 1}: {note}" for step in run.steps for note in step.notes)]


def _digests(runs: Sequence[RunReport]) -> list[tuple[str, str]]:
    found: dict[tuple[str, str], None] = {}  # an ordered set: seeds share most of them
    for run in runs:
        for name, digest in run.fingerprints.model_dump().items():
            found[(name, digest or "-")] = None
    return list(found)


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}</section>\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n'


def _picture(name: str, content: bytes) -> str:
    data = base64.b64encode(content).decode("ascii")
    caption = escape(CAPTIONS.get(name, name))
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        f'<figcaption class="note">{caption}</figcaption></figure>\n'
    )


def _json(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False, default=str))}</pre>\n"
