"""Composing as a whole: a base and some differences become plain weights on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backbones.catalog import LoadOptions, load_backbone
from backbones.compose.adding import check_base, combined, composed, overlaps
from backbones.compose.difference import Difference, extract_difference, strongest, weights_digest
from backbones.compose.files import save_difference
from backbones.compose.sources import read_any
from backbones.core.errors import FrostlineError
from backbones.core.samples import Progress, silent
from backbones.merging import probe_features, write_plain

FACTS = "composed.json"


@dataclass(frozen=True)
class Composed:
    """What ``compose`` wrote.

    Attributes:
        folder: where.
        differences: what was added.
        overlaps: how many weights each two of them both change; on the diagonal how many each changes.
        weights: how many weights the base has.
        usage: how to load the folder.
        notes: what the user should know.
    """

    folder: Path
    differences: tuple[Difference, ...]
    overlaps: list[list[int]]
    weights: int
    usage: str
    notes: tuple[str, ...]


def compose(
    base: str,
    sources: Sequence[Path | str],
    out: Path | str,
    options: LoadOptions | None = None,
    progress: Progress = silent,
) -> Composed:
    """Add differences to the weights of their base and write the sum as plain weights.

    The folder is what timm or transformers loads without us, and what ``cil-run --backbone`` takes.

    Args:
        base: name of the backbone, see ``load_backbone``.
        sources: one or more differences, see ``backbones.compose.sources.read_any``; their order does not matter.
        out: folder to make.
        options: of loading the base.
        progress: told of the phases.

    Raises:
        FrostlineError: ``out`` exists, one source is given twice, a difference that cannot be read or belongs to
            another base.
    """
    out, paths = Path(out), [Path(each) for each in sources]
    if out.exists():
        raise FrostlineError(f"{out} exists already; pass a folder that does not, or remove it.")
    again = [path for number, path in enumerate(paths) if path.resolve() in {p.resolve() for p in paths[:number]}]
    if again:
        raise FrostlineError(f"{again[0]} is given twice; it would be added twice. Give each difference once.")
    options = options or LoadOptions()
    total = len(paths) + 3
    progress("load the backbone", 0, total)
    backbone = load_backbone(base, options)
    differences = []
    for number, path in enumerate(paths):
        progress(f"read {path}", number + 1, total)
        differences.append(read_any(path, backbone))
    state = {name: tensor.clone() for name, tensor in backbone.frozen_state().items()}
    unknown = check_base(state, differences, f"backbone {base!r}")
    progress("add and write", total - 2, total)
    with composed(backbone, differences):
        wanted = probe_features(backbone)
    weights = {**state, **combined(state, differences)}
    shared = overlaps(differences)
    said = [{"label": each.label, "digest": each.digest, "k": each.k} for each in differences]
    facts = {FACTS: {"differences": said, "overlaps": shared}}
    usage, _ = write_plain(backbone, base, weights, wanted, out, options, facts)
    progress("add and write", total, total)
    notes = (*backbone.notes, *unknown, *(note for each in differences for note in each.notes))
    return Composed(out, tuple(differences), shared, backbone.parameter_count, usage, notes)


def export_difference(
    base: str,
    source: Path | str,
    out: Path | str,
    k: int | None = None,
    options: LoadOptions | None = None,
    progress: Progress = silent,
) -> Difference:
    """Write what a source changes in its base as a file of a difference.

    Args:
        base: name of the backbone, see ``load_backbone``.
        source: what ``read_any`` takes, or a folder of tuned weights of the same model, with config.json.
        out: file to write.
        k: how many weights, those that moved most; None for all that moved.
        options: of loading the base.
        progress: told of the phases.

    Raises:
        FrostlineError: a source that cannot be read or belongs to another base, fewer than ``k`` weights.
    """
    source = Path(source)
    out = Path(out)
    progress("load the backbone", 0, 3)
    backbone = load_backbone(base, options)
    state = backbone.frozen_state()
    progress(f"read {source}", 1, 3)
    if (source / "config.json").is_file():
        tuned = load_backbone(str(source), LoadOptions(device=str(backbone.device))).frozen_state()
        found = extract_difference(state, tuned, k, base_name=backbone.name, label=str(source))
    else:
        found = read_any(source, backbone)
        unknown = check_base(state, [found], f"backbone {base!r}")
        found = replace(found, base=weights_digest(state), base_name=backbone.name, notes=(*unknown, *found.notes))
        found = strongest(found, k) if k is not None else found
    progress(f"write {out}", 2, 3)
    save_difference(out, found)
    return found
