"""Write public data sets as labelled spans for edge probing: entity types, argument roles, acceptability, intents.

    python -m benchmarks.studies.edges --eae DIR --cola cola.json --clinc clinc150.json --out DIR

DIR of ``--eae`` holds ``wikievents_dev.jsonl`` and ``geneva_val.json``; the files of CoLA and CLINC150 are JSON of
parts with rows [text, label]. What is given is written, as JSON lines that ``backbone probe --spans`` reads. A whole
text is a span too.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from backbones.core.artifacts import write_text
from backbones.core.seed import numpy_generator

Row = tuple[str, list[dict[str, Any]]]
FEWEST = {"types": 20, "roles": 30}  # targets of a class; rarer classes are left out
EACH = {"acceptability": 700, "intents": 16}  # texts of a class, drawn by seed


def types(path: Path) -> Iterator[Row]:
    """Yield the sentences of WikiEvents with the types of the entities mentioned in them."""
    for document in _lines(path):
        starts = list(accumulate((len(words) for words, _ in document["sentences"]), initial=0))
        inside: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for mention in document["entity_mentions"]:
            start = starts[mention["sent_idx"]]
            span = [mention["start"] - start, mention["end"] - start]
            inside[mention["sent_idx"]].append({"span1": span, "label": mention["entity_type"]})
        for number, targets in inside.items():
            yield _text(document["tokens"][starts[number] : starts[number + 1]]), targets


def roles(path: Path) -> Iterator[Row]:
    """Yield the sentences of GENEVA with the roles that mentions play for a trigger: pairs of spans."""
    for sentence in _lines(path):
        mentions = {mention["id"]: [mention["start"], mention["end"]] for mention in sentence["entity_mentions"]}
        yield (
            _text(sentence["tokens"]),
            [
                {
                    "span1": [event["trigger"]["start"], event["trigger"]["end"]],
                    "span2": mentions[argument["entity_id"]],
                    "label": argument["role"],
                }
                for event in sentence["event_mentions"]
                for argument in event["arguments"]
            ],
        )


def whole(rows: Iterable[tuple[str, Any]], each: int, seed: int = 0) -> Iterator[Row]:
    """Yield ``each`` texts of every label, each one span with its label, in an order drawn by ``seed``."""
    listed = [(text, str(label)) for text, label in rows if text.split()]
    taken: Counter[str] = Counter()
    for place in numpy_generator(seed, "texts of spans").permutation(len(listed)):
        text, label = listed[place]
        if taken[label] < each:
            taken[label] += 1
            yield text, [{"span1": [0, len(text.split())], "label": label}]


def frequent(rows: Iterable[Row], fewest: int) -> list[Row]:
    """Return the rows with only those targets whose label occurs at least so often, where any are left."""
    listed = list(rows)
    counts = Counter(target["label"] for _, targets in listed for target in targets)
    kept = [(text, [target for target in targets if counts[target["label"]] >= fewest]) for text, targets in listed]
    return [(text, targets) for text, targets in kept if targets]


def save(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines."""
    write_text(path, "".join(json.dumps({"text": text, "targets": targets}) + "\n" for text, targets in rows))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _text(words: Iterable[str]) -> str:
    """Return words joined by blanks, so that each stays one word where blanks divide."""
    return " ".join("".join(word.split()) or "-" for word in words)


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eae", type=Path)
    parser.add_argument("--cola", type=Path)
    parser.add_argument("--clinc", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.eae is not None:
        save(given.out / "types.jsonl", frequent(types(given.eae / "wikievents_dev.jsonl"), FEWEST["types"]))
        save(given.out / "roles.jsonl", frequent(roles(given.eae / "geneva_val.json"), FEWEST["roles"]))
    if given.cola is not None:
        rows = json.loads(given.cola.read_text(encoding="utf-8"))["in_domain_train.tsv"]
        save(given.out / "acceptability.jsonl", whole(rows, EACH["acceptability"]))
    if given.clinc is not None:
        rows = json.loads(given.clinc.read_text(encoding="utf-8"))["train"]
        save(given.out / "intents.jsonl", whole(rows, EACH["intents"]))


if __name__ == "__main__":
    main()
