"""Candidates: mentions found in raw text, for events whose arguments and entities are not given."""

from zeroshot.candidates.find import Finder, find_mentions
from zeroshot.candidates.groups import Extent
from zeroshot.candidates.text import sentences

__all__ = ["Extent", "Finder", "find_mentions", "sentences"]
