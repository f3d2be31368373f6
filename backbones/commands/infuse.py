"""``backbone infuse``: relation pairs from a corpus, into a text encoder, into a small student."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backbones.commands.shared import DeviceOption, OutOption, SeedOption, check_paths, tell_notes
from backbones.core.outputs import guard_folder

if TYPE_CHECKING:
    from backbones.cli_view import Screen
    from backbones.page import Part

app = typer.Typer(
    no_args_is_help=True,
    help="Infuse what stands in which relation: acquire pairs from a corpus, train a side network on a frozen text "
    "encoder, distill both into a small one.",
)
CorpusArgument = Annotated[list[Path], typer.Argument(help="UTF-8 text (.txt, also .gz or .xz), or folders of it")]
BytesOption = Annotated[int | None, typer.Option(help="of text to read (default: all)", min=1)]
BatchOption = Annotated[int, typer.Option(help="samples a step", min=1)]


@app.command()
def acquire(
    corpus: CorpusArgument,
    out: OutOption,
    patterns: Annotated[
        Path | None, typer.Option(help="TOML file of your own patterns (default: those shipped)")
    ] = None,
    min_count: Annotated[int, typer.Option(help="sentences in which a pair must be found")] = 1,
    min_cues: Annotated[int, typer.Option(help="different cues by which it must be found")] = 1,
    min_pmi: Annotated[float, typer.Option(help="mutual information of head and tail, in nats")] = 0.0,
    most: Annotated[int, typer.Option(help="pairs of a relation, the best attested")] = 2000,
    longest: Annotated[int, typer.Option(help="characters of a sentence")] = 300,
    min_noun: Annotated[int, typer.Option(help="times a word must stand as a noun to count as one")] = 2,
    most_bytes: BytesOption = None,
) -> None:
    """Find relation pairs in CORPUS by patterns and write OUT/pairs.jsonl, which you may edit."""
    guard_folder(out, corpus)
    _check_corpus(corpus)
    from backbones.commands.shared import screen
    from backbones.lifecycle.infuse.acquire import Filters
    from backbones.lifecycle.infuse.acquire import acquire as acquire_
    from backbones.lifecycle.infuse.grammar import read_grammar
    from backbones.lifecycle.infuse.pages import acquired_page
    from backbones.lifecycle.infuse.pairs import write_pairs
    from backbones.training.corpus import read_documents, unread

    values = {
        "min_count": min_count, "min_cues": min_cues, "min_pmi": min_pmi, "most": most, "longest": longest,
        "min_noun": min_noun,
    }  # fmt: skip
    filters = Filters.parse(values, "the filters")
    grammar = read_grammar(patterns)
    with screen() as shown:
        documents = read_documents(corpus, most_bytes, shown.progress)
        for note in unread(corpus):
            shown.say(f"note: {note}")
        found = acquire_(documents, grammar, filters, progress=shown.progress, say=shown.say)
        write_pairs(out / "pairs.jsonl", found.pairs)
        _show(shown, out, *acquired_page(found, filters))
        shown.say(f"written to {out / 'pairs.jsonl'}; go on with: backbone infuse train BASE --pairs {out} --out DIR")


@app.command()
def train(
    base: Annotated[str, typer.Argument(help="text encoder: minilm, hf:NAME or a folder")],
    pairs: Annotated[Path, typer.Option(help="pairs.jsonl, or the folder that acquire has written")],
    out: OutOption,
    bottleneck: Annotated[int, typer.Option(help="width of the side network")] = 64,
    layers: Annotated[str, typer.Option(help="blocks that it reads, such as 1-5 or 1,3,5")] = "all",
    epochs: Annotated[float, typer.Option(help="passes over the pairs")] = 4.0,
    lr: Annotated[float, typer.Option(help="peak rate")] = 1e-3,
    batch: BatchOption = 32,
    negatives: Annotated[float, typer.Option(help="share of examples whose tail is exchanged")] = 0.3,
    preserve: Annotated[float, typer.Option(help="weight of keeping the direction of sentences")] = 1.0,
    cue: Annotated[str, typer.Option(help="hide or show the words by which a pair was found")] = "hide",
    window: Annotated[int, typer.Option(help="most tokens of an example")] = 48,
    held_out: Annotated[float, typer.Option(help="share of the heads that are kept to be asked about")] = 0.1,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
) -> None:
    """Infuse pairs into BASE, whose weights stay as they are: OUT/delta holds the side network."""
    guard_folder(out)
    check_paths([pairs])
    from backbones.commands.shared import load, screen
    from backbones.deltas import save_delta
    from backbones.lifecycle.infuse.asking import ask
    from backbones.lifecycle.infuse.pages import infused_page
    from backbones.lifecycle.infuse.pairs import read_pairs
    from backbones.lifecycle.infuse.settings import KaidStyle
    from backbones.lifecycle.infuse.training import infuse

    values = {
        "side": {"bottleneck": bottleneck, "layers": layers},
        "recipe": {"epochs": epochs, "lr": lr, "batch": batch, "seed": seed},
        "negatives": negatives, "preserve": preserve, "cue": cue, "window": window, "held_out": held_out,
    }  # fmt: skip
    settings = KaidStyle.parse(values, "the infusion")
    found = read_pairs(pairs / "pairs.jsonl" if pairs.is_dir() else pairs)
    backbone = load(base, device=device)
    with screen() as shown:
        state = _beside(out, "safetensors")
        done = infuse(backbone, found, settings, checkpoint=state, keep=True, progress=shown.progress, say=shown.say)
        save_delta(done.delta, out / "delta", base, seed)
        answers = ask(backbone, done, settings, progress=shown.progress) if done.split.held_out else []
        if not answers:
            shown.say("no head was held out, so that nothing is asked: hold out a greater share, or acquire more pairs")
        _show(shown, out, *infused_page(done, answers, settings, base))
        state.unlink(missing_ok=True)
        shown.say(f"written to {out / 'delta'}; a small student: backbone infuse distill {out} --corpus FILE --out DIR")


@app.command()
def distill(
    infused: Annotated[Path, typer.Argument(metavar="DIR", help="what train has written")],
    corpus: Annotated[list[Path], typer.Option(help="UTF-8 text, or folders of it; repeatable")],
    out: OutOption,
    layers: Annotated[int, typer.Option(help="of the student; a divisor of the base's")] = 3,
    sentences: Annotated[int, typer.Option(help="to learn from, at most", min=1)] = 20000,
    epochs: Annotated[float, typer.Option(help="passes over them")] = 1.0,
    lr: Annotated[float, typer.Option(help="peak rate")] = 3e-4,
    batch: BatchOption = 32,
    base: Annotated[str | None, typer.Option(help="text encoder (default: the one that DIR names)")] = None,
    most_bytes: BytesOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
) -> None:
    """Distill the infused model in DIR into fewer layers: OUT/model is an ordinary backbone."""
    guard_folder(out, corpus)
    _check_corpus(corpus)
    check_paths([infused])
    from backbones.commands.shared import screen
    from backbones.lifecycle.distill.layers import layer_map
    from backbones.lifecycle.infuse.distilling import distil_infused, draw_sentences
    from backbones.lifecycle.infuse.pages import student_page
    from backbones.lifecycle.infuse.saved import open_infused
    from backbones.training.corpus import read_documents
    from backbones.training.loop import Recipe
    from backbones.training.saving import save_backbone

    recipe = Recipe.parse({"epochs": epochs, "lr": lr, "batch": batch, "seed": seed}, "the recipe")
    backbone, delta = open_infused(infused, base, device)
    tell_notes((*backbone.notes, *delta.notes))
    layer_map(layers, backbone.depth)
    with screen() as shown:
        drawn = draw_sentences(read_documents(corpus, most_bytes, shown.progress), sentences, seed)
        work = _beside(out, "work")
        done = distil_infused(backbone, drawn, layers, recipe, folder=work, progress=shown.progress, say=shown.say)
        facts = {"made_by": "backbone infuse distill", "base": backbone.name, "delta": delta.fingerprint()}
        saved = save_backbone(done.student.backbone, out / "model", facts, progress=shown.progress)
        _show(shown, out, *student_page(done, saved, backbone.name, len(drawn)))
        _remove(work)
        shown.say(f"written to {saved.folder}; load it with: {saved.usage}")


def _beside(out: Path, kind: str) -> Path:
    """Return where unfinished work is kept: beside the folder that does not exist yet."""
    return out.with_name(f".{out.name}.training.{kind}")


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _show(shown: Screen, out: Path, title: str, lead: str, parts: Sequence[Part], facts: dict[str, Any]) -> None:
    from backbones.page import Table, write_page

    for part in parts:
        if isinstance(part, Table):
            shown.table(part)
    shown.say(f"page: {write_page(out, title, lead, parts, facts)}")


def _check_corpus(paths: Sequence[Path]) -> None:
    from backbones.training.corpus import check_corpus

    check_corpus(paths)
