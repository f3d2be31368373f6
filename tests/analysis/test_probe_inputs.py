"""Files of minimal pairs, volumes of checkpoints, learning curves."""

import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pytest

from backbones.analysis.pair_files import equal_pairs, read_pairs
from backbones.analysis.volumes import learning_curve, learning_curves, parse_volumes, read_volume
from backbones.core.errors import FrostlineError

GOOD, BAD = "The cats sleep.", "The cats sleeps."


def test_pairs_are_read_in_every_layout(tmp_path: Path) -> None:
    row = {"sentence_good": GOOD, "sentence_bad": BAD}
    lines = tmp_path / "agreement.jsonl"
    lines.write_text("\n".join(json.dumps(each) for each in (row, {**row, "UID": "other"})) + "\n")
    assert read_pairs(lines) == {"agreement": [(GOOD, BAD)], "other": [(GOOD, BAD)]}
    single = tmp_path / "single.jsonl"
    single.write_text(json.dumps(row))
    assert read_pairs(single) == {"single": [(GOOD, BAD)]}
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps({"a": [[GOOD, BAD], [BAD, GOOD]]}))
    assert read_pairs(whole) == {"a": [(GOOD, BAD), (BAD, GOOD)]}
    (tmp_path / "packed").mkdir()
    for name, pack in (("a.json.xz", lzma.compress), ("b.json.gz", gzip.compress)):
        (tmp_path / "packed" / name).write_bytes(pack(whole.read_bytes()))
    assert read_pairs(tmp_path / "packed") == {"a": [(GOOD, BAD), (BAD, GOOD)] * 2}
    assert set(read_pairs(tmp_path)) == {"agreement", "other", "single", "a"}


def test_a_sample_is_drawn_by_the_seed_from_each_paradigm(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps({name: [[f"{name}{n}", "x"] for n in range(50)] for name in "ab"} | {"c": [["y", "z"]]}))
    found = read_pairs(path, 10, seed=1)
    assert {name: len(rows) for name, rows in found.items()} == {"a": 10, "b": 10, "c": 1}
    assert found == read_pairs(path, 10, seed=1) != read_pairs(path, 10, seed=2)
    assert set(found["a"]) <= set(read_pairs(path)["a"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no minimal pairs"),
        ("{}", "holds no minimal pairs"),
        ('{"a": [["x", "y"], ["x"]]}', "a, row 2 is no pair of a good and a bad sentence"),
        ('{"a": "x", "b": [["x", "y"]]}', "paradigm 'a' is no list of pairs"),
        ('{"sentence": "x", "answer": "y"}', "row 1 is no pair"),
        ('{"sentence_good": "x", "sentence_bad": "y"}\n{"sentence_good": "x"}', "row 2 is no pair"),
        ('{"sentence_good": "x", "sentence_bad": " "}', "row 1 is no pair"),
        ('{"sentence_good": "x", "sentence_bad": "y"}\n{oops', "row 2 is not JSON"),
        ("[1, 2]\n[3, 4]", "row 1 is no pair"),
    ],
)
def test_a_wrong_row_of_pairs_is_named(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(content)
    with pytest.raises(FrostlineError, match=words):
        read_pairs(path)


def test_files_and_counts_of_pairs_are_checked(tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match=r"nowhere\.json cannot be read"):
        read_pairs(tmp_path / "nowhere.json")
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps({"a": [[GOOD, BAD]]}))
    (tmp_path / "broken.xz").write_bytes(b"no archive")
    with pytest.raises(FrostlineError, match=r"broken\.xz cannot be read"):
        read_pairs(tmp_path / "broken.xz")
    with pytest.raises(FrostlineError, match="0 pairs of each paradigm"):
        read_pairs(path, 0)


def test_a_checkpoint_tells_what_it_has_seen(tmp_path: Path) -> None:
    for name, facts in (
        ("a", {"words": 300_000, "steps": 3}),
        ("b", {"images": 5}),
        ("c", {"words": "many"}),
        ("d", {"tokens": 9}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "frostline.json").write_text(json.dumps(facts))
    assert read_volume(str(tmp_path / "a")) == (300_000.0, "words")
    assert read_volume(str(tmp_path / "b")) == (5.0, "images") and read_volume(str(tmp_path / "d")) == (9.0, "tokens")
    assert read_volume(str(tmp_path / "c")) is None and read_volume("minilm") is None
    (tmp_path / "c" / "frostline.json").write_text("{")
    with pytest.raises(FrostlineError, match=r"frostline\.json is not readable JSON .* --volumes"):
        read_volume(str(tmp_path / "c"))


def test_volumes_are_numbers_one_for_each_model() -> None:
    assert parse_volumes("1e5, 3e5,1000000", 3) == [1e5, 3e5, 1e6]
    with pytest.raises(FrostlineError, match="2 volumes are given for 3 models"):
        parse_volumes("1,2", 3)
    for wrong in ("1,x", "1,0", "1,-2", "1,inf"):
        with pytest.raises(FrostlineError, match="is not a number above 0"):
            parse_volumes(wrong, 2)


def test_few_checkpoints_have_a_curve_without_a_fit() -> None:
    curve = learning_curve("accuracy", [1e6, 1e5, 1e4], [3, 2, 1])
    assert curve.x == (1e4, 1e5, 1e6) and curve.y == (1, 2, 3) and curve.monotone
    assert curve.fit is None and "there are 3 different x; add checkpoints" in curve.reason
    assert curve.summary()["fit"] is None


def test_four_checkpoints_have_a_fit_and_untrained_ones_stay_out_of_it() -> None:
    x = np.geomspace(1e5, 1e8, 6)
    y = 50 + 30 / (1 + (x / 3e6) ** -1.2)
    first, second = learning_curves([0, *x], {"up": [49, *y], "down": [81, *(130 - y)]})
    assert first.fit is not None and first.fit.right == pytest.approx(80, abs=0.01) and first.monotone
    assert second.fit is not None and second.fit.right == pytest.approx(50, abs=0.01) and second.monotone
    assert not learning_curve("x", x, [1, 2, 1, 3, 4, 5]).monotone


def test_pairs_that_do_not_differ_are_counted_and_refused_where_no_other_is_there(tmp_path: Path) -> None:
    same = json.dumps({"sentence_good": GOOD, "sentence_bad": GOOD, "UID": "a"})
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{same}\n" + json.dumps({"sentence_good": GOOD, "sentence_bad": BAD, "UID": "a"}))
    assert equal_pairs(read_pairs(path)) == 1
    path.write_text(same)
    with pytest.raises(FrostlineError, match="each of the 1 pairs has the same sentence twice, so that no model"):
        read_pairs(path)


def test_a_line_separator_inside_a_sentence_ends_no_row(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"sentence_good": "a\u2028b", "sentence_bad": "c"}\n')
    assert read_pairs(tmp_path / "pairs.jsonl") == {"pairs": [("a\u2028b", "c")]}
