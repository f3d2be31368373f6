"""Files of other tools that hold no events, or not in a form that can be read: which tool, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from backbones.core.errors import FrostlineError
from benchmarks.passages.files import JSON, File

_NO_EVENTS = "it holds {} and no events with arguments"
_NATIVE = "Write each text with its events in the native form (`eae-zero schema`)"
_FOUND = "or as raw text (.txt) with --trigger and --type, and candidates are found"
_SPANS = f"{_NATIVE}; its spans become `entities`"

Record = Mapping[str, Any]


def _inside(record: Record, key: str) -> Any:
    """Return the first element of a list, or what is there."""
    held = record.get(key)
    return held[0] if isinstance(held, list) and held else held


def _has(*keys: str) -> Callable[[Record], bool]:
    return lambda record: all(key in record for key in keys)


RECORDS: Mapping[str, tuple[Callable[[Record], bool], str, str]] = {  # tool -> its mark, what it holds, what to do
    "Prodigy": (
        lambda record: "_input_hash" in record or "_task_hash" in record,
        "spans and their relations", f"{_NATIVE}; `spans` become `entities`, and the heads of `relations` triggers",
    ),
    "a spaCy Doc (Doc.to_json)": (
        _has("text", "ents", "tokens"), "tokens and entities", f"{_NATIVE}; `ents` become `entities`",
    ),
    "spaCy's training data": (_has("paragraphs", "id"), "tokens and entities", _SPANS),
    "UBIAI": (_has("document", "tokens"), "tokens and relations", f"{_SPANS}, the heads of relations triggers"),
    "doccano": (
        lambda record: "text" in record and isinstance(_inside(record, "label") or _inside(record, "labels"), list),
        "labelled spans", f"{_SPANS}; or export the project with relations, which are read",
    ),
    "doccano (without relations)": (
        lambda record: isinstance(held := _inside(record, "entities"), Mapping) and "start_offset" in held,
        "labelled spans", f"{_SPANS}; or export the project with relations, which are read",
    ),
    "Label Studio (JSON-MIN)": (
        lambda record: "annotator" in record and "annotation_id" in record,
        "labelled spans without their relations", "Export the project as JSON, whose relations are read",
    ),
    "Label Studio (a task without annotations)": (
        lambda record: isinstance(record.get("data"), Mapping) and not isinstance(record.get("content"), str),
        "a text", "Export the annotated project as JSON, whose relations are read",
    ),
    "Argilla": (_has("fields", "responses"), "labelled spans", _SPANS),
    "LightTag": (_has("examples", "schema_id"), "labelled spans", _SPANS),
    "tagtog": (_has("anncomplete", "entities"), "labelled spans", _SPANS),
    "PubAnnotation": (_has("text", "denotations"), "spans and relations", f"{_NATIVE}, or export brat, which is read"),
    "BioC": (_has("documents", "source"), "spans and relations", f"{_NATIVE}, or export brat, which is read"),
    "a token classification set of Hugging Face": (
        lambda record: "tokens" in record and ("ner_tags" in record or "tags" in record),
        "tags of tokens", f"{_NATIVE}; tags become spans in `entities`",
    ),
    "semantic roles of AllenNLP": (
        _has("verbs", "words"), "verbs and their tagged arguments", f"{_NATIVE}; verbs become triggers",
    ),
    "SQuAD": (_has("data", "version"), "questions and answers", _NATIVE),
}  # fmt: skip

_ROOTS = {
    "deft_ere": ("Rich ERE", f"{_NATIVE}; offsets there count the tags of the source as well"),
    "GateDocument": ("GATE", f"{_NATIVE}, or export UIMA CAS XMI, which is read"),
    "collection": ("BioC", f"{_NATIVE}, or export brat, which is read"),
    "TEI": ("TEI", f"{_NATIVE} {_FOUND}"),
    "TimeML": ("TimeML", _NATIVE),
    "html": ("HTML", f"Save its text without tags, {_FOUND}"),
    "DOC": ("a source text of ACE (SGML)", f"Give the .apf.xml beside it, {_FOUND}"),
}

_BINARY = {
    b"%PDF": ("a PDF", f"Save its text, {_FOUND}"),
    b"{\\rtf": ("a document in RTF", f"Save it as plain text, {_FOUND}"),
    b"PAR1": ("a Parquet table", "Write its rows as JSON Lines"),
    b"ARROW1": ("an Arrow table", "Write its rows as JSON Lines"),
    b"\x28\xb5\x2f\xfd": ("a file packed with zstd", "Unpack it, or pack it as gz or xz"),
    b"7z\xbc\xaf": ("a 7z archive", "Unpack it, or pack it as zip"),
    b"Rar!": ("a RAR archive", "Unpack it, or pack it as zip"),
    b"\x80\x04": ("a Python pickle", "Write it as JSON; pickles can run code and are never opened"),
    b"\x80\x05": ("a Python pickle", "Write it as JSON; pickles can run code and are never opened"),
    b"SQLite format 3": ("an SQLite database", "Write its rows as JSON Lines"),
    b"version https://git-lfs": ("a pointer of Git LFS, not the file", "Fetch the file itself with `git lfs pull`"),
}

_HEAD = 2**12
_TAGGED = re.compile(r"\S+(?:[ \t]+\S+)*[ \t]+(?:[BIESLUM]-[\w:.+-]+|O)")
_COLUMNS = re.compile(r"\d+\t\S+\t.*\t.*")


def refuse_record(record: Record, where: str) -> None:
    """Raise FrostlineError if a record is one of a tool whose records are not read."""
    for tool, (marked, holds, what) in RECORDS.items():
        if marked(record):
            raise FrostlineError(f"{where}: a record of {tool}; {_NO_EVENTS.format(holds)} that can be read. {what}.")


def refuse_list(record: object, where: str) -> None:
    """Raise FrostlineError if a record is a list that a tool writes."""
    if isinstance(record, list) and len(record) == 2 and isinstance(record[0], str) and isinstance(record[1], Mapping):
        holds = _NO_EVENTS.format("a text and labelled spans")
        raise FrostlineError(f"{where}: a record of spaCy's training data; {holds} that can be read. {_SPANS}.")


def refuse_text(file: File, head: bytes, root: str | None) -> None:
    """Raise FrostlineError if a file is of a kind that holds no passages.

    Args:
        file: the file; head: its first bytes; root: name of its root element if it is XML.
    """
    for magic, (kind, what) in _BINARY.items():
        if head.startswith(magic):
            raise FrostlineError(f"{file.name}: {kind}. {what}.")
    if head[257:262] == b"ustar":
        raise FrostlineError(f"{file.name}: a tar archive. Unpack it, or pack it as zip.")
    if root is not None:
        kind, what = _ROOTS.get(root, ("XML that is neither ACE's APF nor UIMA's XMI", _NATIVE))
        raise FrostlineError(f"{file.name}: {kind}, which is not read. {what}.")
    text = head.decode("utf-8-sig", errors="replace").strip()
    if not text or text[0] in '{["':
        return
    lines = text.splitlines()
    whole = lines if len(head) < _HEAD or len(lines) == 1 else lines[:-1]  # the last may be cut
    kind, holds, what = _of_lines(whole, file)
    if kind:
        raise FrostlineError(f"{file.name}: {kind}; {_NO_EVENTS.format(holds)} that can be read. {what}.")


def _of_lines(lines: list[str], file: File) -> tuple[str, str, str]:
    """Return what a text that is no JSON is: kind, what it holds, what to do; empty where nobody knows."""
    if lines[0].startswith("#FORMAT=WebAnno TSV"):
        return "INCEpTION's WebAnno TSV", "tokens and layers", "Export UIMA CAS JSON or XMI, which are read"
    rows = [line for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))]
    if rows and all(_TAGGED.fullmatch(row.strip()) for row in rows[:20]):
        return "CoNLL or IOB, a token and its tags on a line", "tags of tokens", f"{_NATIVE}; tags become `entities`"
    if file.ends(".conllu", ".conll", ".iob", ".bio") or (rows and all(_COLUMNS.fullmatch(row) for row in rows[:20])):
        return "CoNLL, a token on a line", "columns for each token", _NATIVE
    for separator, name in (("\t", "TSV"), (",", "CSV"), (";", "CSV")):
        if file.ends(f".{name.lower()}") or (len(rows) > 1 and all(separator in row for row in rows[:20])):
            return f"a table ({name})", "columns", f"{_NATIVE}; a row becomes a line of JSON Lines"
    if file.ends(".yaml", ".yml"):
        return "YAML", "what JSON could hold as well", "Write it as JSON"
    if file.ends(".md", ".rst", ".log", ".text"):
        return "plain text", "words", f"Name it .txt {_FOUND.removeprefix('or as raw text (.txt) ')}"
    if lines[0][:1].isalpha() and not file.ends(*JSON) and file.name != "standard input":
        return "neither JSON nor a format that is known", "words", f"Plain text is called .txt: {_FOUND}"
    return "", "", ""
