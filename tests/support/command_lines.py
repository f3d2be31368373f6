"""Our command lines run inside this process, which has the heavy libraries at hand already."""

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import backbones.cli
import continual.cli
import zeroshot.cli

Result = tuple[int, str, str]


def installed(name: str) -> Path:
    """Return the entry point that the installer has put beside this Python."""
    return Path(sys.executable).with_name(name)


def in_process(name: str, main: Callable[[], None], *words: object, columns: int = 200) -> Result:
    """Run what the entry point ``name`` runs; return exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [name, *map(str, words)])
        patch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as stop:
            main()
    return stop.value.code or 0, out.getvalue(), err.getvalue()


def backbone(*words: object) -> Result:
    """Run ``backbone`` with these words."""
    return in_process("backbone", backbones.cli.main, *words)


def cil(*words: object) -> Result:
    """Run ``cil-run`` with these words."""
    return in_process("cil-run", continual.cli.main, *words)


def zero(*words: object, columns: int = 200) -> Result:
    """Run ``eae-zero`` with these words."""
    return in_process("eae-zero", zeroshot.cli.main, *words, columns=columns)
