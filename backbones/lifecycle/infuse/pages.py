"""What the commands of infusion report: title, first paragraph, tables and pictures, facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from backbones.lifecycle.distill.distil import Distilled
from backbones.lifecycle.infuse.acquire import Acquired, Filters
from backbones.lifecycle.infuse.asking import QUESTIONS, Answers
from backbones.lifecycle.infuse.settings import KaidStyle
from backbones.lifecycle.infuse.training import Infused
from backbones.page import Part, Picture, Prose, Table
from backbones.plots import bars, lines
from backbones.training.saving import Saved

Page = tuple[str, str, list[Part], dict[str, Any]]
SHOWN = 3  # pairs of each relation


def acquired_page(found: Acquired, filters: Filters) -> Page:
    """Return the page of ``acquire``."""
    counts = found.counts()
    rows = []
    for relation, group in groupby(found.pairs, key=lambda pair: pair.relation):
        some = list(group)[:SHOWN]
        rows.append((relation, f"{counts[relation]:,}", "; ".join(f"{p.head} > {p.tail}" for p in some)))
    lead = (
        f"{len(found.pairs):,} pairs in {len(counts)} relations, from {found.found:,} mentions in {found.sentences:,} "
        f"sentences of {filters.longest} characters or less. The file may be edited before it is infused."
    )
    parts: list[Part] = [Table(("relation", "pairs", "such as"), rows, "Pairs, head > tail")]
    if found.left_out:
        parts.append(Table(("left out", "pairs"), [(why, f"{n:,}") for why, n in found.left_out.items()]))
    parts.append(Picture("pairs.png", bars({name: float(n) for name, n in counts.items()}, "pairs"), "Pairs kept"))
    facts = {"filters": filters.model_dump(), "sentences": found.sentences, "found": found.found, "kept": counts}
    return "Relation pairs", lead, parts, {**facts, "left_out": found.left_out}


def infused_page(found: Infused, answers: Sequence[Answers], settings: KaidStyle, base: str) -> Page:
    """Return the page of ``train``."""
    split = found.split
    lead = (
        f"{len(split.train):,} pairs in {len(found.labels) - 1} relations were infused into {base} by a side network "
        f"of {found.delta.parameter_count:,} parameters; the frozen weights have the fingerprint "
        f"{found.fingerprint[:16]} before and after."
    )
    parts: list[Part] = []
    if answers:
        rows = [_answered(each) for each in answers]
        header = ("question", "asked", "commonest", "frozen", "all blocks", "infused", "gain, 95 % interval", "own")
        parts.append(Table(header, rows, "Held-out heads: right answers in percent"))
        parts.append(Prose(_explained(answers)))
    names = [name for name in ("relation", "preserve") if any(name in entry for entry in found.course.history)]
    png = lines({name: found.course.curve(name) for name in names}, "step", "loss")
    parts.append(Picture("infusing.png", png, "Losses of the infusion"))
    facts = {
        "base": base,
        "fingerprint": found.fingerprint,
        "settings": settings.model_dump(mode="json"),
        "labels": found.labels,
        "trained": len(split.train),
        "held_out": len(split.held_out),
        "seconds": found.course.seconds,
        "history": found.course.history,
        "answers": [
            {
                "question": each.question,
                "asked": len(each.wanted),
                "gain": each.gain(),
                **{name: each.accuracy(name) for name in ("commonest", "frozen", "blocks", "infused", "own")},
            }
            for each in answers
        ],
    }
    return "Infused relations", lead, parts, facts


def student_page(done: Distilled, saved: Saved, base: str, sentences: int) -> Page:
    """Return the page of ``distill``."""
    course, student = done.courses["general"], done.student.backbone
    lead = (
        f"A student of {student.depth} layers and {student.parameter_count:,} parameters learned from {base} with its "
        f"side network on {sentences:,} sentences; it is an ordinary backbone: {saved.usage}."
    )
    rows = [
        ("layers it learned from", ", ".join(map(str, done.layers))),
        ("tensors begun as copies", f"{done.student.copied} of {done.student.tensors}"),
        ("steps", f"{course.steps:,}"),
        ("loss at first and last", f"{course.history[0]['loss']:.4f}, {course.history[-1]['loss']:.4f}"),
        ("features differ after loading by", f"{saved.difference:.1e} at most"),
    ]
    names = [name for name in course.history[0] if name not in ("step", "lr")]
    png = lines({name: course.curve(name) for name in names}, "step", "loss", log_y=True)
    parts: list[Part] = [Table(("student", ""), rows), Picture("distilling.png", png, "Losses of the distillation")]
    facts = {"base": base, "sentences": sentences, "course": asdict(course), "layers": done.layers}
    return "Student of an infused model", lead, parts, facts


def _answered(each: Answers) -> tuple[str, ...]:
    gain, low, high = (100 * value for value in each.gain())
    shares = [f"{100 * each.accuracy(name):.1f}" for name in ("commonest", "frozen", "blocks", "infused")]
    own = f"{100 * each.accuracy('own'):.1f}"
    return (each.question, f"{len(each.wanted):,}", *shares, f"{gain:+.1f} ({low:+.1f} to {high:+.1f})", own)


def _explained(answers: Sequence[Answers]) -> str:
    said = "; ".join(f"{each.question}: {QUESTIONS[each.question]}" for each in answers)
    return (
        f"{said}. Frozen, all blocks and infused: the same linear classifier, fitted on the states of the mentions "
        "that leave the frozen model, on the mean of those of all its blocks, and on those with the side network. "
        "Gain: infused less frozen. Own: the classifier that was trained with the side network."
    )
