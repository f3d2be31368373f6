"""Make the helpers in ``tests/support`` importable, and lend a loopback server and the real data to those who ask."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported: one thread for each worker, here and in the processes that tests start. Tiny models gain
# nothing from more, and workers that spin for the same cores lose a lot.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

# pytest puts this folder itself on the path, where tests/backbones would stand for the package of that name.
sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]
sys.path.insert(0, str(Path(__file__).parent / "support"))

from loopback import Loopback  # noqa: E402 (the line above makes it importable)


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests of a file together where several workers run: what they share is then made once."""
    if config.getoption("dist", "no") == "load":  # what -n alone means
        config.option.dist = "loadfile"


@pytest.fixture(scope="module", autouse=True)
def as_many_threads_after() -> Iterator[None]:
    """Give torch the number of threads back that a module, or a command that it ran, has changed."""
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    yield
    if before is not None:
        sys.modules["torch"].set_num_threads(before)


@pytest.fixture(scope="module", params=["1", "0"], ids=["bf16", "no-bf16"])
def native_bf16(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the device counts as one with native bf16: a test whose result depends on it is run both ways."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FROSTLINE_NATIVE_BF16", request.param)
        yield request.param == "1"


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    """A running server on loopback without any files."""
    with Loopback() as server:
        yield server


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data; the test is skipped where it is absent."""
    given = os.environ.get("FROSTLINE_SHARED_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data folder {folder}; set FROSTLINE_SHARED_DATA to one")
    return folder
