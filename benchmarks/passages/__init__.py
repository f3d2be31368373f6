"""Passages: texts with events, and the formats that they are written in."""

from benchmarks.passages.types import Argument, Event, Mention, Passage, Trigger, UserRule

__all__ = ["Argument", "Event", "Mention", "Passage", "Trigger", "UserRule"]
