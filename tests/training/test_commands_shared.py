"""What the commands of ``backbone`` share: data by name, the screen."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from backbones.cli_view import Screen
from backbones.commands.shared import load, read_task
from backbones.core.errors import FrostlineError
from backbones.page import Table


def test_data_are_read_by_name_and_thinned_class_by_class():
    task = read_task("split-digits", None, train=3, test=2, seed=1)
    assert np.bincount(task.train.labels).tolist() == [3] * 10 and np.bincount(task.test.labels).tolist() == [2] * 10
    assert task.train.modality == "image" and task.train.samples[0].shape[2] == 3
    again = read_task("split-digits", None, train=3, test=2, seed=1)
    assert all((a == b).all() for a, b in zip(task.train.samples, again.train.samples, strict=True))


def test_a_place_alone_tells_texts_from_images(tmp_path):
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps({part: [["yes", "a"], ["no", "b"]] for part in ("train", "test")}))
    assert read_task(None, str(texts)).train.modality == "text"
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (len(name), 2, 3)).save(tmp_path / "images" / part / name / "1.png")
    task = read_task(None, str(tmp_path / "images"))
    assert task.train.modality == "image" and task.train.classes == ("cat", "dog")


def test_what_cannot_be_learned_from_is_refused(tmp_path):
    with pytest.raises(FrostlineError, match="no labelled data is named; pass --data-root"):
        read_task(None, None)
    with pytest.raises(FrostlineError, match=r"unknown benchmark 'split-digit'\. Did you mean 'split-digits'"):
        read_task("split-digit", None)
    with pytest.raises(FrostlineError, match=r"data root /no/where does not exist.*images or texts.*\.csv"):
        read_task(None, "/no/where::text=body")
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps({part: [["yes", "a"], ["no", "a"]] for part in ("train", "test")}))
    with pytest.raises(FrostlineError, match="of one class, 'a'"):
        read_task("text", str(texts))


def test_notes_of_a_loader_are_told_on_standard_error(capsys):
    assert load("bundled:vit-micro").width == 192
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_the_screen_shows_lines_and_tables_and_bars_only_on_a_terminal(terminal, monkeypatch):
    monkeypatch.setattr("backbones.cli_view.SHOWN_AFTER", -1.0)
    out = io.StringIO()
    with Screen(Console(file=out, force_terminal=terminal, width=100)) as screen:
        screen.progress("working", 0, 3)
        screen.progress("working", 1, 3)
        screen.say("[b]said[/b]")
        screen.progress("working", 3, 3)
        screen.table(Table(("model", "points"), [("[x]", "1.25"), ("y", "-2")], "Scores"))
    text = out.getvalue()
    assert "[b]said[/b]" in text and "Scores" in text and "[x]" in text and "1.25" in text
    assert ("working" in text) == terminal
