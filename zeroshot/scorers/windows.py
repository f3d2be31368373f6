"""Windows: what a model with a limited window sees of a long passage, chosen around trigger and argument and told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backbones.core.errors import FrostlineError
from zeroshot.scorers.base import Request

Span = tuple[int, int]
JOINT = " ... "
JOINT_TOKENS = 6  # what the joint may cost in any tokenizer
LEAST = 8  # tokens of a passage below which a question makes no sense
SLACK = 12  # tokens by which a cut moves inwards at most, to fall between words


@dataclass(frozen=True)
class Windowed:
    """A request about a part of its passage.

    Args:
        request: the same question with shorter text and moved offsets.
        kept: characters of the original passage, one stretch or two; None: the passage is whole.
    """

    request: Request
    kept: tuple[Span, ...] | None


def shorten(request: Request, tokens: Sequence[Span], budget: int) -> Windowed:
    """Keep at most ``budget`` tokens of the passage: one stretch around trigger and span, or one around each.

    Equal cells are cut alike whatever the label is. A span or trigger that is itself too long keeps its end.

    Args:
        request: its offsets lie within its text.
        tokens: characters of each token of the text, end-exclusive, in order.
        budget: most tokens to keep.

    Raises:
        FrostlineError: the budget is too small for any text.
    """
    if len(tokens) <= budget:
        return Windowed(request, None)
    if budget < LEAST:
        raise FrostlineError(
            f"the window of the model leaves {max(0, budget)} tokens for the passage beside the prompt; at least "
            f"{LEAST} are needed. Use a shorter template or a model with a longer window."
        )
    span = _tokens_of(request.span, tokens)
    trigger = span if request.trigger is None else _tokens_of(request.trigger, tokens)
    hull = min(span[0], trigger[0]), max(span[1], trigger[1])
    if hull[1] - hull[0] <= budget:
        pieces = [_between_words(_around(hull, budget, len(tokens)), hull, tokens, request.text)]
    else:
        half = (budget - JOINT_TOKENS) // 2
        cores = sorted({(max(core[0], core[1] - half), core[1]) for core in (span, trigger)})
        pieces = [_between_words(_around(core, half, len(tokens)), core, tokens, request.text) for core in cores]
        if len(pieces) == 2 and pieces[0][1] >= pieces[1][0]:
            pieces = [(pieces[0][0], pieces[1][1])]
    return _rebuild(request, tuple((tokens[first][0], tokens[last - 1][1]) for first, last in pieces))


def _tokens_of(span: Span, tokens: Sequence[Span]) -> Span:
    """Return the tokens that touch ``span``, end-exclusive; one beside it if none does."""
    touched = [index for index, (start, end) in enumerate(tokens) if end > span[0] and start < span[1]]
    if touched:
        return touched[0], touched[-1] + 1
    before = max(0, sum(end <= span[0] for _, end in tokens) - 1)
    return before, before + 1


def _around(core: Span, size: int, total: int) -> Span:
    """Return ``size`` tokens around ``core``, as even on both sides as the ends of the text allow."""
    start = core[0] - (size - (core[1] - core[0])) // 2
    start = max(0, min(start, total - size))
    return start, start + size


def _between_words(piece: Span, core: Span, tokens: Sequence[Span], text: str) -> Span:
    """Move both cuts inwards to the next space, if there is one near before ``core``."""
    first, last = piece
    starts = [at for at in range(first, min(first + SLACK, core[0]) + 1) if _breaks(tokens[at][0], text)]
    ends = [at for at in range(last, max(last - SLACK, core[1]) - 1, -1) if _breaks(tokens[at - 1][1], text)]
    return (starts or [first])[0], (ends or [last])[0]


def _breaks(at: int, text: str) -> bool:
    """Tell whether a cut at the character ``at`` falls beside a space or an end."""
    return at in (0, len(text)) or text[at - 1].isspace() or text[at].isspace()


def _rebuild(request: Request, kept: tuple[Span, ...]) -> Windowed:
    text, shifts = "", []
    for start, end in kept:
        text += JOINT if text else ""
        shifts.append((start, end, len(text) - start))
        text += request.text[start:end]

    def moved(span: Span) -> Span:
        for start, end, shift in shifts:
            if start < span[1] <= end or (start, span[0]) == (span[1], span[1]):
                return max(span[0], start) + shift, span[1] + shift
        # Tokens that end with a space can end after the span, never before it; an empty span clings to the nearest cut.
        start, end, shift = min(shifts, key=lambda piece: min(abs(piece[0] - span[1]), abs(piece[1] - span[1])))
        at = min(max(span[1], start), end) + shift
        return at, at

    trigger = None if request.trigger is None else moved(request.trigger)
    return Windowed(replace(request, text=text, span=moved(request.span), trigger=trigger), kept)


def describe_windows(cuts: Sequence[tuple[Request, Windowed]], tokens: int, window: int) -> str:
    """Return one note about all questions of one passage that was windowed.

    Args:
        cuts: original requests (at least one, all of one text) and what was kept.
        tokens: tokens of the whole passage; window: most tokens of one input.
    """
    request, windowed = cuts[0]
    head = request.text.strip()[:40].rstrip() + ("..." if len(request.text.strip()) > 40 else "")
    kept = " and ".join(f"{start}-{end}" for start, end in windowed.kept or ())
    about = f"the argument {request.text[slice(*request.span)]!r}"
    if request.trigger is not None:
        about = f"the trigger {request.text[slice(*request.trigger)]!r} and {about}"
    others = len({(r.span, r.trigger) for r, _ in cuts}) - 1
    more = f"; likewise for {others} more pairs of trigger and argument" if others else ""
    return f"passage {head!r}: {tokens:,} tokens, window {window}: kept characters {kept} around {about}{more}."
