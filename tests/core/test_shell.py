"""What the three command lines share: light answers, versions, completion, logs, and texts that act on nothing."""

import json
import os
import re
import subprocess
import sys
import time

import pytest
from command_lines import backbone, cil, zero
from rich.console import Console

from backbones import cli_view
from backbones.cli_view import Grid, Log, Screen
from backbones.core.outputs import guard_folder, made_by
from backbones.core.visible import dumps, visible
from backbones.page import Prose, render
from backbones.page import Table as PageTable

HEAVY = {"torch", "transformers", "timm", "scipy", "sklearn", "matplotlib"}
WORDS = {
    "continual": """--help
        -h
        --version
        --list pats
        --list heads
        --list backbones
        --list benchmarks
        --list nope
        --nope
        --benchmark nope
        --pat lora+nope
        --head nope
        --seeds x
        --precision x
        --out /proc/nowhere/run
        report nope
        predict nope x.png""",
    "zeroshot": """-h
        --version
        --list scorers
        --list constraints
        --list ontologies
        --list formats
        predict -h
        predict nope.json
        predict attack --ontology nope
        predict attack --scorer nope
        predict attack --calibrate nope
        predict attack --without nope
        predict attack --best 0
        predict attack --on-error nope
        predict attack --out nope.txt
        predict attack --precision nope
        evaluate attack --predicted nope.json
        render attack --out /proc/nowhere/page.html
        convert attack
        convert attack --to nope
        schema
        lint ace""",
    "backbones": """-h
        --version
        pretrain text -h
        distill minilm --out new
        distill minilm --out new --data nope
        compress minilm --out new --benchmark nope
        compress minilm --out new --bits x
        export minilm --out new --format nope
        export minilm --out /proc/nowhere/new
        probe minilm --out new
        merge minilm nope --out new
        compose minilm nope --out new
        difference minilm nope --out new.safetensors
        pretrain text nope --out new
        pretrain images nope --out new
        infuse acquire nope --out new
        infuse train minilm --pairs nope --out new
        infuse distill nope --corpus nope --out new
        offsite split minilm --out new --distil nope
        offsite tune nope --pat lora --out new
        offsite plug minilm nope --out new""",
}
LIGHT = """
import contextlib, io, json, sys
import {package}.cli
found = []
for words in {words!r}:
    sys.argv = ["x", *words.split()]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            {package}.cli.main()
        except SystemExit as stop:
            code = stop.code
    found.append([words.strip(), code or 0, sorted({heavy!r} & sys.modules.keys())])
print(json.dumps(found))
"""


@pytest.mark.parametrize("package", WORDS)
def test_help_lists_and_wrong_words_are_answered_without_torch(package, tmp_path):
    code = LIGHT.format(package=package, words=WORDS[package].splitlines(), heavy=HEAVY)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    for words, code, heavy in json.loads(ran.stdout):
        assert not heavy, words
        good = re.search(r"-h$|--help|--version|--list (?!nope)|schema|lint|convert attack$", words) is not None
        assert code == (0 if good else 2), words


@pytest.mark.parametrize("run", [cil, zero, backbone])
def test_version_and_short_help(run):
    code, out, _ = run("--version")
    assert code == 0 and out.strip() == made_by() and re.fullmatch(r"frostline \d+\.\d+.*", out.strip())
    assert run("-h")[1] == run("--help")[1] and "--install-completion" in run("-h")[1]


@pytest.mark.parametrize("name", ["cil-run", "eae-zero", "backbone"])
def test_a_shell_completes_options(name):
    package = {"cil-run": "continual", "eae-zero": "zeroshot", "backbone": "backbones"}[name]
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    code = f"import sys; sys.argv = ['{name}']; import {package}.cli; {package}.cli.main()"
    asked = {**os.environ, variable: "complete_bash", "COMP_WORDS": f"{name} --ver", "COMP_CWORD": "1"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=asked, check=False)
    assert "--version" in ran.stdout


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(cli_view.time, "monotonic", made)
    monkeypatch.setattr(Log, "_heed", lambda self: None)  # the thread that speaks for silent work has its own test
    return made


def test_a_log_has_rate_and_time_left_and_is_neither_silent_nor_loud(clock, capsys):
    log = Log()
    for done in range(1001):
        log.progress("reading\n\x1b[1m", done, 1000)
        clock.now += 0.1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "reading ␛[1m: 20/1,000, 0:02 so far, 10/s, 1:38 left"
    assert 8 <= len(lines) <= 12 and "1,000/1,000" in lines[-1]
    for _ in range(100):  # short phases are said together
        log.progress("short", 0, 1)
        clock.now += 1
        log.progress("short", 1, 1)
    assert 3 <= len(capsys.readouterr().err.splitlines()) <= 12
    quiet = Log()
    for done in range(3):
        quiet.progress("quick", done, 2)
    assert capsys.readouterr().err == ""


def test_work_that_reports_nothing_is_spoken_for(capsys, monkeypatch):
    monkeypatch.setattr(cli_view, "FIRST_LINE", 0.0)
    with Screen(Console(file=sys.stderr, force_terminal=False)) as screen:
        screen.progress("silent", 0, 3)
        capsys.readouterr()
        until = time.monotonic() + 10
        said = ""
        monkeypatch.setattr(cli_view, "SOON", 0.0)
        while "silent" not in said and time.monotonic() < until:
            time.sleep(0.05)
            said += capsys.readouterr().err
    assert said.startswith("silent: 0/3, 0:0")


WICKED = "\x1b[31m\x9b\x07\r\u202e\u2066[red]x[/]"


def test_nothing_that_is_shown_acts(capsys):
    assert visible("a\tb\nc\r\nd") == "a\tb\nc\nd" and visible("אב\u200f") == "אב\u200f"
    assert json.loads(dumps({"a": WICKED})) == {"a": WICKED}
    table = Grid(WICKED, WICKED, "n")
    table.add_row(WICKED, "1")
    with Screen(Console(width=200)) as screen:
        screen.say(WICKED)
        screen.console.print(table)
        screen.table(PageTable((WICKED, "n"), [(WICKED, "1")], WICKED))
    shown = capsys.readouterr().out
    page = render(WICKED, WICKED, [Prose(WICKED), PageTable((WICKED,), [(WICKED,)])], {WICKED: WICKED})
    for text in (shown, page, dumps(WICKED)):
        assert not set(text) & set("\x1b\x9b\x07\r\u202e\u2066")
    assert shown.count("[red]x[/]") == 7


def test_a_folder_to_make_lies_in_no_data(tmp_path):
    from backbones.core.errors import FrostlineError

    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "plain").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    guard_folder(tmp_path / "data" / "run", [tmp_path / "data", None])  # beside what is read
    for out in ("data/train/run", "link/deep/run"):
        with pytest.raises(FrostlineError, match="read as data"):
            guard_folder(tmp_path / out, [tmp_path / "data", tmp_path / "plain"])
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FrostlineError, match="exists already"):
        guard_folder(tmp_path / "gone")
    with pytest.raises(FrostlineError, match="too long"):
        guard_folder(tmp_path / ("x" * 300))
