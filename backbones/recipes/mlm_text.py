"""Sentence-like sequences of token ids for masked language modelling, chosen from raw English, cached as arrays."""

from __future__ import annotations

import io
import lzma
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbones.core.artifacts import digest_json, write_bytes
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.core.seed import numpy_generator
from backbones.core.tokens import tokenize

# Source -> most characters taken of one document, from its middle on: long books would else outweigh everything.
# Sources that are not named here (newsgroups, chat, film scripts) are left out: little of them is a sentence.
TAKEN = {
    "novels100": 80_000,
    "eltec": 80_000,
    "reuters": 20_000,
    "brown": 20_000,
    "movie_reviews": 20_000,
    "abc": 2_000_000,
    "state_union": 20_000,
    "inaugural": 20_000,
}
BY_LINE = {"movie_reviews"}  # sources with one sentence a line; the others are cut at stops
ODD = re.compile(r"[&#<>|*_=@{}\\/~^\[\]+%$]")
END = re.compile(r"[.!?]\s?[\"')]*$")
STOP = re.compile(r"(?<=[.!?])(\s?[\"')]*)\s+(?=[\"'(]?[A-Z])")
TITLES = "Mr|Mrs|Ms|Dr|St|Col|Capt|Gen|Rev|Hon|Esq|Prof|Sir|Messrs|Lt|Sgt|Sen|Rep|Gov|No|vs|Co|Corp|Inc|Ltd"
MONTHS = "Jan|Feb|Mar|Apr|Aug|Sept|Oct|Nov|Dec|Vol|p|pp"
SHORT = re.compile(rf"\b(?:[A-Z]|{TITLES}|{MONTHS})\.$")
REPAIRS = ((re.compile(r"``|''"), '"'), (re.compile(r"([?!;:]) \1"), r"\1"), (re.compile(r"\s+"), " "))
SINGLE = 0.6  # share of the sequences that are one sentence; the others are as many as fit


@dataclass(frozen=True)
class Sequences:
    """Token ids of many sequences, special tokens included.

    Attributes:
        ids: uint16, all sequences one after the other.
        starts: int64, shape (n + 1,): sequence i is ids[starts[i]:starts[i + 1]].
    """

    ids: NDArray[np.uint16]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of every sequence, int64, shape (n,)."""
        return np.diff(self.starts)

    def rows(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return sequences of one length as int64, shape (len(chosen), length)."""
        length = int(self.starts[chosen[0] + 1] - self.starts[chosen[0]])
        found: NDArray[np.int64] = self.ids[self.starts[chosen][:, None] + np.arange(length)].astype(np.int64)
        return found


def sequences_of(
    corpus: Path, tokenizer: Any, cache: Path, *, longest: int = 64, seed: int = 0, progress: Progress = silent
) -> tuple[Sequences, Sequences]:
    """Return (training, held-out) sequences; one document in fifty is held out whole.

    Args:
        corpus: text, ``.xz`` or plain, UTF-8; documents begin with a line ``\\x1e<source>``.
        tokenizer: a fast transformers tokenizer with at most 65,536 tokens.
        cache: folder for the arrays, made where it does not exist.
        longest: most tokens of a sequence, special tokens included.
        seed: of the documents held out and of the lengths drawn.
        progress: told of documents.

    Raises:
        FrostlineError: no such corpus, or none of its sources known.
    """
    if not corpus.is_file():
        raise FrostlineError(f"--data {corpus}: there is no such file; pass the English corpus, plain or as .xz.")
    stated = [corpus.name, corpus.stat().st_size, longest, seed, TAKEN, SINGLE]
    path = cache / f"sequences-{digest_json(stated)[:12]}.npz"
    if not path.exists():
        parts = _tokenise(list(_documents(corpus)), tokenizer, longest, seed, progress)
        if not len(parts[0]) or not len(parts[1]):
            raise FrostlineError(f"--data {corpus} holds too few sentences of the sources {', '.join(TAKEN)}.")
        cache.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        named = zip(("train", "held"), parts, strict=True)
        np.savez(buffer, **{f"{name}_{key}": getattr(part, key) for name, part in named for key in ("ids", "starts")})
        write_bytes(path, buffer.getvalue())
    with np.load(path, allow_pickle=False) as found:
        train, held = (Sequences(found[f"{name}_ids"], found[f"{name}_starts"]) for name in ("train", "held"))
    return train, held


def sentences_of(text: str, source: str) -> list[str | None]:
    """Return the sentences of a document in order; None stands where something else was left out."""
    pieces: list[str] = []
    if source in BY_LINE:
        pieces = text.splitlines()
    else:
        for paragraph in re.split(r"\n\s*\n", text):
            pieces.extend(_cut(_repair(paragraph)))
    return [piece if _is_sentence(piece) else None for piece in map(_repair, pieces)]


def _repair(text: str) -> str:
    for pattern, new in REPAIRS:
        text = pattern.sub(new, text)
    return text.strip()


def _cut(paragraph: str) -> list[str]:
    found: list[str] = []
    start = 0
    for match in STOP.finditer(paragraph):
        end = match.end(1)
        if SHORT.search(paragraph[max(start, match.start() - 8) : match.start()]):
            continue
        found.append(paragraph[start:end])
        start = match.end()
    return [*found, paragraph[start:]]


def _is_sentence(text: str) -> bool:
    words = text.split()
    if not 4 <= len(words) <= 60 or ODD.search(text) or not END.search(text):
        return False
    letters = sum(word.strip("\"'().,;:!?-").replace("'", "").replace("-", "").isalpha() for word in words)
    marks = sum(not any(map(str.isalnum, word)) for word in words)
    loud = sum(word.isupper() and len(word) > 2 for word in words)
    return letters + marks >= 0.9 * len(words) and marks <= 0.3 * len(words) and loud <= 0.2 * len(words)


def _documents(corpus: Path) -> Iterator[tuple[str, str]]:
    opener: Any = lzma.open if corpus.suffix == ".xz" else open
    with opener(corpus, "rt", encoding="utf-8") as stream:
        whole = stream.read()
    for document in whole.split("\x1e"):
        source, _, text = document.partition("\n")
        if source in TAKEN and text:
            most = TAKEN[source]
            middle = max(0, (len(text) - most) // 2)
            yield source, text[middle : middle + most]


def _tokenise(
    documents: Sequence[tuple[str, str]], tokenizer: Any, longest: int, seed: int, progress: Progress
) -> tuple[Sequences, Sequences]:
    held_out = numpy_generator(seed, "held-out").random(len(documents)) < 0.02
    draw = numpy_generator(seed, "lengths")
    found: tuple[list[list[int]], list[list[int]]] = ([], [])
    for number, (source, text) in enumerate(documents):
        sentences = sentences_of(text, source)
        ids = tokenize(tokenizer, [sentence or "" for sentence in sentences], add_special_tokens=False)["input_ids"]
        found[int(held_out[number])].extend(_join(ids, tokenizer, longest, draw))
        progress("tokenising", number + 1, len(documents))
    return _packed(found[0]), _packed(found[1])


def _join(sentences: list[list[int]], tokenizer: Any, longest: int, draw: np.random.Generator) -> list[list[int]]:
    """Join neighbouring sentences to sequences that begin and end with one; an empty one is a gap."""
    found: list[list[int]] = []
    open_: list[int] = []
    most = 0
    for ids in [*sentences, []]:
        bad = not 5 <= len(ids) <= longest - 2 or tokenizer.unk_token_id in ids
        if open_ and (bad or len(open_) + len(ids) > most):
            found.append([tokenizer.cls_token_id, *open_, tokenizer.sep_token_id])
            open_ = []
        if bad:
            continue
        if not open_:
            most = 0 if draw.random() < SINGLE else int(draw.integers(24, longest - 1))
        open_ = open_ + ids
    return found


def _packed(rows: list[list[int]]) -> Sequences:
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
    ids = np.fromiter((token for row in rows for token in row), dtype=np.uint16, count=int(starts[-1]))
    return Sequences(ids, starts)
