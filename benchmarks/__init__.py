"""Data sets and streams: what flows through a backbone."""

from typing import TYPE_CHECKING

from backbones.core.lazy import lazy

_HOMES = {
    "ArrayTexts": "benchmarks.texts",
    "BENCHMARKS": "benchmarks.catalog",
    "Benchmark": "benchmarks.types",
    "Dataset": "benchmarks.types",
    "Experience": "benchmarks.types",
    "Stream": "benchmarks.types",
    "Subset": "benchmarks.types",
    "check_benchmark": "benchmarks.testing",
    "check_stream": "benchmarks.testing",
    "make_stream": "benchmarks.streams",
    "to_avalanche": "benchmarks.avalanche",
}

if TYPE_CHECKING:
    from benchmarks.avalanche import to_avalanche
    from benchmarks.catalog import BENCHMARKS
    from benchmarks.streams import make_stream
    from benchmarks.testing import check_benchmark, check_stream
    from benchmarks.texts import ArrayTexts
    from benchmarks.types import Benchmark, Dataset, Experience, Stream, Subset
else:  # hidden from type checkers: a module with __getattr__ would have every attribute
    __getattr__, __dir__ = lazy(__name__, _HOMES)

__all__ = [
    "BENCHMARKS",
    "ArrayTexts",
    "Benchmark",
    "Dataset",
    "Experience",
    "Stream",
    "Subset",
    "check_benchmark",
    "check_stream",
    "make_stream",
    "to_avalanche",
]
