"""The finder for those who have spaCy: noun chunks and entities of an installed pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from backbones.core.errors import FrostlineError, unknown
from benchmarks.passages.types import Span
from zeroshot.candidates import words
from zeroshot.candidates.groups import Shape
from zeroshot.candidates.rules import Found, covered, trimmed

_SIZES = ("trf", "lg", "md", "sm")  # best first


def installed(language: str) -> str | None:
    """Return the best installed spaCy pipeline for a language (ISO 639-1), None if there is none."""
    if find_spec("spacy") is None:
        return None
    import spacy

    names = [name for name in spacy.util.get_installed_models() if name.startswith(f"{language}_")]
    rank = {size: place for place, size in enumerate(_SIZES)}
    return min(names, key=lambda name: (rank.get(name.rpartition("_")[2], len(_SIZES)), name), default=None)


def load(name: str | None, language: str) -> Any:
    """Load a pipeline: ``name``, or the best one for ``language``.

    Raises:
        FrostlineError: spaCy is not installed; there is no such pipeline.
    """
    if find_spec("spacy") is None:
        raise FrostlineError("the finder 'spacy' needs spaCy, which is not installed; install it, or take 'rules'.")
    chosen = name or installed(language)
    if chosen is None:
        raise FrostlineError(
            f"no spaCy pipeline for the language {language!r} is installed; install one (for English "
            "'en_core_web_sm'), name one with spacy_model, or take the finder 'rules'."
        )
    return _load(chosen)


@lru_cache(maxsize=2)
def _load(name: str) -> Any:
    import spacy

    try:
        return spacy.load(name)
    except OSError:
        raise unknown("spaCy pipeline", name, spacy.util.get_installed_models()) from None


def by_spacy(nlp: Any, text: str, blocked: Sequence[Span], shape: Shape) -> list[Found]:
    """Find noun chunks and entities.

    Args:
        nlp: a loaded pipeline; text: the passage.
        blocked: spans that no mention may touch: a chunk that does keeps the part with its head, if any.
        shape: which noun groups are wanted.

    Raises:
        FrostlineError: the text is longer than the pipeline takes.
    """
    if len(text) > nlp.max_length:
        raise FrostlineError(
            f"the text has {len(text)} characters, the spaCy pipeline takes {nlp.max_length}; take the finder 'rules'."
        )
    taken = covered(len(text), blocked)
    doc = nlp(text)
    found: dict[Span, Found] = {}
    for entity in doc.ents:
        span = trimmed(text, (entity.start_char, entity.end_char))
        if span[0] < span[1] and not any(taken[slice(*span)]):
            found[span] = Found(span, entity.label_)
    for item in _chunks(doc, shape, taken):
        span = trimmed(text, item.span)
        if span[0] < span[1] and span not in found:
            found[span] = Found(span, None, item.head)
    return [found[span] for span in sorted(found)]


def _chunks(doc: Any, shape: Shape, taken: bytearray) -> Iterator[Found]:
    """Yield noun chunks in the wanted extent, none touching what is taken."""
    chunks = doc.noun_chunks if doc.has_annotation("DEP") else ()
    for chunk in chunks:
        root = chunk.root
        head = (root.idx, root.idx + len(root))
        if root.pos_ == "PRON" and not shape.pronouns:
            continue
        inside = [token for token in chunk if not any(taken[token.idx : token.idx + len(token)])]
        if shape.extent != "full":
            inside = [token for token in inside if token.i >= root.i or not _leads(token.text)]
        kept = [token for token in inside if all(_free(doc, token, root, taken))]
        if not any(token.i == root.i for token in kept):
            continue
        if shape.modifiers:
            yield from (_alone(token) for token in kept if token.i != root.i and token.pos_ in ("NOUN", "PROPN"))
        yield _alone(root) if shape.extent == "head" else Found((kept[0].idx, kept[-1].idx + len(kept[-1])), None, head)


def _leads(text: str) -> bool:
    return text.lower() in words.DETERMINERS | words.POSSESSIVES


def _free(doc: Any, token: Any, root: Any, taken: bytearray) -> Iterator[bool]:
    """Yield for each token from ``token`` to ``root`` whether nothing has taken it."""
    low, high = sorted((token.i, root.i))
    for number in range(low, high + 1):
        between = doc[number]
        yield not any(taken[between.idx : between.idx + len(between)])


def _alone(token: Any) -> Found:
    span = (token.idx, token.idx + len(token))
    return Found(span, None, span)
