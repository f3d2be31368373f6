"""Letters of scripts that are written without spaces between words."""

from __future__ import annotations

import re

SPACELESS = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u30ff\u3100-\u312f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Thai, Lao, Tibetan, Burmese, Khmer, Chinese, Japanese and Yi, as in a class of a regular expression."""

_ONE = re.compile(f"[{SPACELESS}]")
_WORD = re.compile(rf"[{SPACELESS}]|[^\s{SPACELESS}]+")
_PLAIN = re.compile(r"\S+")


def spaceless(letter: str) -> bool:
    """Whether a letter is of a script that is written without spaces."""
    return _ONE.match(letter) is not None


def count_words(text: str) -> int:
    """Return the number of words: what stands between spaces, and each letter of a script without spaces."""
    return len((_PLAIN if text.isascii() else _WORD).findall(text))
