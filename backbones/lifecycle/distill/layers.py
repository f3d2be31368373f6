"""Which layer of a teacher each layer of a student learns from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from backbones.core.errors import FrostlineError


def divisors(number: int) -> list[int]:
    """Return the divisors of ``number``, ascending."""
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


def layer_map(student: int, teacher: int, explicit: Sequence[int] | None = None) -> tuple[int, ...]:
    """Return g(1), ..., g(M): the teacher's layer, counted from 1, that each layer of the student learns from.

    Without an explicit map, g(m) = m * N / M (Jiao et al., TinyBERT, EMNLP Findings 2020).

    Args:
        student: its number of layers M.
        teacher: its number of layers N.
        explicit: one layer of the teacher for each layer of the student, rising; None for the even map.

    Raises:
        FrostlineError: N is no multiple of M and no map is given, or a map that does not fit.
    """
    if student < 1:
        raise FrostlineError(f"a student of {student} layers learns nothing; pass 1 or more.")
    if explicit is None:
        if teacher % student:
            fitting = ", ".join(map(str, divisors(teacher)))
            raise FrostlineError(
                f"{student} layers do not divide the teacher's {teacher}: with the even map g(m) = m * N / M a student "
                f"can have {fitting}. Pass one of these, or name the layers to learn from with --map."
            )
        return tuple(number * teacher // student for number in range(1, student + 1))
    chosen = tuple(int(layer) for layer in explicit)
    shown = ",".join(map(str, chosen))
    if len(chosen) != student:
        raise FrostlineError(
            f"the map {shown} names {len(chosen)} layers, but the student has {student}; name as many."
        )
    if any(not 1 <= layer <= teacher for layer in chosen):
        raise FrostlineError(f"the map {shown} leaves the teacher's layers, which are 1 to {teacher}.")
    if any(later <= earlier for earlier, later in pairwise(chosen)):
        raise FrostlineError(f"the map {shown} does not rise; higher layers of the student learn from higher ones.")
    return chosen


def parse_map(text: str | None) -> tuple[int, ...] | None:
    """Read ``"2,4,6"``; None and ``"even"`` give None.

    Raises:
        FrostlineError: an item that is no number.
    """
    if text is None or text == "even":
        return None
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise FrostlineError(f"the map {text!r} is not of the form 2,4,6 (layers of the teacher, from 1).") from None
