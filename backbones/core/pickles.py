"""What a pickle would cost, found out before anything of it is built."""

from __future__ import annotations

import pickletools
from typing import Any, BinaryIO

_CLAIMS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "FRAME"})  # every other length is checked as it is read
_TUPLES = frozenset({"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
COSTLIEST = 100_000  # members of members of one tuple


def check_pickle(stream: BinaryIO, size: int) -> None:
    """Refuse a pickle that claims or costs more than its bytes can hold; ``stream`` is left behind its end.

    The unpickler believes a number of remembered objects and takes the memory for it first: one wrong byte is worth
    32 GB. A tuple that holds another twice, which holds another twice and so on, takes a few bytes a level and, as the
    key of a dictionary, twice the time for each.

    Args:
        stream: at the beginning of the pickle.
        size: of the file, in bytes.

    Raises:
        ValueError: what is wrong with it.
    """
    stack: list[int | None] = []  # members of each object, None for a mark
    memo: dict[Any, int | None] = {}
    try:
        for opcode, value, _ in pickletools.genops(stream):
            name = opcode.name
            if name in _CLAIMS and not (isinstance(value, int) and 0 <= value <= size):
                raise ValueError("it claims a size that no such file has")
            if name in _PUTS or name == "MEMOIZE":
                memo[value if name in _PUTS else len(memo)] = stack[-1]
                continue
            taken = _taken(stack, opcode)
            cost = 1
            if name in _TUPLES:
                cost += sum(taken)
                if cost > COSTLIEST:
                    raise ValueError("it nests tuples as no such file does")
            elif name in _GETS:
                cost = memo.get(value) or 1
            elif name == "DUP":
                cost = sum(taken)
            stack += [None if kind is pickletools.markobject else cost for kind in opcode.stack_after]
    except IndexError:
        raise ValueError("it is cut short or damaged") from None


def _taken(stack: list[int | None], opcode: Any) -> list[int]:
    """Take off the stack what an opcode does, and return the costs of it."""
    before = opcode.stack_before
    taken: list[int] = []
    count = len(before)
    if pickletools.markobject in before:
        count = before.index(pickletools.markobject)
        while (cost := stack.pop()) is not None:
            taken.append(cost)
    for _ in range(count):
        taken.append(stack.pop() or 0)
    return taken
