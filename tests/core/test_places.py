"""Downloads and features live under one folder, which one variable moves."""

from pathlib import Path

import pytest

from backbones.core.places import cache_folder
from backbones.features import store_folder


@pytest.mark.parametrize("folder", [cache_folder, store_folder])
def test_one_variable_moves_everything(monkeypatch, tmp_path, folder):
    monkeypatch.setenv("FROSTLINE_HOME", str(tmp_path))
    assert folder().is_relative_to(tmp_path)
    monkeypatch.setenv("FROSTLINE_HOME", "~/elsewhere")
    assert folder().is_relative_to(Path.home() / "elsewhere")
    monkeypatch.delenv("FROSTLINE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder().is_relative_to(tmp_path / "frostline")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert folder().is_relative_to(Path.home() / ".cache" / "frostline")
    assert not (tmp_path / "frostline").exists()
