"""Noun phrases without a tagger: names by their capitals, common nouns by the company they keep in the corpus."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from backbones.core.samples import Progress, silent
from backbones.lifecycle.infuse.grammar import Words

WORD = r"(?:[A-Z]\.){2,}|[^\W\d_][\w-]*(?:&\w+)?"
_WHOLE = re.compile(WORD)
_LEADING = re.compile(rf"({WORD})(.*)", re.DOTALL)
MOST_WORDS = 3  # of a name
LIST_ITEMS = 6
BLOCK = 2000  # sentences between two reports of progress


class Nouns:
    """Which lower-case words of a corpus are nouns.

    A word counts as one if it stands ``least`` times between a determiner and what closes a noun phrase, or beside
    words that introduce examples (plurals have no determiner there), and more often so than behind a word that
    precedes verbs.

    Args:
        sentences: the corpus.
        words: small words of its language.
        least: times.
        listing: what stands between a kind and examples of it, such as ``" such as "``.
        progress: told of the sentences read.
    """

    def __init__(
        self,
        sentences: Sequence[str],
        words: Words,
        *,
        least: int = 2,
        listing: Iterable[str] = (),
        progress: Progress = silent,
    ) -> None:
        closers = "|".join(sorted(map(re.escape, words.closers), key=len, reverse=True))
        determiners, verbal = words.determiners, words.verbal
        frame = re.compile(rf"(?<= )([A-Z]?[a-z]*) ([a-z]{{3,}})(?=[,.;:!?]| (?:{closers}) |$)")
        verb = re.compile(rf" (?:{'|'.join(sorted(verbal))}) ([a-z]{{3,}})")
        between = "|".join(sorted(map(re.escape, listing), key=len, reverse=True)) or "(?!)"
        listed = re.compile(rf"([a-z]{{3,}})(?:{between})(?:([a-z]{{3,}})(?=[,.;:!?]| (?:and|or) |$))?", re.MULTILINE)
        framed: Counter[str] = Counter()
        acting: Counter[str] = Counter()
        for start in range(0, len(sentences), BLOCK):
            text = "\n ".join(sentences[start : start + BLOCK])
            framed.update(noun for small, noun in frame.findall(text) if small.lower() in determiners)
            framed.update(noun for pair in listed.findall(text) for noun in pair if noun)
            acting.update(verb.findall(text))
            progress("nouns", min(start + BLOCK, len(sentences)), len(sentences))
        barred = words.stop | words.determiners
        self.known = {w for w, n in framed.items() if n >= least and n > acting[w] and w not in barred}

    def __contains__(self, word: str) -> bool:
        return word in self.known


class Phrases:
    """Finds the noun phrase at the end or the beginning of a piece of text.

    Args:
        nouns: lower-case words that are nouns.
        words: small words.
    """

    def __init__(self, nouns: Iterable[str] | Nouns, words: Words) -> None:
        self._nouns = nouns.known if isinstance(nouns, Nouns) else set(nouns)
        self._small = words.stop | words.determiners
        self._determiners = words.determiners
        self._generic = words.generic

    def is_name(self, word: str) -> bool:
        """Return whether a word is written as a name."""
        return word[0].isupper() and word.lower() not in self._small and word.lower() not in self._generic

    def before(self, text: str, opening: Sequence[str] = ()) -> str | None:
        """Return the noun phrase that ``text`` ends with, None if there is none (or none behind ``opening``)."""
        words = text[-90:].split(" ")
        if len(text) > 90:
            words = words[1:]  # cut in two
        found: list[str] = []
        name = bool(words) and bool(_WHOLE.fullmatch(words[-1])) and self.is_name(words[-1])
        while words and len(found) < MOST_WORDS and _WHOLE.fullmatch(words[-1]):
            word = words[-1]
            if name and found and _headline(word) != _headline(found[0]):
                break
            if not (self.is_name(word) if name else word in self._nouns and (found or word not in self._generic)):
                break
            found.insert(0, words.pop())
        if not found or (opening and not self._opens(words, opening)):
            return None
        return self._said(found, initial=name and not words)

    def after(self, text: str) -> tuple[str, int] | None:
        """Return the noun phrase that ``text`` begins with and where it ends; determiners are passed over."""
        place, end, found, name, passed = 0, 0, list[str](), False, False
        while len(found) < MOST_WORDS:
            hit = _LEADING.match(text[place : place + 60])
            if hit is None:
                break
            word, rest = hit.groups()
            if not found and word.lower() in self._determiners:
                place += len(word) + 1
                continue
            if not found:
                name = self.is_name(word)
            fits = self.is_name(word) if name else word in self._nouns
            if not fits and (found or passed or name or word.lower() in self._small or word[0].isupper()):
                break
            if fits:
                found.append(word)
                end = place + len(word)
            else:  # one adjective, say
                passed = True
            if not rest.startswith(" "):
                break
            place += len(word) + 1
        if not found or found[-1] in self._generic:
            return None
        return self._said(found, initial=False), end

    def listed(self, text: str) -> list[str]:
        """Return the noun phrases of the enumeration that ``text`` begins with."""
        found: list[str] = []
        while len(found) < LIST_ITEMS:
            hit = self.after(text)
            if hit is None:
                break
            found.append(hit[0])
            text = text[hit[1] :]
            link = re.match(r", (?:and |or )?| (?:and|or) ", text)
            if link is None:
                break
            text = text[link.end() :]
        return found

    def _opens(self, words: list[str], opening: Sequence[str]) -> bool:
        behind = [word.lower() for word in words]
        while behind and behind[-1] in self._determiners and behind[-1] not in opening:
            behind.pop()
        return bool(behind) and behind[-1] in opening

    def _said(self, words: list[str], *, initial: bool) -> str:
        # The first word of a sentence has a capital whatever it is.
        if initial and len(words) == 1 and words[0].lower() in self._nouns:
            return words[0].lower()
        return " ".join(words)


def _headline(word: str) -> bool:
    """Return whether a word is in capitals and too long for an abbreviation."""
    return len(word) > 4 and word.isupper()
