"""What ``eae-zero`` writes: nothing that is read or foreign is written over, and what is done outlives any end."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from command_lines import zero

from zeroshot import cli_output
from zeroshot.cli_output import remaining, sink
from zeroshot.samples import samples

TEXT = samples()["attack"].read_bytes()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to be in, with an input, a folder of inputs, and a file of the user's."""
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_bytes(TEXT)
    Path("many").mkdir()
    Path("many/b.json").write_bytes(TEXT)
    Path("mine.html").write_text("<p>mine</p>")
    Path("mine.json").write_text('{"mine": 1}')
    os.link("a.json", "hard.json")
    Path("soft.json").symlink_to("a.json")
    Path("out.json").symlink_to("many/b.json")
    return tmp_path


def bytes_of(folder):
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        "convert a.json --out a.json",
        "convert a.json --out soft.json",
        "convert a.json --out hard.json",
        "convert a.json --out ./many/../a.json --force",
        "convert many --out many/c.json",
        "convert many --out many/deep/c.jsonl",
        "convert many --out out.json --force",
        "convert a.json --out mine.json",
        "convert a.json --out many",
        "convert a.json --out a.json/b.json",
        "predict a.json --out a.json",
        "predict many --out many/c.jsonl",
        "predict a.json --out mine.json",
        "predict a.json --out mine.json --resume",
        "predict a.json --cache a.json",
        "predict many --cache many/b.json",
        "predict a.json --cache mine.json",
        "predict a.json --cache x.json --out x.json",
        "predict a.json --ontology mine.json --out mine.json --force",
        "explain a.json --cache mine.html",
        "render a.json --out a.json",
        "render a.json --out mine.html",
        "evaluate a.json --predicted mine.json --out mine.json --force",
        "evaluate a.json --out soft.json",
    ],
)
def test_what_is_read_or_foreign_is_never_written_over(place, words):
    before = bytes_of(place)
    code, _, said = zero(*words.split())
    assert code == 2 and said.splitlines()[-1].startswith("error: ") and said.count("error") == 1, said
    assert bytes_of(place) == before


def test_own_files_and_empty_ones_are_written_over_and_foreign_ones_by_force(place):
    Path("empty.json").touch()
    assert zero("convert", "a.json", "--out", "empty.json")[0] == 0
    assert "--force" in zero("convert", "a.json", "--out", "empty.json")[2]  # passages bear no mark
    Path("none.json").write_text("[]\n")  # of a call whose documents were all skipped
    assert zero("convert", "a.json", "--out", "none.json")[0] == 0
    assert zero("convert", "a.json", "--out", "mine.json", "--force")[0] == 0
    assert json.loads(Path("mine.json").read_text())["doc_id"] == "attack"
    for words in ("predict a.json --out p.jsonl --cache c", "evaluate a.json --predicted p.jsonl --out e.json",
                  "render p.jsonl --out many/p.html"):  # fmt: skip
        for _ in range(2):
            assert zero(*words.split())[0] == 0
    assert zero("evaluate", "a.json", "--predicted", "p.jsonl", "--out", "p.jsonl")[0] == 2


def test_devices_pipes_links_and_permissions(place):
    assert zero("convert", "a.json", "--out", "/dev/null")[0] == 0 and not Path("/dev/null").is_file()
    assert "No space left" in zero("convert", "a.json", "--out", "/dev/full")[2]
    os.mkfifo("pipe.json")
    assert zero("convert", "a.json", "--out", "pipe.json")[0] == 2  # nobody reads
    got = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe.json").read_text()))
    reader.start()
    while zero("convert", "a.json", "--out", "pipe.json")[0] != 0:
        pass
    reader.join()
    assert json.loads(got[0])["doc_id"] == "attack" and Path("pipe.json").is_fifo()
    Path("elsewhere").mkdir()
    Path("link.json").symlink_to("elsewhere/new.json")
    assert zero("convert", "a.json", "--out", "link.json")[0] == 0
    assert Path("link.json").is_symlink() and Path("elsewhere/new.json").is_file()
    Path("kept.json").touch()
    Path("kept.json").chmod(0o444)
    assert "read-only" in zero("convert", "a.json", "--out", "kept.json", "--force")[2]


def documents(count):
    return [{"doc_id": f"d{number}", "text": "Ä\u2028\u202e\x9b", "scorer": "s"} for number in range(count)]


@pytest.mark.parametrize("name", ["o.json", "o.jsonl"])
def test_a_full_disk_keeps_whole_documents_and_resume_goes_on(tmp_path, monkeypatch, name):
    path, room = tmp_path / name, 150
    write = os.write

    def full(handle, content):
        nonlocal room
        part = bytes(content)[:room]
        room -= len(part)
        if not part:
            raise OSError(28, "No space left on device")
        return write(handle, part)

    monkeypatch.setattr(cli_output.os, "write", full)
    said = []
    refusal = pytest.raises(cli_output.FrostlineError, match=r"No space left.*2 whole documents.*--resume")
    with refusal, sink(path, to_stdout=False, say=said.append) as taker:
        for each in documents(5):
            taker.put(each)
    assert said == [f"2 documents written to {path} before it ended; --resume goes on with them"]
    monkeypatch.undo()
    with sink(path, to_stdout=False, resume=True) as taker:
        assert taker.kept == documents(2)
        for each in documents(5)[2:]:
            taker.put(each)
    text = path.read_text(encoding="utf-8")
    held = json.loads(text) if name == "o.json" else [json.loads(line) for line in text.split("\n")[:-1]]
    assert held == documents(5) and [each.name for each in tmp_path.iterdir()] == [name]
    assert "\u202e" not in text and "\x9b" not in text  # a terminal may show the file


def test_the_last_file_of_a_full_disk_leaves_a_journal(tmp_path, monkeypatch):
    def full(*_):
        raise cli_output.FrostlineError("cannot write: full.")

    monkeypatch.setattr(cli_output, "write_text", full)
    refusal = pytest.raises(cli_output.FrostlineError, match=r"full.*o\.json\.part.*--resume")
    with refusal, sink(tmp_path / "o.json", to_stdout=False) as taker:
        taker.put({"doc_id": "a"})
    monkeypatch.undo()
    with sink(tmp_path / "o.json", to_stdout=False, resume=True) as taker:
        assert taker.kept == [{"doc_id": "a"}]
    assert json.loads((tmp_path / "o.json").read_text()) == {"doc_id": "a"}


def test_a_torn_line_is_dropped_and_a_run_that_fails_first_leaves_the_old_file(tmp_path):
    path = tmp_path / "o.jsonl"
    path.write_text('{"doc_id": "a"}\n{"doc_')
    said = []
    with sink(path, to_stdout=False, resume=True, say=said.append) as taker:
        taker.put({"doc_id": "b"})
    assert path.read_text() == '{"doc_id": "a"}\n{"doc_id": "b"}\n' and "torn" in said[0]
    with pytest.raises(ZeroDivisionError), sink(path, to_stdout=False):
        raise ZeroDivisionError
    assert path.read_text() == '{"doc_id": "a"}\n{"doc_id": "b"}\n'
    path.write_text('nonsense\n{"doc_id": "a"}\n')
    with pytest.raises(cli_output.FrostlineError, match="line 1, is no JSON"), sink(path, to_stdout=False, resume=True):
        pass


def test_each_result_stands_for_one_passage():
    class Item:
        def __init__(self, doc_id, text):
            self.doc_id, self.text = doc_id, text

    items = [Item("a", "x"), Item("a", "x"), Item("a", "y"), Item("b", "x")]
    kept = [{"doc_id": "a", "text": "x"}, {"doc_id": "b", "text": "x"}]
    assert list(remaining(items, kept)) == [items[1], items[2]]


def test_resume_wants_the_same_scorer_and_a_file(place):
    assert zero("predict", "a.json", "--out", "p.json", "--cache", "c")[0] == 0
    wrong = zero("predict", "a.json", "--out", "p.json", "--resume", "--scorer", "embedding*2")
    assert wrong[0] == 2 and "come from the scorer 'embedding'" in wrong[2]
    code, _, said = zero("predict", "a.json", "many", "--out", "p.json", "--resume", "--cache", "c")
    assert code == 0 and "1 document in p.json already" in said and len(json.loads(Path("p.json").read_text())) == 2
    assert "--out" in zero("predict", "a.json", "--resume")[2]


STOPPED = """
import os, signal, sys
import zeroshot.cli
from zeroshot.cli_output import Sink
put = Sink.put
def stop(self, document):
    put(self, document)
    if self.count == 2:
        os.kill(os.getpid(), signal.{name})
Sink.put = stop
sys.argv = ["eae-zero", "convert", *["a.json"] * 3, "--out", "{out}"]
zeroshot.cli.main()
"""


@pytest.mark.parametrize("out", ["o.json", "o.jsonl"])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_saves_what_is_done(place, name, code, out):
    words = [sys.executable, "-c", STOPPED.format(name=name, out=out)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == code and "2 documents written" in ran.stderr and ran.stderr.endswith("stopped\n")
    text = Path(out).read_text(encoding="utf-8")
    assert len(json.loads(text) if out == "o.json" else text.splitlines()) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_nobody_takes_is_no_traceback(place):
    words = [sys.executable, "-m", "zeroshot.cli", "convert", *["a.json"] * 60]
    with Path("/dev/full").open("w") as nowhere:
        full = subprocess.run(words, stdout=nowhere, stderr=subprocess.PIPE, text=True, check=False)
    assert full.returncode == 2 and "No space left" in full.stderr and "Traceback" not in full.stderr
    gone = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    gone.stdout.close()
    assert gone.stderr.read() == "" and gone.wait() == 141


def test_a_bad_record_ends_itself_alone(place):
    good = json.loads(TEXT)
    bad = [
        {**good, "doc_id": "long", "ontology": "x" * 300},
        {**good, "doc_id": "path", "ontology": str(place / "own.toml")},
        {**good, "doc_id": "null", "ontology": "a\0b"},
    ]
    roles = json.loads(TEXT)
    roles["events"][0]["arguments"][0]["role"] = "Police"
    bad.append({**roles, "doc_id": "role"})
    Path("own.toml").write_text('name = "own"\n[events.Attack.roles.Attacker]\n')
    Path("s.jsonl").write_text("".join(json.dumps(each) + "\n" for each in [*bad, good, good]))
    code, out, said = zero("evaluate", "s.jsonl", "--on-error", "skip", "--json", "--cache", "c", "--bootstrap", "0")
    assert code == 0 and json.loads(out)["rows"][0]["report"]["documents"] == 1
    for word in ("long", "path", "null", "Police", "given again"):
        assert word in said
    code, out, said = zero("predict", "s.jsonl", "--on-error", "skip", "--json", "--cache", "c")
    assert code == 0 and len(out.splitlines()) == 3 and "--ontology FILE" in said
    for command in ("explain", "evaluate"):
        code, _, said = zero(command, "s.jsonl", "--cache", "c")
        assert code == 2 and "'long'" in said and len(said) < 1000
    results = [json.loads(line) for line in out.splitlines()]
    Path("p.jsonl").write_text(f"{json.dumps(results[0])}\n{{torn\n{json.dumps({**results[1], 'solver': 3})}\n")
    code, _, said = zero("render", "p.jsonl", "--on-error", "skip")
    assert code == 0 and "1 document drawn" in said and said.count("skipped") == 2


def test_any_error_that_a_document_causes_is_its_own(place, monkeypatch):
    from zeroshot.predict import Predictor

    def fail(self, passage, progress=None):
        raise RecursionError("deep")

    monkeypatch.setattr(Predictor, "predict", fail)
    code, _, said = zero("predict", "a.json", "many", "--on-error", "skip", "--out", "o.jsonl")
    assert code == 0 and said.count("RecursionError: deep") == 2
    assert zero("predict", "a.json")[2].startswith("error: document 'attack' cannot be worked on: RecursionError")


def test_texts_move_no_cursor_and_turn_no_order(place):
    wicked = "\x1b[31m\x9b2J\u202e\x07[bold]"
    given = json.loads(TEXT)
    text = given["text"]
    given.update(doc_id=f"d{wicked}", text=text + wicked)
    mention = given["entities"][0]
    mention.pop("text", None)
    mention.update(start=len(text), end=len(text) + len(wicked))
    Path("w.json").write_text(json.dumps(given))
    shown = [zero("predict", "w.json", "--cache", "c", "--out", "w.jsonl")]
    shown.append(zero("predict", "w.json", "--cache", "c", "--json"))
    shown.append(zero("explain", "w.json", "--cache", "c"))
    shown.append(zero("render", "w.jsonl", "--out", "w.html"))
    shown.append(zero("convert", "w.json"))
    assert all(code == 0 for code, _, _ in shown), shown
    Path("bad.json").write_text(json.dumps({**given, "ontology": wicked}))
    shown.append(zero("predict", "bad.json"))
    shown.append((0, Path("w.html").read_text(encoding="utf-8"), Path("w.jsonl").read_text(encoding="utf-8")))
    for _, out, err in shown:
        for acting in "\x1b\x9b\u202e\x07":
            assert acting not in out and acting not in err
    assert "[bold]" in shown[0][1]
