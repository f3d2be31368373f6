"""Coverage-guided fuzzing of the passage reader: no bytes may end in anything but passages or a FrostlineError.

Nobody imports this file and pytest does not collect it. It needs the package ``atheris``; run it for an hour with

    python tests/fuzz/fuzz_reader.py CORPUS -max_total_time=3600 -max_len=4096 -timeout=20 -rss_limit_mb=2048

where CORPUS is a folder that grows while it runs; it is filled with one record of every format when it is empty.
``-timeout`` ends the run if one input takes longer (a hang), ``-rss_limit_mb`` if the process takes more memory.

Half of the mutations act on bytes, half on the JSON tree (a value replaced, moved, doubled or taken out).
Every passage that is read is written in every format and read back: texts of triggers must be the same.
"""

from __future__ import annotations

import io
import json
import random
import sys
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["benchmarks.passages"]):
    from backbones.core.errors import FrostlineError
    from benchmarks.passages import FORMATS, Passage, ReadLimits, read_passages, read_record

    for _name in FORMATS.names():  # they are imported when they are needed, which is too late to be instrumented
        FORMATS.load(_name)

LIMITS = ReadLimits(record=2**20)
SPACELESS = {"rams", "dygie"}  # these have no text: words come back with single spaces


def seeds() -> list[bytes]:
    """One record of every format, and the ways in which a file holds records."""
    text = "Rebels fired on the convoy near Aleppo ; 12 soldiers died ."
    entities = [
        {"id": "T1", "start": 0, "end": 6, "text": "Rebels", "type": "PER", "coref": "C1"},
        {"id": "T2", "start": 41, "end": 52, "text": "12 soldiers", "type": "PER"},
    ]
    events = [
        {"id": "E1", "type": "Conflict:Attack", "trigger": {"start": 7, "end": 12, "text": "fired"},
         "arguments": [{"entity": "T1", "role": "Attacker"}, {"entity": "T2", "role": "Target"}]},
        {"id": "E2", "type": "Life:Die", "trigger": {"start": 53, "end": 57},
         "arguments": [{"entity": "T2", "role": "Victim"}]},
    ]  # fmt: skip
    native = {"doc_id": "d", "text": text, "entities": entities, "events": events}
    native["entities"][1]["start"] = text.index("12")
    native["entities"][1]["end"] = text.index("12") + len("12 soldiers")
    native["events"][1]["trigger"] = {"start": text.index("died"), "end": text.index("died") + 4}
    passage = read_record(native, "seed")
    records = [json.dumps(FORMATS.load(name).write(passage)).encode() for name in FORMATS.names()]
    return [*records, b"\n".join(records), b"[" + b",".join(records) + b"]", json.dumps(native, indent=1).encode()]


def triggers(passage: Passage, spaced: bool) -> list[str]:
    """The texts of triggers, without white space unless ``spaced``."""
    texts = [event.trigger.text or "" for event in passage.events]
    return texts if spaced else ["".join(text.split()) for text in texts]


def one(content: bytes) -> None:
    """Read one file; write and read back what was read."""
    errors: list[FrostlineError] = []
    for passage in read_passages("-", stdin=io.BytesIO(content), on_error="skip", skipped=errors.append, limits=LIMITS):
        for name in FORMATS.names():
            try:
                record = FORMATS.load(name).write(passage)
                again = read_record(json.loads(json.dumps(record)), name, format=name)
            except FrostlineError:
                continue
            spaced = name not in SPACELESS
            if sorted(triggers(again, spaced)) != sorted(triggers(passage, spaced)):
                raise AssertionError(f"{name}: {triggers(passage, spaced)} became {triggers(again, spaced)}")
    for error in errors:
        str(error).encode()  # a message that can be printed


ODD: list[Any] = [
    None, True, -1, 0, 1, 2, 7, 1e308, 2**60, "", " ", "x", "T1", "E1", [], {}, [[]], "\u00e9\u0301", "\U0001f600 a",
    "-LRB-", "C1", "evt001arg01agent", {"text": [["a"]], "start": [[0]], "entity_id": ["T1"]},
]  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with every key or index in it."""
    found, open_ = [], [value]
    while open_:
        held = open_.pop()
        keys = list(held) if isinstance(held, dict) else range(len(held)) if isinstance(held, list) else ()
        found += [(held, key) for key in keys]
        open_ += [held[key] for key in keys]
    return found


def mutate(content: bytes, max_size: int, seed: int) -> bytes:
    """Change a value somewhere in the JSON tree, or some bytes."""
    rng = random.Random(seed)
    try:
        value = json.loads(content)
        spots = places(value)
    except (ValueError, RecursionError):
        spots = []
    if not spots or rng.random() < 0.5:
        return bytes(atheris.Mutate(content, max_size))
    for _ in range(rng.randint(1, 3)):
        held, key = rng.choice(spots)
        other, where = rng.choice(spots)
        try:
            donor = json.loads(json.dumps(other[where]))
            if (kind := rng.randrange(5)) == 0:
                held[key] = rng.choice(ODD)
            elif kind == 1:
                held[key] = donor
            elif kind == 2:
                del held[key]
            elif kind == 3 and isinstance(held, list):
                held.insert(key, donor)
            elif isinstance(held[key], int):
                held[key] += rng.choice((-1, 1, 2, 5))
            elif isinstance(held, dict):
                held[rng.choice(("text", "coref", "id", "type", "tokens", "sentences", "role", "extra"))] = donor
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")[:max_size]


def main() -> None:
    corpus = Path(sys.argv[1])
    if not corpus.is_file():  # a file is an input to run again
        corpus.mkdir(parents=True, exist_ok=True)
    if corpus.is_dir() and not any(corpus.iterdir()):
        for number, seed in enumerate(seeds()):
            (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(sys.argv, one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
