"""Tokens and sentences of raw text, by rules that hold for general English and do no harm elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.passages.types import Span
from zeroshot.candidates import words

_TOKEN = re.compile(
    r"""
    (?P<word>(?:[^\W\d_]\.){2,} | [A-ZÀ-ÖØ-Þ]\.(?=\s[A-ZÀ-ÖØ-Þ])
       | (?:Mr|Mrs|Ms|Dr|St|Gen|Col|Maj|Capt|Lt|Sgt|Sen|Rep|Gov|Prof|Rev|Jr|Sr)\.
       | [^\W\d_]\w*(?:[-'’&/]\w+)*)
    | (?P<number>\d+(?:[.,:/]\d+)*\w*(?:-\w+)*)
    | (?P<clitic>['’]\s?s\b)
    | (?P<mark>\S)
    """,
    re.VERBOSE,
)
_ENCLITIC = re.compile(r"['’](?:s|re|ve|ll|d|m)\Z", re.IGNORECASE)
_ABBREVIATIONS = words.bag(
    """mr mrs ms dr st gen col maj capt lt sgt cmdr adm sen rep gov prof rev hon jr sr vs etc al fig eq sec no nos vol
    pp approx dept univ est inc corp co ltd jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat
    sun e.g i.e cf ca"""
)
_MAY_END = words.bag("inc corp co ltd jr sr etc al no")
_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s)|[。！？]++[」』”）]*+|\n[^\S\n]*+\n\s*+")
_WORD_BEFORE = re.compile(r"[^\s(\[\"'“‘]+\Z")
_OPENING = re.compile(r"[\s\"'“‘«(\[`]*")
_LETTERS = re.compile(r"[^\W\d_]{1,20}")
_WRAP = 120  # wider lines are paragraphs, not wrapped text


@dataclass(frozen=True)
class Token:
    """A word, number, clitic ``'s`` or mark: its characters (end-exclusive), its text and which of these it is."""

    start: int
    end: int
    text: str
    kind: str

    @property
    def lower(self) -> str:
        return self.text.lower().replace("’", "'")

    @property
    def capital(self) -> bool:
        return self.kind == "word" and self.text[0].isupper()


def tokens(text: str) -> tuple[Token, ...]:
    """Return the tokens of ``text`` in order; ``'s``, ``'re`` and the like are split from their words."""
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        start, end, kind = match.start(), match.end(), str(match.lastgroup)
        enclitic = _ENCLITIC.search(text, max(start + 1, end - 3), end) if kind == "word" else None
        if enclitic:
            cut = enclitic.start()
            found += [Token(start, cut, text[start:cut], kind), Token(cut, end, text[cut:end], "clitic")]
        else:
            found.append(Token(start, end, text[start:end], kind))
    return tuple(found)


def sentences(text: str) -> tuple[Span, ...]:
    """Split a text into sentences.

    A full stop after an abbreviation, an initial or inside a number ends nothing; a mark before closing quotes ends
    with them; a blank line always ends a sentence, and a line break does unless the text is wrapped there (the next
    word would not have fitted the widest line).

    Args:
        text: any string.

    Returns:
        Characters of each sentence, end-exclusive, without surrounding white space, in order, not overlapping; all
        that is not white space lies in one.
    """
    cuts = sorted({match.end() for match in _END.finditer(text) if _ends(text, match)} | _line_breaks(text))
    spans: list[Span] = []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        piece = text[start:end]
        inner = piece.strip()
        if inner:
            first = start + len(piece) - len(piece.lstrip())
            spans.append((first, first + len(inner)))
    return tuple(spans)


def _ends(text: str, match: re.Match[str]) -> bool:
    """Decide whether a mark really ends a sentence, from the words on both sides."""
    mark = match.group()
    if mark[0] in "\n。！？":
        return True
    opening = _OPENING.match(text, match.end())
    after = opening.end() if opening else match.end()
    if after < len(text) and text[after].islower():
        return False
    if mark[0] != "." or mark.startswith(".."):
        return True
    before = _WORD_BEFORE.search(text, max(0, match.start() - 40), match.start())
    word = before.group().lower() if before else ""
    if word in _MAY_END or (len(word) > 1 and "." in word and word[-2:-1] == "."):
        return _opener(text, after)
    return not (word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i"))


def _opener(text: str, start: int) -> bool:
    """Return whether the word at ``start`` is one that opens sentences and begins no name."""
    match = _LETTERS.match(text, start)
    word = match.group().lower() if match else ""
    closed = (words.DETERMINERS, words.POSSESSIVES, words.PRONOUNS, words.PREPOSITIONS, words.CONJUNCTIONS)
    return not match or any(word in group for group in closed) or words.looks_adverb(word)


def _line_breaks(text: str) -> set[int]:
    """Return the ends of lines that were broken on purpose."""
    lines = text.split("\n")
    narrow = [len(line.rstrip()) for line in lines if len(line) <= _WRAP]
    widest = max(narrow, default=0)
    cuts: set[int] = set()
    position = 0
    for line, following in pairwise(lines):
        position += len(line) + 1
        first = following.split(maxsplit=1)[0] if following.strip() else ""
        wrapped = len(line) <= _WRAP and len(line.rstrip()) + 1 + len(first) > widest
        if not wrapped or following[:1] in ("-", "*", "•"):
            cuts.add(position)
    return cuts
