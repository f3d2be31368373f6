"""What lies between owner and tuner: the exported folder, and the adapter that goes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field
from torch import nn

from backbones.base import Backbone
from backbones.catalog import LoadOptions, load_backbone
from backbones.core.artifacts import digest_tensors, load_tensors, save_tensors, write_json
from backbones.core.errors import FrostlineError
from backbones.core.reading import read_json
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.deltas import FACTS as DELTA_FACTS
from backbones.deltas import load_delta, save_delta
from backbones.lifecycle.offsite.blocks import Blocks
from backbones.lifecycle.offsite.layout import Layout
from backbones.lifecycle.offsite.restack import restack
from backbones.merging import WEIGHTS
from backbones.pat.lowrank import path_of

FACTS, ADAPTER, HEAD, DELTA, LAYERS = "offsite.json", "adapter.json", "head.safetensors", "delta", "blocks.safetensors"
SHOWN = 16  # characters of a fingerprint
Kind = TypeVar("Kind", bound=Settings)


class ExportFacts(Settings):
    """What ``offsite.json`` says.

    Args:
        format: version of this file.
        base: name of the full model; fingerprint: of its weights, see ``Backbone.fingerprint``.
        layout: which blocks are which; given, withheld: the same as numbers of blocks of the full model.
        distilled: how the emulator was distilled, None for blocks as they are.
        image_size: of the full model, None for texts.
        digest: SHA-256 of the tensors in ``model.safetensors``, see ``digest_tensors``.
        file_bytes: of that file; full_bytes: of the full model's weights.
        search: what the search for withheld blocks found.
    """

    format: int = Field(default=1, ge=1, le=1)
    base: str
    fingerprint: str
    layout: Layout
    given: list[int]
    withheld: list[int]
    distilled: dict[str, Any] | None = None
    image_size: int | None = None
    digest: str
    file_bytes: int
    full_bytes: int
    search: dict[str, Any]


class AdapterFacts(Settings):
    """What ``adapter.json`` says.

    Args:
        format: version of this file.
        base: name of the full model; fingerprint: of its weights.
        layout: which blocks are which.
        kind: ``"pat"``: a folder ``delta``; ``"blocks"``: ``blocks.safetensors``, the blocks' own weights.
        layers: the tuned blocks, numbered as in the full model.
        pat: name of the PAT, ``""`` for blocks; settings: as ``make_pat`` takes them.
        classes: names of the classes, in the order of the head's outputs.
        recipe: how it was trained; seconds: for how long; trained: how many numbers, without the head's.
        figures: accuracies on test data, where there were any.
    """

    format: int = Field(default=1, ge=1, le=1)
    base: str
    fingerprint: str
    layout: Layout
    kind: str
    layers: list[int]
    pat: str
    settings: dict[str, Any]
    classes: list[str]
    recipe: dict[str, Any]
    seconds: float
    trained: int
    figures: dict[str, float] = Field(default_factory=dict)


@dataclass(frozen=True)
class Export:
    """An exported folder, read: its facts, and the emulator with its blocks numbered as in the full model."""

    folder: Path
    facts: ExportFacts
    emulator: Backbone

    @property
    def layout(self) -> Layout:
        """Which blocks are which."""
        return self.facts.layout


def read_export(folder: Path | str, options: LoadOptions | None = None) -> Export:
    """Read what ``split`` wrote.

    Args:
        folder: the exported folder, or one that holds it as ``model``.
        options: of loading.

    Raises:
        FrostlineError: no export, one whose weights were changed, or an unreadable one.
    """
    folder = Path(folder)
    place = next((each for each in (folder, folder / "model") if (each / FACTS).exists()), None)
    if place is None:
        raise FrostlineError(
            f"{folder} is no export: it holds no {FACTS}. Its owner makes one with backbone offsite split; an adapter "
            "goes to backbone offsite plug."
        )
    facts = _read(place / FACTS, ExportFacts)
    found = digest_tensors(load_tensors(place / WEIGHTS)[0])
    if found != facts.digest:
        raise FrostlineError(
            f"{place / WEIGHTS} is not the file that {FACTS} describes: its digest is {found[:SHOWN]}, not "
            f"{facts.digest[:SHOWN]}. Ask its owner for the export again."
        )
    compact = load_backbone(str(place), options)
    layout = facts.layout
    where = {layer: number for number, layer in enumerate(layout.given)}
    emulator = restack(compact, [where.get(layer) for layer in range(layout.depth)])
    emulator.name = facts.base
    return Export(place, facts, emulator)


def write_adapter(folder: Path | str, facts: AdapterFacts, delta: Delta, head: nn.Linear, seed: int) -> None:
    """Write a trained adapter and its head; names and fingerprint are those of the full model.

    Raises:
        FrostlineError: the folder cannot be written to.
    """
    folder = Path(folder)
    if facts.kind == "blocks":
        tensors = {path_of(name.partition(".")[2]): value for name, value in delta.state_dict().items()}
        save_tensors(folder / LAYERS, tensors)
    else:
        save_delta(delta, folder / DELTA, facts.base, seed)
        said = read_json(folder / DELTA / DELTA_FACTS)
        write_json(folder / DELTA / DELTA_FACTS, {**said, "fingerprint": facts.fingerprint})
    save_tensors(folder / HEAD, {"weight": head.weight, "bias": head.bias})
    write_json(folder / ADAPTER, facts.model_dump(mode="json"))


def read_adapter(folder: Path | str) -> tuple[AdapterFacts, nn.Linear]:
    """Return what an adapter folder says, and its head.

    Raises:
        FrostlineError: no adapter, or an unreadable one.
    """
    folder = Path(folder)
    if not (folder / ADAPTER).exists():
        raise FrostlineError(
            f"{folder} is no adapter: it holds no {ADAPTER}. Make one with backbone offsite tune from an export."
        )
    facts = _read(folder / ADAPTER, AdapterFacts)
    tensors, _ = load_tensors(folder / HEAD)
    weight, bias = tensors.get("weight"), tensors.get("bias")
    if weight is None or bias is None or weight.ndim != 2 or weight.shape[0] != len(facts.classes):
        raise FrostlineError(f"{folder / HEAD} is no head of {len(facts.classes)} classes; tune the adapter again.")
    head: nn.Linear = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": bias})
    return facts, head.requires_grad_(False)


def put_on(folder: Path, facts: AdapterFacts, full: Backbone) -> Delta:
    """Put the adapter of a folder on the full model.

    Raises:
        FrostlineError: another model than the one that the adapter was made for (both fingerprints are shown), or
            damaged files.
    """
    now = full.fingerprint()
    if now != facts.fingerprint:
        raise FrostlineError(
            f"the adapter in {folder} was made for {facts.base!r} with fingerprint {facts.fingerprint[:SHOWN]}, but "
            f"backbone {full.name!r} has {now[:SHOWN]}; plug it into the model whose emulator it was tuned on, "
            "loaded as its owner loaded it (weights, image size)."
        )
    return grown(folder, facts, full)


def grown(folder: Path, facts: AdapterFacts, backbone: Backbone) -> Delta:
    """Put the adapter of a folder on a backbone whose blocks are numbered as in the full model, whichever it is."""
    if facts.kind != "blocks":
        return load_delta(folder / DELTA, backbone)
    tensors, _ = load_tensors(folder / LAYERS)
    delta = Blocks.parse(facts.settings, f"{folder / ADAPTER}").grow(backbone, 0)
    wanted = {path_of(name.partition(".")[2]): name for name in delta.state_dict()}
    if set(wanted) != set(tensors):
        delta.detach()
        raise FrostlineError(f"{folder / LAYERS} does not hold the blocks {facts.layers}; tune the adapter again.")
    delta.load_state_dict({wanted[name]: value for name, value in tensors.items()})
    return delta.eval()


def _read(path: Path, kind: type[Kind]) -> Kind:
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise FrostlineError(f"{path} is not readable as JSON ({error}); make it again.") from error
    if not isinstance(values, Mapping):
        raise FrostlineError(f"{path} is no JSON object; make it again.")
    return kind.parse(values, str(path))
