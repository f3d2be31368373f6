"""What a tokenizer knows of labels and passages: labels that it reads alike are refused, unknown ones told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from backbones.core.errors import FrostlineError
from backbones.core.tokens import MUCH
from backbones.lm import LanguageModel
from zeroshot.scorers.base import Request

Read = tuple[int, ...]


def check_labels(model: LanguageModel, requests: Sequence[Request], reads: Sequence[Read]) -> Iterator[str]:
    """Yield a note on the share of unknown tokens in labels and in passages, where there are such.

    Args:
        model: whose tokenizer; requests: distinct ones.
        reads: the tokens of what stands for the label of each request.

    Raises:
        FrostlineError: two labels of one cell are the same to the tokenizer.
    """
    cells: dict[tuple[object, ...], Request] = {}
    for request, read in zip(requests, reads, strict=True):
        key = (request.text, request.span, request.trigger, request.event, request.kind, read)
        other = cells.setdefault(key, request)
        if request.label and other.label and request.label != other.label:
            raise _alike(model, other, request, read)
    labels = {request.label: read for request, read in zip(requests, reads, strict=True) if request.label}
    unknown = [label for label, read in labels.items() if _unknown(model, [read])[0]]
    if unknown:
        share = _said(*_unknown(model, labels.values()))
        some = f"such as in {unknown[0]!r}"
        yield f"the tokenizer of {model.name!r} does not know {share} of the tokens of labels, {some}."
    lost, total = _unknown(model, model.encode(list(dict.fromkeys(each.text for each in requests)), special=False)[0])
    if lost > MUCH * total:
        yield f"the tokenizer of {model.name!r} does not know {_said(lost, total)} of the tokens of passages."


def _alike(model: LanguageModel, one: Request, other: Request, read: Read) -> FrostlineError:
    tokens = " ".join(map(str, model.tokenizer.convert_ids_to_tokens(list(read))))
    kind = "roles" if one.kind == "role" else "entity types"
    return FrostlineError(
        f"the tokenizer of {model.name!r} cannot tell the {kind} {one.label!r} and {other.label!r} apart: it reads "
        f"both as {tokens[:60]!r}. Give them names that it knows (name = ... in the ontology), or another model "
        "with --lm."
    )


def _unknown(model: LanguageModel, rows: Iterable[Sequence[int]]) -> tuple[int, int]:
    """Return how many tokens are unknown ones, and how many there are."""
    unknown, counts = model.tokenizer.unk_token_id, [0, 0]
    for row in rows:
        counts[0] += sum(token == unknown for token in row)
        counts[1] += len(row)
    return counts[0], counts[1]


def _said(lost: int, total: int) -> str:
    return f"{lost} of {total} ({100 * lost / total:.0f} %)"
