"""Texts of others as a terminal or a page may show them: nothing in them moves a cursor or turns the reading order."""

from __future__ import annotations

import html
import json
import re
from typing import Any

ORDER = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Embeddings, overrides and isolates of the bidirectional algorithm (Unicode Annex 9)."""

SIGNS = (
    {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}  # control pictures
    | {0x7F: 0x2421}
    | dict.fromkeys((*range(0x80, 0xA0), *ORDER, *range(0xD800, 0xE000)), 0xFFFD)
)
"""What acts and does not show -> the sign that stands for it, one character for one."""

_ACTING = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Return ``text`` with a sign for each control character and each turn of the reading order.

    Tabs and ends of lines stay. Halves of surrogate pairs, which no file can hold, become U+FFFD.
    """
    return text.replace("\r\n", "\n").translate(SIGNS)


def escape(text: str) -> str:
    """Return ``text`` as HTML holds it in content and in quoted attributes, made visible."""
    return html.escape(visible(text), quote=True)


def dumps(value: Any, indent: int | None = None) -> str:
    """Return ``value`` as JSON that a terminal may show: what ``visible`` replaces is escaped; NaN is a ValueError."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    return _ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
