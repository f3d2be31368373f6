"""``eae-zero`` through its installed entry point."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_lines import zero

BIN = Path(sys.executable).with_name("eae-zero")


def installed(*words, stdin=None):
    """Run the installed entry point in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [BIN, *map(str, words)], input=stdin, capture_output=True, text=True, env=environment, timeout=180
    )


def here(*words, stdin=""):
    """Run what the entry point runs in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8"))
        return subprocess.CompletedProcess(words, *zero(*words, columns=100))


def done(*words, run=here, **options):
    found = run(*words, **options)
    assert found.returncode == 0, found.stderr
    assert "Traceback" not in found.stderr
    return found


def refused(*words, run=here, **options):
    found = run(*words, **options)
    assert found.returncode == 2, (found.returncode, found.stderr)
    assert "Traceback" not in found.stderr and "Traceback" not in found.stdout
    return found.stderr


@pytest.fixture(scope="module")
def attack(tmp_path_factory):
    """The command of the README once: its table, and its results in a file."""
    folder = tmp_path_factory.mktemp("attack")
    words = ("predict", "attack", "--out", folder / "attack.json", "--cache", folder / "scores.sqlite")
    table = done(*words, run=installed)
    return table, folder


def test_help_is_quick_and_names_every_command():
    code = (
        "import sys, zeroshot.cli; print([m for m in ('torch', 'transformers', 'scipy', 'rich') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in found.stdout and "transformers" not in found.stdout and "scipy" not in found.stdout
    words = done("--help", run=installed).stdout
    for name in ("predict", "explain", "render", "evaluate", "convert", "schema", "lint"):
        assert name in words


def test_predict_shows_a_table_and_writes_json(attack):
    found, folder = attack
    assert "E1: Conflict:Attack" in found.stdout and "Instrument" in found.stdout and "optimal" in found.stdout
    assert "1 document written" in found.stderr
    result = json.loads((folder / "attack.json").read_text(encoding="utf-8"))
    assert result["ontology"] == "ace" and result["solver"]["status"] == "optimal"
    for event in result["events"]:
        for argument in event["arguments"]:
            assert argument["role"] and argument["alternatives"] and "changed_by" in argument
    assert any("gold roles" in note for note in result["notes"])


def test_a_cache_gives_the_same_answer(attack):
    _, folder = attack
    again = done("predict", "attack", "--json", "--cache", folder / "scores.sqlite")
    first, second = json.loads((folder / "attack.json").read_text(encoding="utf-8")), json.loads(again.stdout)
    for each in (first, second):
        each["solver"].pop("seconds")
    assert first == second


def test_standard_input_and_json_lines_keep_what_is_done_before_a_bad_line(attack, tmp_path):
    _, folder = attack
    from zeroshot.samples import samples

    good = json.dumps(json.loads(samples()["attack"].read_text(encoding="utf-8")))
    out = tmp_path / "out.jsonl"
    words = ("predict", "-", "--out", out, "--cache", folder / "scores.sqlite")
    message = refused(*words, stdin=good + "\n{bad\n" + good.replace("attack", "later") + "\n")
    assert "line 2" in message and len(out.read_text(encoding="utf-8").splitlines()) == 1
    skipping = done(*words, "--on-error", "skip", stdin=good + "\n{bad\n" + good + "\n")
    assert "skipped" in skipping.stderr and len(out.read_text(encoding="utf-8").splitlines()) == 2


def test_raw_text_with_only_a_trigger(tmp_path):
    text = tmp_path / "news.txt"
    text.write_text("On Monday rebels ambushed two trucks near Goma.", encoding="utf-8")
    found = done("predict", text, "--trigger", "ambushed", "--type", "Conflict:Attack", "--ontology", "ace", "--json")
    result = json.loads(found.stdout)
    (event,) = result["events"]
    spans = {mention["id"]: mention["text"] for mention in result["entities"]}
    assert {"rebels", "Goma"} <= set(spans.values())
    assert {spans[each["entity"]] for each in event["arguments"] + event["rejected"]} == set(spans.values())


def test_explain_says_why_and_filters(attack):
    _, folder = attack
    found = done("explain", "attack", "--event", "E2", "--cache", folder / "scores.sqlite").stdout
    assert "E2" in found and "E1," not in found and "By its score alone" in found
    assert "no document has a pair with event 'E9'" in refused(
        "explain", "attack", "--event", "E9", "--cache", folder / "scores.sqlite"
    )


def test_render_draws_saved_results_without_a_model(attack):
    _, folder = attack
    page = folder / "page.html"
    done("render", folder / "attack.json", "--out", page)
    html = page.read_text(encoding="utf-8")
    assert html.startswith("<!") and "opened fire" in html and not re.search(r"(src|href)=.?https?:", html)


def test_evaluate_predicts_and_compares(attack, tmp_path):
    _, folder = attack
    cache = ("--cache", folder / "scores.sqlite")
    out = tmp_path / "rows.json"
    found = done("evaluate", "attack", "--ablate", "--baselines", "--bootstrap", "50", "--out", out, *cache).stdout
    for name in ("all constraints", "without cross-event", "random", "majority (oracle)", "release's loop", "greedy"):
        assert name in found
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    result = json.loads((folder / "attack.json").read_text(encoding="utf-8"))
    assert rows[0]["report"]["accuracy"]["total"] == sum(len(event["arguments"]) for event in result["events"])
    saved = done("evaluate", "attack", "--predicted", folder / "attack.json", "--bootstrap", "0", "--json")
    report = json.loads(saved.stdout)["rows"][0]["report"]
    assert report["classification"]["correct"] == rows[0]["report"]["classification"]["correct"]
    assert "leave one out" in refused("evaluate", "attack", "--predicted", folder / "attack.json", "--ablate")
    assert "holds no results" in refused("evaluate", "attack", "--predicted", out)


def test_convert_writes_other_formats_and_back(tmp_path):
    there, back = tmp_path / "there.json", tmp_path / "back.json"
    found = done("convert", "attack", "--to", "oneie", "--out", there)
    assert "has no place for" in found.stderr
    done("convert", there, "--to", "native", "--out", back)
    words = json.loads(back.read_text(encoding="utf-8"))
    assert {event["type"] for event in words["events"]} == {"Conflict:Attack", "Life:Die"}
    assert "Did you mean 'native'" in refused("convert", "attack", "--to", "nativ")


def test_schema_and_lists_and_lint(tmp_path):
    assert json.loads(done("schema").stdout)["title"] == "Passage"
    for what, name in (
        ("scorers", "embedding"),
        ("constraints", "maps"),
        ("ontologies", "kairos"),
        ("formats", "rams"),
    ):
        assert name in done("--list", what).stdout
    assert "Did you mean 'scorers'" in refused("--list", "scorer")
    assert "ace: 0 errors" in done("lint", "ace").stdout
    bad = tmp_path / "bad.toml"
    bad.write_text(
        'name = "bad"\n[events.Attack.roles.Attacker]\n[events.Attack.roles.Target]\n[events.Attack]\n'
        'exclusions = [["Attacker", "Target"]]\nimplies = [["Attacker", "Target"]]\n',
        encoding="utf-8",
    )
    found = here("lint", bad)
    assert found.returncode == 1 and "error" in found.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("predict", "nowhere.json"), "nowhere.json"),
        (("predict", "attack", "--ontology", "acee"), "Did you mean 'ace'"),
        (("predict", "attack", "--scorer", "embeding"), "Did you mean 'embedding'"),
        (("predict", "attack", "--scorer", "embedding*x"), "NAME*WEIGHT"),
        (("predict", "attack", "--scorer", "embedding,colour=red"), "unknown key 'colour'"),
        (("predict", "attack", "--lm", "somewhere"), "--scorer masked"),
        (("predict", "attack", "--scorer", "masked", "--lm", "/no/such/folder"), "/no/such/folder"),
        (("predict", "attack", "--scorer", "masked", "--lm", "minilm"), "head"),
        (("predict", "attack", "--mode", "paper"), "has no setting 'mode'"),
        (("predict", "attack", "--calibrate", "pmii"), "Did you mean 'pmi'"),
        (("predict", "attack", "--without", "map"), "Did you mean 'maps'"),
        (("predict", "attack", "--rule-set", "maps=hard"), "maps.weight=hard"),
        (("predict", "attack", "--rule-set", "maps.weigth=1"), "Did you mean 'weight'"),
        (("predict", "attack", "--candidates", "entity"), "candidates"),
        (("predict", "attack", "--reach", "x"), "reach"),
        (("predict", "attack", "--best", "0"), "best"),
        (("predict", "attack", "--on-error", "ignore"), "ignore"),
        (("predict", "attack", "--out", "x.txt"), ".jsonl"),
        (("predict", "strike"), "trigger"),
    ],
)
def test_wrong_words_are_answered_with_the_right_ones(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(*words)


def test_an_input_is_never_written_over(tmp_path):
    from zeroshot.samples import samples

    copy = tmp_path / "a.jsonl"
    copy.write_bytes(samples()["stream"].read_bytes())
    assert "one of the inputs" in refused("predict", copy, "--out", copy)
    assert copy.read_bytes() == samples()["stream"].read_bytes()


def test_rules_that_contradict_each_other_are_named(tmp_path):
    from zeroshot.samples import samples

    document = json.loads(samples()["attack"].read_text(encoding="utf-8"))
    pair = {"event": "E1", "entity": document["events"][0]["arguments"][0]["entity"]}
    document["constraints"] = [
        {"rule": "force", "role": "Attacker", **pair},
        {"rule": "force", "role": "Target", **pair},
    ]
    path = tmp_path / "conflict.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    message = refused("predict", path)
    assert "Attacker" in message and "Target" in message
