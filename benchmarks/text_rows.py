"""Rows of labelled text: what is asked of them, how columns and parts are named, how they become a data set."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from backbones.core.errors import FrostlineError, nearest, unknown
from backbones.core.reading import check_text
from backbones.core.settings import Settings, parse_pairs
from benchmarks.texts import ArrayTexts
from benchmarks.types import Dataset

__all__ = ["LABEL", "TEST", "TEXT", "TRAIN", "Naming", "Rows", "choose_parts", "dataset_of", "parse_root"]

TEXT = ("text", "sentence", "utterance", "query", "question", "content")
LABEL = ("label", "intent", "category", "class", "target")
SPLIT = ("split",)
TRAIN = ("train",)
TEST = ("test", "val", "valid", "validation", "dev")
_SIGN = "::"


class Naming(Settings):
    """What a user says of a set: what columns and parts are called where they bear none of the usual names.

    Attributes:
        text, label, split: columns of a table or keys of an object; None = see ``column``.
        train, test: parts: values of the split column, keys of a JSON object, or file names without their suffix;
            None = ``train``, and the first of ``test val valid validation dev`` that is there.
        untested: what becomes of classes without test rows: ``refuse`` them with an error, or ``drop`` their training
            rows.
    """

    text: str | None = Field(None, min_length=1)
    label: str | None = Field(None, min_length=1)
    split: str | None = Field(None, min_length=1)
    train: str | None = Field(None, min_length=1)
    test: str | None = Field(None, min_length=1)
    untested: Literal["refuse", "drop"] = "refuse"

    def column(self, role: str, columns: Sequence[str], where: str) -> int:
        """Return the position of the text or label column.

        That is the one which is named here, else the one called ``text`` or ``label``, else the only one with another
        of the usual names (``TEXT``, ``LABEL``). Case and outer blanks of usual names do not matter.

        Args:
            role: ``"text"`` or ``"label"``.
            columns: names of all columns.
            where: for the message.

        Raises:
            FrostlineError: there is no such column, or there are several.
        """
        usual, wanted = (TEXT if role == "text" else LABEL), getattr(self, role)
        hint = f"Name it behind the path: {_SIGN}{role}=NAME."
        if wanted is not None:
            found = [position for position, name in enumerate(columns) if name == wanted]
            if not found:
                raise FrostlineError(f"{where}: {unknown(f'{role} column', wanted, columns)}")
        else:
            folded = [name.strip().casefold() for name in columns]
            first = [position for position, name in enumerate(folded) if name == usual[0]]
            found = first or [position for position, name in enumerate(folded) if name in usual]
            if not found:
                raise FrostlineError(
                    f"{where} has no {role} column ({', '.join(usual)}). Its columns: {_listed(columns)}. {hint}"
                )
        if len(found) > 1:
            several = " and ".join(repr(columns[position]) for position in found)
            raise FrostlineError(f"{where} has {len(found)} columns that may hold the {role}: {several}. {hint}")
        return found[0]

    def split_column(self, columns: Sequence[str], where: str) -> int | None:
        """Return the position of the column that says which part a row belongs to; None where there is none.

        Raises:
            FrostlineError: one is named here that does not exist.
        """
        if self.split is not None and self.split not in columns:
            raise FrostlineError(f"{where}: {unknown('split column', self.split, columns)}")
        for position, name in enumerate(columns):
            if name == self.split or (self.split is None and name.strip().casefold() in SPLIT):
                return position
        return None


@dataclass
class Rows:
    """Labelled texts of one part of a set, checked as they are added.

    Attributes:
        source: where the rows come from, for messages.
        unit: what ``numbers`` count: ``line``, ``row`` or ``file``.
        texts, labels, numbers: a text, its label and where it stands, one each for every row.
        notes: what a user must know of how they were read.
    """

    source: str
    unit: str
    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    numbers: list[int | str] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, number: int | str, text: object, label: object) -> None:
        """Take a row; the text is kept as it is, blanks around the label are dropped.

        Raises:
            FrostlineError: the text is missing, empty or no string; the label is missing, empty, or neither a string
                nor an integer. The row is named.
        """
        if isinstance(label, str):
            name = label.strip()
        else:
            name = str(label) if isinstance(label, int) and not isinstance(label, bool) else ""
        if not isinstance(text, str) or not text.strip():
            raise self._unfit(number, "text", text, "a string")
        if not name:
            raise self._unfit(number, "label", label, "a string or an integer")
        self.texts.append(check_text(text, f"{self.source}, {self.unit} {number}"))
        self.labels.append(name)
        self.numbers.append(number)

    def place(self, index: int) -> str:
        """Return where row ``index`` stands, in words."""
        return f"{self.source}, {self.unit} {self.numbers[index]}"

    def without(self, labels: set[str]) -> Rows:
        """Return the rows whose label is not among ``labels``."""
        if not labels:
            return self
        kept = [row for row, label in enumerate(self.labels) if label not in labels]
        texts, marks = [self.texts[row] for row in kept], [self.labels[row] for row in kept]
        dropped = f"{len(self) - len(kept):,} training texts of {len(labels)} classes without test texts were dropped"
        return Rows(self.source, self.unit, texts, marks, [self.numbers[row] for row in kept], (*self.notes, dropped))

    def noting(self, notes: tuple[str, ...]) -> Rows:
        """Return the rows with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    def _unfit(self, number: int | str, what: str, value: object, kind: str) -> FrostlineError:
        where = f"{self.source}, {self.unit} {number}"
        if value is None:
            return FrostlineError(f"{where} has no {what}; complete the row or remove it.")
        if isinstance(value, str):
            return FrostlineError(f"{where} has an empty {what}; complete the row or remove it.")
        return FrostlineError(f"{where}: the {what} is {value!r:.60}; it must be {kind}.")


def dataset_of(name: str, train: Rows, test: Rows, untested: str = "refuse") -> Dataset:
    """Join the parts to a data set.

    Classes come in numeric order where every label is an integer, else in alphabetical order.

    Args:
        name: name of the data set.
        train, test: the parts.
        untested: see ``Naming``.

    Raises:
        FrostlineError: a part without rows, a test label that no training row has, or a class without test rows that
            is not to be dropped.
    """
    for kind, part in (("training", train), ("test", test)):
        if not part.texts:
            raise FrostlineError(f"{part.source} has no {kind} rows; add some: a text and its label each.")
    _check_test_labels(train, test)
    alone = sorted(set(train.labels) - set(test.labels))
    if alone and untested != "drop":
        more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
        raise FrostlineError(
            f"class {alone[0]!r}{more} of {train.source} has no test rows in {test.source}; add some, or leave such "
            f"classes out by writing {_SIGN}untested=drop behind the path."
        )
    train = train.without(set(alone))
    names = _class_names(set(train.labels))
    index = {label: position for position, label in enumerate(names)}
    return Dataset(
        name, names, *(ArrayTexts(part.texts, _indices(part.labels, index), part.notes) for part in (train, test))
    )


def _check_test_labels(train: Rows, test: Rows) -> None:
    known = set(train.labels)
    for row, label in enumerate(test.labels):
        if label not in known:
            close = nearest(label, known)
            hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise FrostlineError(
                f"{test.place(row)} has the label {label!r}, which no training row of {train.source} has.{hint} "
                "Add training texts of that class or take it out of the test."
            )


def _indices(labels: list[str], index: dict[str, int]) -> NDArray[np.int64]:
    return np.fromiter((index[label] for label in labels), dtype=np.int64, count=len(labels))


def _class_names(labels: set[str]) -> tuple[str, ...]:
    if all(_is_integer(label) for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


def _is_integer(label: str) -> bool:
    """Tell whether a label is an integer as one writes it: ``7`` and ``-7``, but neither ``07`` nor ``٧``."""
    digits = label.removeprefix("-")
    # Nobody numbers classes with more digits than this, and Python refuses to convert thousands of them.
    return label.isascii() and digits.isdigit() and len(digits) < 20 and str(int(label)) == label


def choose_parts(found: Collection[str], naming: Naming, where: str) -> tuple[str, str]:
    """Return which of the parts ``found`` are for training and for the test.

    Raises:
        FrostlineError: one is missing, or both are the same.
    """
    train = _part(found, naming.train, TRAIN, "train", where)
    test = _part(found, naming.test, TEST, "test", where)
    if train == test:
        raise FrostlineError(f"{where}: {train!r} is named for training and for the test; name two parts.")
    return train, test


def _part(found: Collection[str], wanted: str | None, usual: Sequence[str], role: str, where: str) -> str:
    if wanted is not None:
        if wanted not in found:
            raise FrostlineError(f"{where}: {unknown(f'{role} part', wanted, found)}")
        return wanted
    for name in usual:
        same = [each for each in found if each.strip().casefold() == name]
        if len(same) > 1:
            raise FrostlineError(f"{where} has parts {same[0]!r} and {same[1]!r}; write them alike, or keep one.")
        if same:
            return same[0]
    raise FrostlineError(
        f"{where} has no part called {' or '.join(usual)}. Its parts: {_listed(sorted(found))}. "
        f"Name it behind the path: {_SIGN}{role}=NAME."
    )


def parse_root(root: str) -> tuple[Path, Naming]:
    """Split ``PATH::text=NAME,label=NAME`` into the path and the names behind it; a path that exists is left whole.

    Raises:
        FrostlineError: a word that is no ``key=value``, or a key that ``Naming`` does not have.
    """
    path = Path(root).expanduser()
    if _SIGN not in root or path.exists():
        return path, Naming()
    place, _, words = root.partition(_SIGN)
    where = f"the names behind {place}"
    return Path(place).expanduser(), Naming.parse(parse_pairs(words.split(","), where), where)


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name[:60]) for name in names[:most]) + more if names else "none"
