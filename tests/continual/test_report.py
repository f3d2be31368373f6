"""Reports: files that read back the same, figures over seeds, tables, the page, and the errors."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from backbones.core.errors import FrostlineError
from continual.figures_files import read_matrix, read_predictions, write_matrix, write_predictions
from continual.figures_summary import combine, step_figures
from continual.figures_table import STEP_HEADER, markdown, step_rows, table_rows
from continual.metrics import accuracy_matrix, experience_of
from continual.page import page
from continual.report import MultiReport, RunReport, collect, read_report, write_report

CLASSES = ((2, 0), (4,), (1, 3))
LABELS = np.repeat(np.arange(5), [3, 4, 5, 2, 6])


def predicted(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    where = experience_of(LABELS, CLASSES)
    rows = []
    for step in range(len(CLASSES)):
        guess = random.choice(np.concatenate(CLASSES[: step + 1]), len(LABELS))
        rows.append(np.where(where <= step, np.where(random.random(len(LABELS)) < 0.6, LABELS, guess), -1))
    return np.array(rows)


def contents(seed: int = 1993, **changes: Any) -> dict[str, Any]:
    """Return the raw values of a report."""
    predictions = predicted(seed)
    figures = [
        step_figures(row, LABELS, CLASSES, predictions[i - 1] if i else None, step=i)
        for i, row in enumerate(predictions)
    ]
    steps = [
        {**item.model_dump(), "index": i, "classes": CLASSES[i], "train_samples": 40 * len(CLASSES[i])}
        | {"seconds": {"features": 1.5 + i, "head": 0.25}, "forwards": 90}
        for i, item in enumerate(figures)
    ]
    order = [label for part in CLASSES for label in part]
    experiences = [{"classes": part, "train": 40 * len(part), "test": 5} for part in CLASSES]
    names = ["ant", "<bee>", "cat & dog", "dog", "eel"]
    return {
        "title": "frozen + ipt <b>",
        "seed": seed,
        "settings": {"head": "ipt", "out": "runs/a"},
        "environment": {"python": "3.11", "platform": "linux", "packages": {"torch": "2.4"}, "cpu_threads": 1},
        "fingerprints": {"data": "ab" * 32, "backbone": "cd" * 32},
        "stream": {"name": "toy", "class_names": names, "class_order": order, "experiences": experiences},
        "steps": steps,
        "summary": combine(figures).model_dump(),
        "references": {"NCM": [0.9, 0.8, 0.7], "joint": [None, None, 0.95]},
        "parameters": {"backbone": 5_000_000, "trainable_pat": 1200, "trainable_head": 960, "stored": 1920},
        "bytes_per_class": 1536.0,
        "forwards": 270,
        "seconds_by_phase": {"features": 7.5, "head": 0.75},
        "peak_memory_bytes": 512 * 2**20,
        "notes": ["the batch was halved"],
        **changes,
    }


def made(seed: int = 1993, **changes: Any) -> RunReport:
    return RunReport.parse(contents(seed, **changes), "a report")


def test_a_report_reads_back_the_same(tmp_path: Path) -> None:
    report = made()
    write_report(tmp_path / "report.json", report)
    assert read_report(tmp_path / "report.json") == report
    value = json.loads((tmp_path / "report.json").read_text())
    assert (value["schema"], value["kind"]) == (1, "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json"]


def test_several_seeds_read_back_with_their_intervals(tmp_path: Path) -> None:
    report = collect([made(1), made(2), made(3)])
    write_report(tmp_path / "report.json", report)
    again = read_report(tmp_path / "report.json")
    assert isinstance(again, MultiReport)
    assert again.runs == report.runs
    assert again.figures == report.figures
    value = json.loads((tmp_path / "report.json").read_text())
    values = [run.summary.a_last_sample for run in report.runs]
    assert value["figures"]["a_last_sample"]["mean"] == pytest.approx(sum(values) / 3)
    assert value["figures"]["a_last_sample"]["n"] == 3


def test_a_figure_that_no_seed_defines_has_no_interval() -> None:
    whole = made()
    figures = combine([whole.steps[0]])
    short = [made(seed, steps=[whole.steps[0]], summary=figures, references={}) for seed in (1, 2)]
    report = collect(short)
    assert report.figures["forgetting"] is None
    assert report.figures["a_last_sample"].half_width == 0
    assert "-" in [row.value for row in table_rows(report)]


def test_the_matrix_of_a_report_is_that_of_the_predictions() -> None:
    expected = accuracy_matrix(predicted(1993), LABELS, experience_of(LABELS, CLASSES))
    np.testing.assert_array_equal(made().matrix(), expected)


def test_numbers_hold_all_but_what_a_run_cost_or_met() -> None:
    first = made()
    slower = contents(forwards=999, seconds_by_phase={"features": 99.0}, notes=[], peak_memory_bytes=None)
    slower["environment"] = {**slower["environment"], "cpu_threads": 64}
    slower["settings"] = {"out": "elsewhere"}
    for step in slower["steps"]:
        step |= {"seconds": {}, "forwards": 0, "notes": ["resumed"]}
    assert RunReport.parse(slower, "a report").numbers() == first.numbers()
    json.dumps(first.numbers(), allow_nan=False)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 5},
        {"bytes_per_class": 1.0},
        {"references": {}},
        {"fingerprints": {"data": "ab", "backbone": "cd"}},
        {"parameters": {"backbone": 1, "trainable_pat": 0, "trainable_head": 0, "stored": 0}},
    ],
)
def test_numbers_tell_different_runs_apart(change: dict[str, Any]) -> None:
    values = contents()
    assert RunReport.parse(values | change, "a report").numbers() != made().numbers()


def test_numbers_tell_one_different_prediction_apart() -> None:
    values = contents()
    values["steps"][2]["accuracy"] = [*values["steps"][2]["accuracy"][:2], 0.123]
    assert RunReport.parse(values, "a report").numbers() != made().numbers()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("steps", [], "at least 1 item"),
        ("references", {"NCM": [0.5]}, "'NCM' has one value for each of the 3 steps"),
        ("seeed", 3, "unknown key 'seeed'. Did you mean 'seed'?"),
        ("forwards", -1, "greater than or equal to 0"),
        ("bytes_per_class", float("nan"), "finite number"),
        ("schema", 2, "Input should be 1"),
    ],
)
def test_a_report_that_contradicts_itself_is_refused(key: str, value: Any, words: str) -> None:
    with pytest.raises(FrostlineError) as caught:
        made(**{key: value})
    assert words.casefold() in str(caught.value).casefold()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("index", 2, "numbered 0, 1, 2"),
        ("classes", (9,), "those of its experience"),
        ("accuracy", (0.5,), "accuracy of experiences 0 to t"),
        ("a_t_sample", 0.123, "summary of a report is that of its steps"),
    ],
)
def test_a_step_that_contradicts_the_rest_is_refused(field: str, value: Any, words: str) -> None:
    values = contents()
    values["steps"][1][field] = value
    with pytest.raises(FrostlineError, match=words):
        RunReport.parse(values, "a report")


def test_a_stream_gives_each_class_once() -> None:
    values = contents()
    values["stream"]["class_order"] = [0, 1, 2, 3, 4]
    with pytest.raises(FrostlineError, match="every class of its class order once"):
        RunReport.parse(values, "a report")


def test_runs_that_do_not_belong_together_are_not_collected() -> None:
    with pytest.raises(FrostlineError, match=r"seeds \[1, 1\] hold one twice"):
        collect([made(1), made(1)])
    other = made(2)
    other = other.model_copy(update={"stream": other.stream.model_copy(update={"name": "another"})})
    with pytest.raises(FrostlineError, match="one stream and equally many steps"):
        collect([made(1), other])
    with pytest.raises(FrostlineError, match="at least 1 item"):
        collect([])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema": 1, "kind": "run", "ti', "half-written"),
        ("[]", "kind 'none'; a report has kind 'run' or 'multi'"),
        ('{"schema": 1, "kind": "walk"}', "kind 'walk'"),
        ('{"schema": 7, "kind": "run"}', "schema 7; this version reads schema 1"),
        ('{"schema": 1, "kind": "run"}', "title: Field required"),
    ],
)
def test_a_corrupt_report_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(FrostlineError) as caught:
        read_report(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match=r"report\.json does not exist; pass a run folder"):
        read_report(tmp_path / "report.json")


def test_the_matrix_file_reads_back_bit_for_bit(tmp_path: Path) -> None:
    matrix = np.full((4, 5), np.nan)
    matrix[np.tril_indices(4)] = np.random.default_rng(0).random(10)
    write_matrix(tmp_path / "m.csv", matrix)
    np.testing.assert_array_equal(read_matrix(tmp_path / "m.csv"), matrix)
    lines = (tmp_path / "m.csv").read_text().splitlines()
    assert lines[0] == "after_experience,experience_1,experience_2,experience_3,experience_4,experience_5"
    assert lines[1] == f"1,{float(matrix[0, 0])!r},,,,"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no accuracy matrix"),
        ("a,b\n1,0.5\n", "does not begin with 'after_experience'"),
        ("after_experience,experience_1\n1,0.5,0.6\n", "line 2: 3 cells instead of 2"),
        ("after_experience,experience_1\n1,1.5\n", "line 2: '1.5' is no accuracy"),
        ("after_experience,experience_1\n1,zero\n", "'zero' is no accuracy"),
        ("after_experience,experience_1\n1,nan\n", "'nan' is no accuracy"),
    ],
)
def test_a_corrupt_matrix_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(FrostlineError, match=words):
        read_matrix(tmp_path / "m.csv")


def test_an_unreadable_matrix_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match=r"m\.csv does not exist"):
        read_matrix(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(FrostlineError, match="not a readable table"):
        read_matrix(tmp_path / "m.csv")


def test_predictions_read_back(tmp_path: Path) -> None:
    path = tmp_path / "predictions.safetensors"
    where = experience_of(LABELS, CLASSES)
    write_predictions(path, predicted(3), LABELS, where)
    found = read_predictions(path)
    np.testing.assert_array_equal(found.predictions, predicted(3))
    np.testing.assert_array_equal(found.labels, LABELS)
    np.testing.assert_array_equal(found.experiences, where)
    assert found.predictions.dtype == found.labels.dtype == np.int64


def test_predictions_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    where = experience_of(LABELS, CLASSES)
    with pytest.raises(FrostlineError, match=r"they need \(steps, n\)"):
        write_predictions(tmp_path / "p.safetensors", predicted(3)[:, 1:], LABELS, where)
    with pytest.raises(FrostlineError, match="counted from 0"):
        write_predictions(tmp_path / "p.safetensors", predicted(3) - 1, LABELS, where)
    assert not list(tmp_path.iterdir())


GOOD = {"step_0000": torch.zeros(2).long(), "labels": torch.zeros(2).long(), "experiences": torch.zeros(2).long()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": torch.zeros(2)}, "experiences, labels, step_0000, weights; predictions are step_0000"),
        ({"step_0002": torch.zeros(2).long()}, "step_0002; predictions are"),
        ({"labels": torch.zeros(2)}, "int64 of one length"),
        ({"step_0000": torch.zeros(3).long()}, "int64 of one length"),
        ({"step_0000": torch.full((2,), -2)}, "counted from 0"),
    ],
)
def test_other_tensors_are_no_predictions(tmp_path: Path, change: dict[str, torch.Tensor], words: str) -> None:
    save_file(GOOD | change, tmp_path / "p.safetensors")
    with pytest.raises(FrostlineError, match=words):
        read_predictions(tmp_path / "p.safetensors")


def test_a_truncated_predictions_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    write_predictions(path, predicted(3), LABELS, experience_of(LABELS, CLASSES))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FrostlineError, match=r"p\.safetensors is not a readable safetensors file"):
        read_predictions(path)


def test_the_table_shows_figures_and_costs() -> None:
    report = made()
    rows = {row.name: row.value for row in table_rows(report)}
    assert rows["A_last, sample-weighted"] == f"{100 * report.summary.a_last_sample:.2f} %"
    assert rows["forgetting"] == f"{100 * report.summary.forgetting:.2f} points"
    assert rows["trainable parameters"] == "2,160"
    assert rows["backbone forwards"] == "270"
    assert rows["stored per class"] == "1,536 bytes"
    assert rows["peak memory"] == "512 MiB"
    assert rows["seconds: features"] == "7.5"


def test_the_table_of_several_seeds_shows_intervals() -> None:
    report = collect([made(1), made(2)])
    rows = {row.name: row.value for row in table_rows(report)}
    found = report.figures["a_bar_task"]
    assert rows["A_bar, task-weighted"] == f"{100 * found.mean:.2f} ± {100 * found.half_width:.2f} %"
    assert rows["seeds"] == "1, 2"
    assert rows["backbone forwards"] == "540"


def test_one_collected_seed_says_that_it_has_no_interval() -> None:
    rows = table_rows(collect([made(1)]))
    assert rows[0].note == "one seed has no interval"
    assert not any("±" in row.value for row in rows)


def test_the_table_of_steps_counts_from_one() -> None:
    report = made()
    rows = step_rows(report)
    assert [row[:2] for row in rows] == [("1", "2"), ("2", "1"), ("3", "2")]
    assert {len(row) for row in rows} == {len(STEP_HEADER)}
    assert rows[0][STEP_HEADER.index("CDR")] == "-"
    assert rows[2][STEP_HEADER.index("A_t")] == f"{100 * report.steps[2].a_t_sample:.1f}"
    assert rows[1][STEP_HEADER.index("seconds")] == "2.8"


def test_markdown_escapes_bars() -> None:
    assert markdown(["a", "b"], [["x|y", "1"]]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 |\n"


class Outline(HTMLParser):
    """Collects tags, addresses and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_the_page_is_whole_escaped_and_alone(seeds: tuple[int, ...]) -> None:
    runs = [made(seed) for seed in seeds]
    html = page(collect(runs) if len(runs) > 1 else runs[0], {"accuracy.png": b"\x89PNG", "extra.png": b"1"})
    outline = Outline()
    outline.feed(html)
    assert outline.open == []
    assert "b" not in outline.tags
    assert "frozen + ipt <b>" in outline.text
    assert outline.addresses == ["data:image/png;base64,iVBORw==", "data:image/png;base64,MQ=="]
    for words in ("A_last, task-weighted", "the batch was halved", "cd" * 32, "5 classes, 3 of 3 experiences"):
        assert words in outline.text
    assert outline.text.count("Experiences") == len(seeds)
