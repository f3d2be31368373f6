"""``backbone probe`` as a user meets it."""

import json
from pathlib import Path

import pytest
from command_lines import backbone
from text_makers import csv_bytes
from tiny_runs import write_image_folders, write_tiny_backbone

from zeroshot.testing_models import tiny_bert


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small texts, images, backbones and files of questions."""
    root = tmp_path_factory.mktemp("probe")
    words = {"pay": ("attack", "police"), "fly": ("airport", "capital"), "buy": ("company", "market")}
    rows = [(f"the {words[c][n % 2]} and any other place {n}", c) for n in range(6) for c in words]
    (root / "texts").mkdir()
    for split, part in (("train", rows), ("test", rows[:6])):
        (root / "texts" / f"{split}.csv").write_bytes(csv_bytes(part))
    (root / "single").mkdir()
    for split in ("train", "test"):
        (root / "single" / f"{split}.csv").write_bytes(csv_bytes([("a text", "one"), ("another", "one")]))
    (root / "empty.csv").write_bytes(csv_bytes([]))
    write_image_folders(root / "images", train=8)
    write_tiny_backbone(root / "vit")
    for seed in range(4):
        folder = tiny_bert(root / f"bert{seed}", seed=seed)
        (folder / "frostline.json").write_text(json.dumps({"words": 1000 * 4**seed}))
    pairs = {"agreement": [["Two soldiers were injured.", "Two soldiers was injured."]] * 3}
    (root / "pairs.json").write_text(json.dumps(pairs))
    cloze = {"sentence": "Two soldiers met an [MASK] there.", "answer": "agent"}
    (root / "cloze.jsonl").write_text(json.dumps(cloze))
    spans = [
        {
            "text": "the police were calm",
            "targets": [{"span1": [1, 2], "label": "who"}, {"span1": [3, 4], "label": "how"}],
        }
    ] * 6
    (root / "spans.jsonl").write_text("\n".join(map(json.dumps, spans)))
    return root


def test_a_whole_study(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = [str(place / f"bert{seed}") for seed in range(4)]
    words = ["--data-root", place / "texts", "--out", out]
    files = ["--pairs", place / "pairs.json", "--cloze", place / "cloze.jsonl"]
    code, told, err = backbone("probe", *names, *words, *files)
    assert code == 0, err
    assert "18 training samples of 3 classes, 15 to learn from, 3 to judge by" in " ".join(told.split())
    said = told.index("about "), told.index("Which backbone, which layer")
    assert said[0] < said[1], "the time is told first"
    assert "use: cil-run --backbone" in told and "--benchmark text --data-root" in told
    pictures = {"layers.png", "mdl.png", "portions.png", "pairs.png", "curve-1.png"}
    assert {"report.html", "report.json", *pictures} <= {path.name for path in out.iterdir()}
    facts = json.loads((out / "report.json").read_text())["facts"]
    assert [found["seen"] for found in facts["backbones"]] == [1000, 4000, 16000, 64000]
    for found in facts["backbones"]:
        assert [layer["layer"] for layer in found["layers"]] == ["embeddings", "0", "1", "mix"]
        assert found["cloze"]["questions"] == 1 and len(found["minimal pairs"]["accuracy"]) == 1
    tables = json.loads((out / "report.json").read_text())["tables"]
    kbit = [float(row[5]) for row in tables[0]["rows"]]
    assert kbit == sorted(kbit) and len(kbit) == 16, "the best code is first"
    assert set(facts["curves"]) >= {"code length of the last layer, kbit", "minimal pairs, %", "cloze P@1, %"}
    assert facts["curves"]["code length of the last layer, kbit"]["fit"] is not None
    page = (out / "report.html").read_text()
    assert "Learning curves" in page and "Minimal pairs" in page and "Cloze questions" in page


def test_spans_and_fine_tuning(place: Path, tmp_path: Path) -> None:
    words = [
        "--data-root",
        place / "texts",
        "--what",
        "curve,spans",
        "--spans",
        place / "spans.jsonl",
        "--finetune",
        "3",
    ]
    code, out, err = backbone("probe", place / "bert0", *words, "--out", tmp_path / "out")
    assert code == 0, err
    assert "about 1 s for 1 backbone, and fine-tuning, which tells its own" in out
    assert {"spans.png", "examples.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
    found = json.loads((tmp_path / "out" / "report.json").read_text())["facts"]["backbones"][0]
    assert "layers" not in found and [layer["layer"] for layer in found["spans"]] == ["embeddings", "0", "1", "mix"]
    assert found["spans"][0]["linear"] == 1.0, "the word alone tells the class"
    assert [point["samples"] for point in found["fine-tuned"]] == [3, 6, 15]
    assert [point["samples"] for point in found["head on frozen features"]] == [3, 6, 15]


def test_images_and_the_advice(place: Path, tmp_path: Path) -> None:
    words = ["--benchmark", "folder", "--data-root", place / "images", "--out", tmp_path / "out"]
    code, out, err = backbone("probe", place / "vit", *words)
    assert code == 0, err
    assert f"use: cil-run --backbone {place / 'vit'}" in out
    assert "the last layer" in out and "compresses the labels" in out
    facts = json.loads((tmp_path / "out" / "report.json").read_text())["facts"]
    assert facts["learned from"] + facts["judged by"] == 32 and facts["advice"]["backbone"] == str(place / "vit")


def test_few_checkpoints_have_curves_without_fits(place: Path, tmp_path: Path) -> None:
    names = [place / f"bert{seed}" for seed in range(3)]
    code, out, err = backbone("probe", *names, "--pairs", place / "pairs.json", "--out", tmp_path / "out")
    assert code == 0, err
    assert "there are 3 different x; add checkpoints until there are 4" in " ".join(out.split())
    curves = json.loads((tmp_path / "out" / "report.json").read_text())["facts"]["curves"]
    assert curves["minimal pairs, %"]["fit"] is None and len(curves["minimal pairs, %"]["x"]) == 3
    assert (tmp_path / "out" / "curve-1.png").is_file()


def test_volumes_can_be_given(place: Path, tmp_path: Path) -> None:
    names = [place / "bert0", place / "bert1"]
    words = ["--pairs", place / "pairs.json", "--volumes", "5,7", "--out", tmp_path / "out"]
    code, _, err = backbone("probe", *names, *words)
    assert code == 0, err
    assert json.loads((tmp_path / "out" / "report.json").read_text())["facts"]["curves"]["minimal pairs, %"]["x"] == [
        5,
        7,
    ]


TEXTS, IMAGES = ["--data-root", "{place}/texts"], ["--benchmark", "folder", "--data-root", "{place}/images"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{place}/bert0", *TEXTS, "--what", "layer"], "unknown part of a probe 'layer'. Did you mean 'layers'"),
        (["{place}/bert0", *TEXTS, "--what", ","], "names no part"),
        (["{place}/bert0", *TEXTS, "--what", "pairs"], "the part 'pairs' needs a file; pass --pairs FILE"),
        (["{place}/bert0", *TEXTS, "--what", "layers", "--cloze", "{place}/cloze.jsonl"], "leaves 'cloze' out"),
        (["{place}/bert0"], "there is nothing to probe with"),
        (["{place}/bert0", "--what", "layers"], "no labelled data is named"),
        (["{place}/vit", *TEXTS], "takes images, but the data are texts"),
        (["{place}/bert0", *IMAGES], "takes texts, but the data are images"),
        (["{place}/bert0", "--data-root", "{place}/single"], "are of one class, 'one'"),
        (["{place}/bert0", "--data-root", "{place}/empty.csv"], "empty.csv"),
        (["{place}/bert0", "{place}/bert0", *TEXTS], "is named twice"),
        (["{place}/bert0", "{place}/bert1", *TEXTS, "--volumes", "1e5"], "1 volumes are given for 2 models"),
        (["{place}/bert0", "{place}/bert1", *TEXTS, "--weights", "x"], "write NAME=FILE"),
        (["{place}/bert0", *TEXTS, "--weights", "bret=x"], "unknown backbone in --weights 'bret'"),
        (["{place}/bert0", *TEXTS, "--finetune", "5"], "add curve to --what"),
        (["{place}/bert0", *TEXTS, "--held-out", "1.5"], "a share of 1.5 cannot be held out"),
        (["{place}/bert0", "--pairs", "{place}/cloze.jsonl"], "row 1 is no pair"),
        (["{place}/bert0", "--cloze", "{place}/pairs.json"], "row 1 has no sentence"),
        (["{place}/bert0", "--spans", "{place}/cloze.jsonl"], "row 1 is no text with targets"),
        (["minilm", "--pairs", "{place}/pairs.json"], "lack the masked language-model head"),
        (["minilmm", *TEXTS], "unknown backbone 'minilmm'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_word_is_named_and_nothing_is_written(place: Path, tmp_path: Path, words: list[str], said: str) -> None:
    given = [word.format(place=place) for word in words]
    code, _, err = backbone("probe", *given, "--out", tmp_path / "out")
    assert code == 2 and said in " ".join(err.split()), err
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_refused_first(place: Path, tmp_path: Path) -> None:
    code, _, err = backbone("probe", "nowhere", *[word.format(place=place) for word in TEXTS], "--out", tmp_path)
    assert code == 2 and "exists already" in err
