"""Importing a package or asking for help loads nothing heavy, and the lazy names are what they say."""

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

HEAVY = (
    "avalanche",
    "matplotlib",
    "numpy",
    "scipy",
    "sklearn",
    "timm",
    "torch",
    "torchvision",
    "transformers",
)
PACKAGES = ("backbones", "benchmarks", "continual", "zeroshot")


def loaded_by(code):
    """Names of the top-level modules that a fresh interpreter has loaded after ``code``."""
    script = f"import sys\n{code}\nimport json\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["report", "--help"], ["predict", "--help"], ["--list", "backbones"], ["--list", "benchmarks"]],
)
def test_help_and_lists_load_nothing_heavy(arguments):
    code = (
        "from continual.cli import app\n"
        "from typer.testing import CliRunner\n"
        f"result = CliRunner().invoke(app, {arguments!r})\n"
        "assert result.exit_code == 0, result.output"
    )
    found = loaded_by(code)
    assert "typer" in found
    assert not found & set(HEAVY)


def test_importing_the_packages_loads_nothing_heavy():
    found = loaded_by(f"import {', '.join(PACKAGES)}")
    assert "continual" in found
    assert not found & set(HEAVY)


@pytest.mark.parametrize("package", ["backbones", "benchmarks", "continual"])
def test_lazy_names_are_complete_and_exist(package):
    module = import_module(package)
    tree = ast.parse(Path(module.__file__).read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in guarded.body for alias in node.names}
    assert typed == module._HOMES
    assert set(module.__all__) == set(module._HOMES) <= set(dir(module))
    for name, home in module._HOMES.items():
        assert getattr(module, name) is getattr(import_module(home), name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'continual' has no attribute 'Egnine'"):
        import_module("continual").Egnine  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Egnine'"):
        exec("from continual import Egnine", {})
