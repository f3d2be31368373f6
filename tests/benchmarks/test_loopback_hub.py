"""The loopback server speaks enough of the hub's protocol for huggingface_hub's own client."""

from __future__ import annotations

import random
from pathlib import Path

from hub_client import run_with_hub
from loopback import Corrupt, Cut, Loopback

WEIGHTS = random.Random(0).randbytes(200_000)
FILES = {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS, "deep/extra.txt": b"x"}
ONE_FILE = "import sys; from huggingface_hub import hf_hub_download; print(hf_hub_download(sys.argv[1], sys.argv[2]))"
ALL_FILES = (
    "import sys; from huggingface_hub import snapshot_download; print(snapshot_download(sys.argv[1]))\n"
    "print(snapshot_download(sys.argv[1], local_files_only=True))"
)


def test_one_file_is_downloaded(loopback: Loopback, tmp_path: Path) -> None:
    commit = loopback.add_repo("timm/tiny.test", FILES)
    done = run_with_hub(loopback.endpoint, tmp_path, ONE_FILE, "timm/tiny.test", "model.safetensors")
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.read_bytes() == WEIGHTS
    assert commit in path.parts


def test_a_whole_repository_is_downloaded_even_over_a_cut_connection(loopback: Loopback, tmp_path: Path) -> None:
    commit = loopback.add_repo("someone/encoder", FILES)
    # A snapshot asks for files by commit.
    path = loopback.repo_path("someone/encoder", "model.safetensors", commit)
    loopback.fault(path, Cut(after=70_000))
    done = run_with_hub(loopback.endpoint, tmp_path, ALL_FILES, "someone/encoder")
    assert done.returncode == 0, done.stderr
    first, offline = (Path(line) for line in done.stdout.split())
    assert first == offline
    assert {name: (first / name).read_bytes() for name in FILES} == FILES
    assert len(loopback.ranges(path)) == 2


def test_the_client_passes_corrupt_bytes_on(loopback: Loopback, tmp_path: Path) -> None:
    """Its check is of the size alone: whoever reads weights has to notice damage."""
    loopback.add_repo("timm/tiny.test", FILES)
    loopback.fault(loopback.repo_path("timm/tiny.test", "model.safetensors"), Corrupt(at=9))
    done = run_with_hub(loopback.endpoint, tmp_path, ONE_FILE, "timm/tiny.test", "model.safetensors")
    assert done.returncode == 0, done.stderr
    read = Path(done.stdout.strip()).read_bytes()
    assert len(read) == len(WEIGHTS)
    assert [index for index in range(len(read)) if read[index] != WEIGHTS[index]] == [9]


def test_unknown_names_raise_the_client_s_own_errors(loopback: Loopback, tmp_path: Path) -> None:
    loopback.add_repo("timm/tiny.test", FILES)
    code = (
        "import sys; from huggingface_hub import hf_hub_download\n"
        "for names in (('timm/tiny.test', 'none.txt', 'main'), ('timm/other', 'a', 'main'), "
        "('timm/tiny.test', 'config.json', 'dev')):\n"
        "    try: hf_hub_download(names[0], names[1], revision=names[2])\n"
        "    except Exception as error: print(type(error).__name__)"
    )
    done = run_with_hub(loopback.endpoint, tmp_path, code)
    assert done.stdout.split()[1:] == ["RepositoryNotFoundError", "RevisionNotFoundError"], done.stderr
    assert done.stdout.split()[0].endswith("EntryNotFoundError")
