"""Passages: texts with events, and the formats that they are written in."""

from benchmarks.passages.check import check_against, check_passage, resolve_event_type
from benchmarks.passages.formats import FORMATS, IMPORTS, losses
from benchmarks.passages.reader import read_passages, read_record
from benchmarks.passages.schema import native_schema
from benchmarks.passages.source import ReadLimits
from benchmarks.passages.types import Argument, Event, Mention, Passage, Trigger, UserRule

__all__ = [
    "FORMATS",
    "IMPORTS",
    "Argument",
    "Event",
    "Mention",
    "Passage",
    "ReadLimits",
    "Trigger",
    "UserRule",
    "check_against",
    "check_passage",
    "losses",
    "native_schema",
    "read_passages",
    "read_record",
    "resolve_event_type",
]
