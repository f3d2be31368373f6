"""Exact decoding: the best assignment of roles and entity types under constraints, with a proof that it is."""

from zeroshot.decode.conflict import InfeasibleError
from zeroshot.decode.run import decode

__all__ = ["InfeasibleError", "decode"]
