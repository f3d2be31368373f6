"""Markup: elements whose every word and attribute is escaped, so that no text can become a tag."""

from __future__ import annotations

from html import escape

from backbones.core.visible import SIGNS

VOID = frozenset({"input", "meta"})
KEPT = {code: sign for code, sign in SIGNS.items() if chr(code) != "\r"}


class Markup(str):
    """Text that is already HTML."""

    __slots__ = ()


def shown(text: str) -> str:
    """Return ``text`` as a page can hold it, character for character (see ``visible``); ends of lines stay."""
    return text.translate(KEPT)


def safe(text: str) -> Markup:
    """Escape text for content and for quoted attributes."""
    # a bare carriage return would be read back as a line feed
    return Markup(escape(shown(text), quote=True).replace("\r", "&#13;"))


def element(name: str, /, *children: str, **attributes: str | int | bool | None) -> Markup:
    """Return one element.

    Args:
        name: of the tag.
        children: Markup is taken as it is, every other string is escaped.
        attributes: True stands alone, False and None are left out; ``class_`` is class, ``data_x`` is data-x.
    """
    words = [name]
    for key, value in attributes.items():
        spelled = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(spelled)
        elif value is not False and value is not None:
            words.append(f'{spelled}="{safe(str(value))}"')
    start = f"<{' '.join(words)}>"
    if name in VOID:
        return Markup(start)
    return Markup(f"{start}{join(children)}</{name}>")


def join(children: tuple[str, ...] | list[str]) -> Markup:
    """Put pieces side by side: Markup as it is, every other string escaped."""
    return Markup("".join(child if isinstance(child, Markup) else safe(child) for child in children))
