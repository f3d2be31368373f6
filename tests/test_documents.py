"""The documents tell the truth: their Python runs, their commands parse, their links lead somewhere."""

import re
import shlex
import sys
import types
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from backbones import BACKBONES, PATS
from backbones.cli import app as backbone
from benchmarks import BENCHMARKS
from benchmarks.ontologies import ONTOLOGIES
from benchmarks.passages import FORMATS
from continual import HEADS
from continual.cli import app, registry
from zeroshot import CONSTRAINTS, SCORERS
from zeroshot.cli import LISTS
from zeroshot.cli import app as zero

ZERO_COMMANDS = ("predict", "explain", "render", "evaluate", "convert", "lint", "schema")
ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_python_example_of_event_arguments_predicts(capsys):
    _, code, _ = blocks(README, "python")
    assert len(code.strip().splitlines()) <= 12
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split()[0] for line in lines] == ["Conflict:Attack", "Life:Die"]
    assert "'Attacker'" in lines[0] and "'Victim'" in lines[1]


def test_the_python_example_of_the_readme_learns(capsys):
    *_, code = blocks(README, "python")
    assert len(code.strip().splitlines()) <= 12
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == len(names["stream"].experiences) == 5
    accuracy = [float(line.rpartition(" ")[2]) for line in lines]
    for count, found in enumerate(accuracy, start=1):
        assert 1.5 / (2 * count) < found <= 1  # guessing among the classes seen gives 1 / (2 * count)


def test_the_python_example_of_avalanche_learns(capsys):
    code, *_ = blocks(README, "python")
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert "Accuracy_On_Trained_Experiences" in capsys.readouterr().out
    trained = {id(p) for p in names["model"].parameters() if p.requires_grad}
    held = {id(p) for group in names["strategy"].optimizer.param_groups for p in group["params"]}
    assert held and held <= trained
    metrics = names["strategy"].evaluator.get_last_metrics()
    accuracy = [value for key, value in metrics.items() if "Accuracy_On_Trained_Experiences" in key]
    assert 0.5 < accuracy[0] <= 1  # guessing among ten classes gives 0.1


@pytest.fixture
def guest(monkeypatch):
    """The example package of CONTRIBUTING.md, importable as ``frost_shift``."""
    code, check = blocks(CONTRIBUTING, "python")
    module = types.ModuleType("frost_shift")
    monkeypatch.setitem(sys.modules, "frost_shift", module)
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    return module, check


def test_the_pat_of_the_contributing_page_meets_the_contract(guest):
    _module, check = guest
    exec(compile(check, "CONTRIBUTING.md", "exec"), {})


def test_the_contract_notices_a_broken_version_of_that_pat(guest):
    from backbones import check_pat
    from backbones.testing import image_batch, tiny_vit

    module, _check = guest

    class Wrong(module.Shift):
        def parameter_count(self, backbone):
            return super().parameter_count(backbone) + 1

    backbone = tiny_vit()
    with pytest.raises(AssertionError, match="parameters were grown"):
        check_pat(Wrong(), backbone, image_batch(backbone))


def test_the_entry_point_of_the_contributing_page_is_one_that_is_read(guest):
    import tomllib

    module, _check = guest
    (text,) = blocks(CONTRIBUTING, "toml")
    ((group, names),) = tomllib.loads(text)["project"]["entry-points"].items()
    assert group == PATS.group
    ((_name, target),) = names.items()
    package, _, attribute = target.partition(":")
    assert package == module.__name__ and hasattr(module, attribute)


def test_the_groups_of_the_contributing_table_are_those_of_the_registries():
    named = set(re.findall(r"^\| \w+ \| `([a-z.]+)` \|", CONTRIBUTING, flags=re.MULTILINE))
    every = (HEADS, BENCHMARKS, BACKBONES, SCORERS, CONSTRAINTS, FORMATS, ONTOLOGIES)
    assert named == {each.group for each in every}


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_links_lead_to_files(text):
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in links if not (ROOT / link).exists()] == []


def option_words(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))


def test_every_option_in_the_readme_exists():
    help_ = "".join(
        CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"}).output
        for command in ([], ["report"], ["predict"])
    )
    help_ += "".join(
        CliRunner().invoke(zero, [*command, "--help"], env={"COLUMNS": "200"}).output
        for command in ([], *([each] for each in ZERO_COMMANDS))
    )
    # the commands of `backbone` are parsed below
    rest = "\n".join(line for line in README.splitlines() if not line.startswith("backbone "))
    assert option_words(rest) - option_words(help_) - {"--help", "--from", "--pairs", "--cloze", "--spans"} == set()


def commands_of(text):
    """Return every command line of `backbone` in shell blocks, as words."""
    code = "\n".join(blocks(text, "sh")).replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in code.splitlines() if line.startswith("backbone ")]


@pytest.mark.parametrize("words", commands_of(README), ids=" ".join)
def test_every_backbone_command_of_the_readme_parses(words):
    command, rest = get_command(backbone), list(words)
    while hasattr(command, "commands"):
        name = rest.pop(0)
        assert name in command.commands, f"backbone has no command {name!r}"
        command = command.commands[name]
    command.make_context(command.name, rest)  # raises for an unknown option, a wrong value or a missing one


def test_the_readme_shows_every_command_of_backbone():
    def leaves(command, path=()):
        if not hasattr(command, "commands"):
            return {path}
        return {leaf for name, each in command.commands.items() for leaf in leaves(each, (*path, name))}

    shown = {tuple(words[:2]) for words in commands_of(README)} | {tuple(words[:1]) for words in commands_of(README)}
    assert {path for path in leaves(get_command(backbone)) if path not in shown} <= {("difference",)}


def test_the_readme_names_every_command_and_list_of_eae_zero():
    shown = CliRunner().invoke(zero, ["--help"], env={"COLUMNS": "200"}).output
    for command in ZERO_COMMANDS:
        assert f"`eae-zero {command}" in README and command in shown
    for what in LISTS:
        assert f"`{what}`" in README or f"--list {what}`" in README


def test_the_readme_names_every_list_and_command():
    for what in ("backbones", "pats", "heads", "benchmarks"):
        assert f"`{what}`" in README or f"--list {what}" in README
        assert registry(what).names()
    for command in ("report", "predict"):
        assert f"`cil-run {command} DIR" in README
