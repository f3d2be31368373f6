"""Named benchmarks of text: where the data comes from and the protocol over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from benchmarks import download as transfer
from benchmarks.text_files import read_divided, read_whole
from benchmarks.text_rows import Naming, Rows
from benchmarks.text_sets import LAYOUT, read_texts
from benchmarks.types import Dataset

__all__ = ["IntentBenchmark", "TextBenchmark"]

_SENTENCES = "minilm"


@dataclass(frozen=True)
class TextBenchmark:
    """A set of labelled texts that the user brings.

    Attributes:
        name: registered name.
        init_classes: classes of the first experience (0 = as ``increment``).
        increment: classes of later experiences; None = a tenth of all.
        backbone: what a run takes if it names none.
    """

    name: str
    init_classes: int
    increment: int | None
    backbone: str = _SENTENCES

    def load(self, *, data_root: str | None = None, download: bool = True, progress: Progress = silent) -> Dataset:
        """Read the texts at ``data_root`` (see ``text_sets.read_texts``); there is nothing to download.

        Raises:
            FrostlineError: no ``data_root``, a wrong layout, a row without text or label and more, by file and row.
        """
        if data_root is None:
            raise FrostlineError(
                f"{self.name} needs --data-root with {LAYOUT}; other columns than text and label are named behind it, "
                "as in reviews.csv::text=body,label=stars."
            )
        return read_texts(data_root, self.name, progress=progress)


@dataclass(frozen=True)
class IntentBenchmark:
    """A published set of short questions, each with what its author wants.

    Attributes:
        name: registered name.
        init_classes: classes of the first experience (0 = as ``increment``).
        increment: classes of later experiences.
        classes: how many the set has.
        rows: how many training and how many test texts it has.
        urls: the authors' files: one with both parts, or one of training and one of test texts.
        usual: names that the one file goes by, looked for in a folder.
        backbone: what a run takes if it names none.
    """

    name: str
    init_classes: int
    increment: int
    classes: int
    rows: tuple[int, int]
    urls: tuple[str, ...]
    usual: tuple[str, ...]
    backbone: str = _SENTENCES

    def load(self, *, data_root: str | None = None, download: bool = True, progress: Progress = silent) -> Dataset:
        """Read the data from ``data_root`` or the cache, downloading the authors' files where that is allowed.

        Only training and test texts are read: validation texts and texts out of scope, where a set has them, are left
        out. The authors publish no checksum, so what comes is held to the numbers of texts and classes.

        Args:
            data_root: the authors' file, a folder that holds it, or any layout that ``text_sets.read_texts`` reads.
            download: whether missing files may be fetched (2 MiB at most) into ``download.cache_folder()``.
            progress: told of the download and the reading.

        Raises:
            FrostlineError: missing, damaged or incomplete data, other numbers of texts or classes; no network.
        """
        root = str(self._cached(download, progress)) if data_root is None else data_root
        dataset = read_texts(root, self.name, self.usual, progress)
        parts = (dataset.train, "training", self.rows[0]), (dataset.test, "test", self.rows[1])
        for part, kind, wanted in parts:
            self._counted(root, len(part), f"{kind} texts", wanted)
        self._counted(root, len(dataset.class_names), "classes", self.classes)
        return dataset

    def _counted(self, where: str | Path, found: int, what: str, wanted: int) -> None:
        if found != wanted:
            raise FrostlineError(
                f"{where} has {found} {what} but {self.name} has {wanted}; its figures would not be comparable with "
                f"anyone's. Complete the data, or use --benchmark text --increment {self.increment}, which takes any."
            )

    def _cached(self, download: bool, progress: Progress) -> Path:
        cache = transfer.cache_folder() / "data" / self.name
        names = [url.rpartition("/")[2] for url in self.urls]
        instead = (
            f"Without a network pass --data-root DIR with {' and '.join(f'DIR/{name}' for name in names)}; "
            "FROSTLINE_MIRROR names another host to download from."
        )
        if not download and not all((cache / name).is_file() for name in names):
            raise FrostlineError(f"{self.name} is not in the cache {cache} and downloads are off. {instead}")
        for position, name in enumerate(names if download else ()):
            transfer.fetch(
                self.urls[position],
                cache / name,
                accept=self._judge(position, name),
                instead=instead,
                progress=progress,
            )
        return cache

    def _judge(self, position: int, name: str) -> Callable[[Path], None]:
        """Return what refuses a download that does not hold the texts and classes it should."""

        def judge(path: Path) -> None:
            parts: tuple[Rows, ...]
            if len(self.urls) == 1:
                parts = read_divided(path, Naming(), like=name)
            else:
                parts = (read_whole(path, Naming(), like=name),)
            for part, wanted in zip(parts, self.rows[position:], strict=False):
                self._counted(part.source, len(part), "texts", wanted)
                self._counted(part.source, len(set(part.labels)), "classes", self.classes)

        return judge


TEXT = TextBenchmark("text", 0, None)
# Larson et al., An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction, EMNLP 2019.
SPLIT_CLINC150 = IntentBenchmark(
    "split-clinc150",
    0,
    10,
    150,
    (15_000, 4_500),
    ("https://raw.githubusercontent.com/clinc/oos-eval/master/data/data_full.json",),
    ("data_full.json", "data_full.json.xz", "clinc150.json", "clinc150.json.xz"),
)
# Casanueva et al., Efficient Intent Detection with Dual Sentence Encoders, NLP for Conversational AI, 2020.
SPLIT_BANKING77 = IntentBenchmark(
    "split-banking77",
    0,
    7,
    77,
    (10_003, 3_080),
    (
        "https://raw.githubusercontent.com/PolyAI-LDN/task-specific-datasets/master/banking_data/train.csv",
        "https://raw.githubusercontent.com/PolyAI-LDN/task-specific-datasets/master/banking_data/test.csv",
    ),
    ("banking77.json", "banking77.json.xz"),
)
