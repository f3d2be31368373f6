"""A coarse class for every token of a sentence, from closed word lists, endings and the neighbours."""

from __future__ import annotations

from collections.abc import Sequence

from zeroshot.candidates import words
from zeroshot.candidates.text import Token

DETERMINER, QUANTIFIER, NUMBER, ADJECTIVE = "determiner", "quantifier", "number", "adjective"
NOUN, NAME, PRONOUN, PREPOSITION = "noun", "name", "pronoun", "preposition"
VERB, LINKING, OTHER, CLITIC, MARK = "verb", "linking", "other", "clitic", "mark"
INSIDE = frozenset((DETERMINER, QUANTIFIER, NUMBER, ADJECTIVE, NOUN, NAME))
"""Classes that a noun group may contain."""

_LISTS = (
    (words.DETERMINERS | words.POSSESSIVES, DETERMINER),
    (words.LINKING, LINKING),
    (words.AUXILIARIES, VERB),
    (words.PRONOUNS, PRONOUN),
    (words.PREPOSITIONS, PREPOSITION),
    (words.CONJUNCTIONS, OTHER),
    (words.QUANTIFIERS, QUANTIFIER),
)


def tags(sentence: Sequence[Token]) -> list[str]:
    """Return the class of each token.

    Args:
        sentence: the tokens of one sentence.

    Returns:
        One of the names above for each token; OTHER is what no noun group contains.
    """
    headline = _headline(sentence)
    found: list[str] = []
    first = True  # nothing but marks so far: a capital says little
    for index, token in enumerate(sentence):
        after = sentence[index + 1] if index + 1 < len(sentence) else None
        before = sentence[index - 1].lower if index else ""
        found.append(_tag(token, found[-1] if found else "", before, after, first, headline))
        first = first and found[-1] == MARK
    return found


def _headline(sentence: Sequence[Token]) -> bool:
    """Return whether capitals mean nothing here: nearly all words of the sentence have one."""
    plain = [token for token in sentence if token.kind == "word" and len(token.text) > 3]
    return len(plain) >= 4 and sum(token.capital for token in plain) >= 0.9 * len(plain)


def _tag(token: Token, last: str, before: str, after: Token | None, first: bool, headline: bool) -> str:
    if token.kind == CLITIC:
        return CLITIC if token.lower.endswith("s") and last != PRONOUN else LINKING
    if token.kind == MARK:
        return MARK
    if token.kind == NUMBER:
        return NUMBER
    lower = token.lower
    closed = next((tag for group, tag in _LISTS if lower in group), None)
    if token.capital and not headline:
        if not first:
            return NAME if closed is None or len(token.text) > 3 or token.text.isupper() else closed
        if closed is None and (after is not None and (after.capital or after.kind == CLITIC)):
            return NAME
    if closed is not None:
        return _closed(closed, lower, last, after)
    if words.looks_adverb(lower):
        return OTHER
    tag = _open(lower, last, before, after)
    return NAME if tag == NOUN and token.capital and not headline else tag


def _closed(tag: str, lower: str, last: str, after: Token | None) -> str:
    """Mend a listed class by its neighbours: "that" before a verb is no determiner, "this ." is a pronoun."""
    if tag == DETERMINER and lower not in words.POSSESSIVES | {"the", "a", "an", "every"}:
        following = after.lower if after is not None else ""
        if after is None or after.kind in (MARK, CLITIC) or following in words.AUXILIARIES | words.LINKING:
            return PRONOUN
        if following in words.PREPOSITIONS or (lower == "that" and following in words.DETERMINERS | words.PRONOUNS):
            return OTHER if lower == "that" else PRONOUN
        if lower == "that" and last in (VERB, NOUN, NAME):
            return OTHER
    return tag


def _open(lower: str, last: str, before: str, after: Token | None) -> str:
    """Class of a word that no closed list has."""
    modifies = last in (DETERMINER, QUANTIFIER, ADJECTIVE, CLITIC)
    nominal_next = after is not None and after.kind == "word" and not _closes(after)
    if words.looks_adjective(lower):
        return ADJECTIVE
    if words.looks_participle(lower):
        return ADJECTIVE if modifies and nominal_next else NOUN if modifies and lower.endswith("ing") else VERB
    if lower in words.verb_forms() or lower in words.NOUN_TOO:
        if modifies or (last == PREPOSITION and before != "to"):
            return NOUN
        return NOUN if lower in words.NOUN_TOO and not _verb_here(lower, last, before, after) else VERB
    if before == "to" and after is not None and _object(after):
        return VERB
    return NOUN


def _verb_here(lower: str, last: str, before: str, after: Token | None) -> bool:
    """Return whether a word that may be noun or verb is a verb between these neighbours."""
    if before == "to" or last == PRONOUN or before in words.AUXILIARIES - words.LINKING:
        return True
    return last in (NOUN, NAME) and after is not None and (_object(after) or after.lower in ("to", "that"))


def _object(token: Token) -> bool:
    """Return whether the token opens what a verb is done to."""
    objects = words.DETERMINERS | words.POSSESSIVES | words.PRONOUNS
    return token.lower in objects or token.kind == NUMBER


def _closes(token: Token) -> bool:
    """Return whether no noun group goes on with this word."""
    lower = token.lower
    return any(lower in group for group, tag in _LISTS if tag not in INSIDE) or lower in words.DETERMINERS
