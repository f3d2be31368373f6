"""Requests about long passages, made to fit the window of a language model together with their prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backbones.lm import LanguageModel
from zeroshot.scorers.base import Request
from zeroshot.scorers.prompts import NOTHING, Template
from zeroshot.scorers.windows import Windowed, describe_windows, shorten

RESERVE = 32  # tokens kept free for a label, so that all labels of a cell see the same part; twice as many if need be
NEAR = 2 * RESERVE + 8  # a prompt that fits with so many tokens to spare fits with the reserve


def fit_requests(
    requests: Sequence[Request], model: LanguageModel, prompt: Template, limit: int
) -> tuple[list[Request], list[str]]:
    """Return requests whose passages fit, and a note for each passage that did not.

    What is kept depends on text, span, trigger and prompt, not on the label (unless it is longer than RESERVE tokens).

    Args:
        requests: what is asked; model: whose tokens count; prompt: what surrounds the passage.
        limit: most tokens of one input.

    Raises:
        FrostlineError: the prompt alone leaves no room.
    """
    texts = sorted({request.text for request in requests})
    offsets = model.encode(texts, special=False)[1]
    tokens = {text: [(a, b) for a, b in row if a < b] for text, row in zip(texts, offsets, strict=True)}
    overheads: dict[Request, int] = {}
    cuts: dict[str, list[tuple[Request, Windowed]]] = {}
    shortened = []
    for request in requests:
        words = len(model.encode([" " + (request.label or NOTHING)], special=False)[0][0])
        reserve = RESERVE * -(-words // RESERVE)
        plain = replace(request, label=NOTHING, description=None)
        if plain not in overheads:
            whole = len(model.encode([prompt.render(plain).text])[0][0])
            overheads[plain] = whole - len(tokens[request.text])
        windowed = shorten(request, tokens[request.text], limit - overheads[plain] - reserve)
        if windowed.kept is not None:
            cuts.setdefault(request.text, []).append((request, windowed))
        shortened.append(windowed.request)
    return shortened, [describe_windows(cut, len(tokens[text]), limit) for text, cut in cuts.items()]
