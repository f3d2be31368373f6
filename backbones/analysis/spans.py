"""Edge probing: classes of spans, and of pairs of spans, in texts.

Tenney et al., "What do you learn from context? Probing for sentence structure in contextualized word representations",
ICLR 2019, arXiv 1905.06316. Spans are mean-pooled here, where the paper pools by attention.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.analysis.layers import batches, listening
from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.launch import autocast
from backbones.core.reading import parse_json, read_text
from backbones.core.samples import Progress, silent
from backbones.core.seed import numpy_generator
from backbones.core.tokens import TextPreprocessing, tokenize
from backbones.encoder import usual_chunk

EXAMPLE = '{"text": "Ann saw Bo", "targets": [{"span1": [0, 1], "span2": [2, 3], "label": "nsubj"}]}'
Span = tuple[int, int]


@dataclass(frozen=True)
class Edges:
    """Labelled spans.

    Args:
        texts: in which they lie.
        places: of each target, (row of its text, its spans in characters, end-exclusive); all have as many spans.
        labels: int64, shape (n,), indices into ``classes``.
        classes: names.
    """

    texts: tuple[str, ...]
    places: tuple[tuple[int, tuple[Span, ...]], ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def targets(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Labels and the names of classes."""
        return self.labels, self.classes

    def take(self, rows: NDArray[np.int64]) -> Edges:
        """Return the targets in these rows, in the same texts."""
        return Edges(self.texts, tuple(self.places[row] for row in rows), self.labels[rows], self.classes)

    def divide(self, share: float = 0.2, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows to learn from and rows to judge by; the targets of one text stay together.

        Raises:
            FrostlineError: a single text.
        """
        if len(self.texts) < 2:
            raise FrostlineError("the spans lie in a single text, of which nothing can be held out; pass more texts.")
        order = numpy_generator(seed, "texts").permutation(len(self.texts))
        apart = set(order[: max(1, round(share * len(order)))].tolist())
        held = np.array([row in apart for row, _ in self.places])
        return np.flatnonzero(~held), np.flatnonzero(held)


def read_edges(path: Path | str) -> Edges:
    """Read labelled spans from JSON lines as edge probing has them; spans count words between blanks, end-exclusive.

    Raises:
        FrostlineError: a missing or empty file, a row that is no such object, spans outside the text, one class, or
            targets with one span and with two; the row is named.
    """
    path = Path(path)
    try:
        lines = read_text(path).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FrostlineError(f"{path} cannot be read as UTF-8 text ({error}); pass a file of JSON lines.") from error
    texts: list[str] = []
    places: list[tuple[int, tuple[Span, ...]]] = []
    names: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        text, targets = _row(f"{path}, row {number}", line)
        places += [(len(texts), spans) for spans, _ in targets]
        names += [label for _, label in targets]
        texts.append(text)
    classes = tuple(sorted(set(names)))
    if len(classes) < 2:
        raise FrostlineError(f"{path} holds {len(names)} spans of {len(classes)} classes; pass two classes or more.")
    if len({len(spans) for _, spans in places}) > 1:
        raise FrostlineError(f"{path} holds targets of one span and of two; keep the two kinds in files of their own.")
    labels = np.array([classes.index(name) for name in names], dtype=np.int64)
    return Edges(tuple(texts), tuple(places), labels, classes)


def _row(where: str, line: str) -> tuple[str, list[tuple[tuple[Span, ...], str]]]:
    try:
        row = parse_json(line)
        text, targets = str(row["text"]), list(row["targets"])
        return text, [_target(where, text, target) for target in targets]
    except (ValueError, KeyError, TypeError) as error:
        raise FrostlineError(f"{where} is no text with targets ({error!r}); a row is {EXAMPLE}.") from error


def _target(where: str, text: str, target: Any) -> tuple[tuple[Span, ...], str]:
    words = [match.span() for match in re.finditer(r"\S+", text)]
    label = target["label"]
    if not isinstance(label, str):
        raise FrostlineError(f"{where} has the label {label!r}; give each target one label, a text.")
    found = []
    for key in ("span1", "span2"):
        if key == "span2" and target.get(key) is None:
            continue
        first, stop = map(int, target[key])
        if not 0 <= first < stop <= len(words):
            raise FrostlineError(
                f"{where}: {key} = {[first, stop]} lies outside the {len(words)} words of the text; spans count words "
                "from 0, the end is not included."
            )
        found.append((words[first][0], words[stop - 1][1]))
    return tuple(found), label


def span_features(
    backbone: Backbone, edges: Edges, *, progress: Progress = silent, phase: str = "features of spans"
) -> tuple[Tensor, NDArray[np.int64]]:
    """Return what every layer says of each target: the mean over the tokens of a span, of two spans side by side.

    Args:
        backbone: of texts; one pass for each batch of texts.
        edges: labelled spans.
        progress: told (phase, texts done, texts in all).
        phase: what to call the work.

    Returns:
        float32 of shape (m, depth + 1, width or twice that), and the rows of ``edges`` that they belong to, ascending:
        targets beyond the window of the backbone are left out.

    Raises:
        FrostlineError: a backbone of images, or no target within the window.
    """
    prepare = backbone.preprocessing
    if not isinstance(prepare, TextPreprocessing):
        raise FrostlineError(f"backbone {backbone.name!r} takes {backbone.modality}s, which have no spans of words.")
    if prepare.prompt or prepare.lower:
        raise FrostlineError(
            f"backbone {backbone.name!r} reads texts with a prompt or in small letters, where words stand elsewhere; "
            "take default_prompt_name and do_lower_case out of its folder to probe spans."
        )
    tokens = _token_spans(prepare, edges)
    by_text: dict[int, list[int]] = {}
    for row, (text, _) in enumerate(edges.places):
        if tokens[row] is not None:
            by_text.setdefault(text, []).append(row)
    kept = np.array(sorted(row for rows in by_text.values() for row in rows), dtype=np.int64)
    if not len(kept):
        raise FrostlineError(f"no span lies within the {prepare.window} tokens that {backbone.name!r} reads.")
    wide = backbone.width * len(edges.places[0][1])
    found = torch.empty(len(edges), backbone.depth + 1, wide)
    chosen = sorted(by_text)
    texts = [edges.texts[text] for text in chosen]
    with listening(backbone) as (_, states), torch.inference_mode(), autocast(backbone.device, "fp32"):
        for rows, batch in batches(backbone, texts, usual_chunk(backbone), progress, phase):
            hidden = torch.stack(states(batch), dim=1).float().cpu()
            for place, text in enumerate(rows):
                for row in by_text[chosen[text]]:
                    spans = tokens[row]
                    assert spans is not None
                    means = [hidden[place, :, low:high].mean(dim=1) for low, high in spans]
                    found[row] = torch.cat(means, dim=1)
    return found[torch.from_numpy(kept)], kept


def _token_spans(prepare: TextPreprocessing, edges: Edges) -> list[tuple[Span, ...] | None]:
    """Return the spans of each target in tokens; None where one lies beyond the window."""
    encoded = tokenize(prepare.tokenizer, edges.texts, return_offsets_mapping=True, return_special_tokens_mask=True)
    found: list[tuple[Span, ...] | None] = []
    for text, spans in edges.places:
        offsets, special = encoded["offset_mapping"][text], encoded["special_tokens_mask"][text]
        closing = next((n for n, flag in enumerate(reversed(special)) if not flag), 0)
        room = len(special) if len(special) <= prepare.window else prepare.window - closing
        mine = [_inside(offsets, special, span) for span in spans]
        whole = [span for span in mine if span is not None and span[1] <= room]
        found.append(tuple(whole) if len(whole) == len(spans) else None)
    return found


def _inside(offsets: Sequence[Span], special: Sequence[int], span: Span) -> Span | None:
    touched = [n for n, (low, high) in enumerate(offsets) if not special[n] and low < span[1] and high > span[0]]
    return (touched[0], touched[-1] + 1) if touched else None
