"""What flows: samples, data sets, experiences and streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, Samples, silent

__all__ = ["Benchmark", "Dataset", "Experience", "LabelledSamples", "Stream", "Subset"]


class LabelledSamples(Samples, Protocol):
    """Samples with classes.

    A collection may also offer ``digests_of(rows)``, the digests of some rows only; a Subset uses it where it is.

    Attributes:
        labels: int64, shape (n,), indices into ``class_names`` of the data set.
    """

    @property
    def labels(self) -> NDArray[np.int64]: ...


@dataclass(frozen=True)
class Subset:
    """The rows ``indices`` (int64, shape (m,)) of ``base``, in that order."""

    base: LabelledSamples
    indices: NDArray[np.int64]

    @property
    def modality(self) -> str:
        return self.base.modality

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes of the rows: int64, shape (m,)."""
        return self.base.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.base[int(self.indices[index])]

    def digests(self) -> NDArray[np.uint8]:
        """Content digests: uint8, shape (m, 16)."""
        some = getattr(self.base, "digests_of", None)
        found: NDArray[np.uint8] = self.base.digests()[self.indices] if some is None else some(self.indices)
        return found


@dataclass(frozen=True)
class Dataset:
    """Training and test samples over one list of classes.

    A name that no file in UTF-8 can hold, such as that of a folder in another encoding, is spelt with escapes.
    """

    name: str
    class_names: tuple[str, ...]
    train: LabelledSamples
    test: LabelledSamples

    def __post_init__(self) -> None:
        spelt = tuple(name.encode("utf-8", "backslashreplace").decode() for name in self.class_names)
        object.__setattr__(self, "class_names", spelt)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user must know of the data: what samples that have ``notes`` say, each thing once."""
        return tuple(dict.fromkeys(note for part in (self.train, self.test) for note in getattr(part, "notes", ())))


@dataclass(frozen=True)
class Experience:
    """One step of a stream: its classes (in the order of the stream) and their samples."""

    index: int
    classes: tuple[int, ...]
    train: Subset
    test: Subset


@dataclass(frozen=True)
class Stream:
    """Experiences whose classes are disjoint and together cover the class order exactly once."""

    name: str
    class_names: tuple[str, ...]
    class_order: tuple[int, ...]
    experiences: tuple[Experience, ...]

    def __post_init__(self) -> None:
        flat = [label for experience in self.experiences for label in experience.classes]
        if flat != list(self.class_order) or len(set(flat)) != len(flat):
            raise FrostlineError(
                f"stream {self.name!r}: its experiences hold {len(flat)} classes ({len(set(flat))} different) but its "
                f"class order {len(self.class_order)}; every class must come exactly once, in the order."
            )


class Benchmark(Protocol):
    """A named data set with the protocol that the field uses for it; what a guest registers in ``benchmarks.streams``.

    Attributes:
        init_classes: classes of the first experience by default (``B`` of ``B0-Inc10`` notation, 0 = as ``increment``).
        increment: classes of every later experience by default; None where the number of classes is not known
            beforehand: ``make_stream`` then takes a tenth of them.

    A benchmark may also have ``backbone``, the name of what a run takes if it names none.
    """

    @property
    def init_classes(self) -> int: ...

    @property
    def increment(self) -> int | None: ...

    def load(self, *, data_root: str | None = None, download: bool = True, progress: Progress = silent) -> Dataset:
        """Return the data.

        Args:
            data_root: folder that holds the data; None = the cache or what comes with a library.
            download: whether missing data may be fetched into the cache.
            progress: told of everything that takes long.

        Raises:
            FrostlineError: data that is missing, half-downloaded, unreadable or of another number of classes.
        """
        ...
