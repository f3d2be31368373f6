"""Folders of trained deltas: PEFT's format where PEFT has the method, our own beside it or instead of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from backbones.base import Backbone
from backbones.core.artifacts import check_finite, digest_tensors, load_tensors, save_tensors, write_bytes, write_json
from backbones.core.errors import FrostlineError
from backbones.core.reading import read_json
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.lm import BUNDLED, folder_of
from backbones.pat import PATS
from backbones.pat.base import Pat, PeftPat
from backbones.pat.peft_files import CONFIG, METHODS, WEIGHTS, is_peft, read_peft, write_peft
from backbones.pat.peft_modules import unwrapped
from backbones.pat.stack import make_pat, pat_name, pat_values

FACTS, OWN = "pat_config.json", "delta.safetensors"
FILES = (OWN, WEIGHTS, CONFIG, FACTS)
WHOLE = ".delta"  # inside a folder: a whole delta that is about to take the place of the one there
PLACES = ("", "delta", "artefact/delta", "seed-*/artefact/delta")  # where a delta lies in what a user may point to
SHOWN = 12  # characters of a fingerprint


class Facts(Settings):
    """What ``pat_config.json`` says.

    Args:
        format: version of this file.
        pat: a registered name, or several joined by ``+``; settings: as ``make_pat`` takes them.
        seed: what it was grown with.
        base: name of the frozen backbone; fingerprint: of its weights, see ``Backbone.fingerprint``.
        file: where the tensors are; digest: SHA-256 of them, see ``digest_tensors``.
        adapter: the same of PEFT's file where that stands beside ``file`` and says less, else ``""``.
    """

    format: int = Field(ge=1, le=1)
    pat: str
    settings: dict[str, Any]
    seed: int
    base: str
    fingerprint: str
    file: str
    digest: str
    adapter: str = ""


def save_delta(delta: Delta, folder: Path | str, base: str | None = None, seed: int = 0) -> None:
    """Write a trained delta so that ``load_delta`` grows it again, with equal outputs in every precision.

    A method that PEFT has is written in PEFT's format: ``peft.PeftModel.from_pretrained`` takes the folder for the
    plain model. What PEFT lacks, or what could not be trained on from its format (such as a projection), is written
    as ``delta.safetensors``. ``pat_config.json`` is beside either.

    Args:
        delta: on its backbone; its PAT must be registered.
        folder: made where it does not exist; the format is chosen anew. A delta that is there already is whole until
            the new one is, whatever happens in between; other files stay.
        base: what the user calls the frozen backbone, None for its name.
        seed: what it was grown with.

    Raises:
        FrostlineError: a PAT that no registry knows, or a folder that cannot be written to.
    """
    folder = Path(folder)
    backbone: Backbone = delta.backbone
    pat: Any = delta.settings
    name, called = pat_name(pat), base or backbone.name
    adapter = pat.to_peft(delta) if isinstance(pat, PeftPat) else None
    state = delta.state_dict()
    whole = adapter is not None and _same(pat.from_peft(*adapter, backbone)[1], state)
    config, tensors = adapter or ({}, {})
    facts = Facts(
        format=1,
        pat=name,
        settings=pat_values(pat),
        seed=seed,
        base=called,
        fingerprint=backbone.fingerprint(),
        file=WEIGHTS if whole else OWN,
        digest=digest_tensors(tensors if whole else state),
        adapter=digest_tensors(tensors) if adapter is not None and not whole else "",
    )
    with _in_place_of(folder) as fresh:
        if adapter is not None:
            write_peft(fresh, {"base_model_name_or_path": called.removeprefix("hf:"), **config}, tensors)
        if not whole:
            save_tensors(fresh / OWN, state)
        write_json(fresh / FACTS, facts.model_dump(mode="json"))


@contextmanager
def _in_place_of(folder: Path) -> Iterator[Path]:
    """Lend a folder for the files of a new delta, which take the place of the old ones when all are written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder, prefix=f"{WHOLE}.", suffix=".part"))
    except OSError as error:
        raise FrostlineError(f"cannot write {folder}: {error.strerror or error}. Pass another folder.") from error
    try:
        yield fresh
        _settle(folder)  # of a process that died in there
        fresh.replace(folder / WHOLE)  # from here on the new delta is what is read
        _settle(folder)
    except OSError as error:
        raise FrostlineError(f"cannot write {folder}: {error.strerror or error}. Pass another folder.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _settle(folder: Path) -> None:
    """Put the files of a whole delta inside a folder where other programs look for them."""
    inner = folder / WHOLE
    if not inner.is_dir():
        return
    for name in FILES:
        if (inner / name).exists():
            write_bytes(folder / name, (inner / name).read_bytes())
        else:
            (folder / name).unlink(missing_ok=True)
    done = Path(tempfile.mkdtemp(dir=folder, prefix=f"{WHOLE}.", suffix=".part"))
    inner.replace(done)
    shutil.rmtree(done, ignore_errors=True)


def load_delta(folder: Path | str, backbone: Backbone) -> Delta:
    """Grow the delta of a folder on a backbone.

    Args:
        folder: written by ``save_delta`` or by PEFT, or the folder of a run that has one.
        backbone: what it was trained on; that it is another one is noted, and refused where shapes differ.

    Returns:
        The delta in evaluation mode; its ``notes`` say what was left out or does not agree.

    Raises:
        FrostlineError: nothing there, damaged files, an adapter that no PAT can express, or another backbone's shapes.
    """
    folder = Path(folder)
    place = find_delta(folder)
    try:
        facts = _read_facts(place) if (place / FACTS).exists() else None
        if facts is not None and _is_own(place, facts):
            state = _own_tensors(place, facts)
            pat, notes = make_pat(facts.pat, facts.settings), _other_base(facts, backbone)
        else:
            pat, state, notes = _from_peft(place, facts, backbone)
        delta: Delta = pat.grow(backbone, facts.seed if facts is not None else 0)
    except FrostlineError as error:
        raise error if str(place) in str(error) else FrostlineError(f"{place}: {error}") from error
    try:
        _fill(delta, state, place)
    except BaseException:
        delta.detach()
        raise
    delta.notes = tuple(notes)
    delta.eval()
    return delta


def find_delta(folder: Path | str) -> Path:
    """Return where the one delta lies in a folder of a delta, of an artefact or of a run.

    Raises:
        FrostlineError: none there, or one for each of several seeds.
    """
    folder = Path(folder)
    for pattern in PLACES:
        found = sorted(path for path in folder.glob(pattern) if _is_delta(path)) if pattern else [folder]
        found = [path for path in found if _is_delta(path)]
        if len(found) > 1:
            raise FrostlineError(
                f"{folder} holds a delta for each of {len(found)} seeds; pass one: {', '.join(map(str, found))}."
            )
        if found:
            return found[0] / WHOLE if (found[0] / WHOLE).is_dir() else found[0]
    old = next(iter(folder.glob("**/artefact.json")), None) if folder.is_dir() else None
    hint = f" {old} is of an earlier version: run it again." if old is not None else ""
    raise FrostlineError(
        f"{folder} holds no delta; pass a folder with {FACTS} (ours) or {CONFIG} and {WEIGHTS} (PEFT's), or a run "
        f"folder.{hint}"
    )


def _is_delta(folder: Path) -> bool:
    return (folder / FACTS).exists() or is_peft(folder) or (folder / WHOLE).is_dir()


def _read_facts(folder: Path) -> Facts:
    path = folder / FACTS
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise FrostlineError(f"{path} is not readable as JSON ({error}); save the delta again.") from error
    if not isinstance(values, Mapping):
        raise FrostlineError(f"{path} is no JSON object; save the delta again.")
    return Facts.parse(values, str(path))


def _same(found: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    return found.keys() == state.keys() and all(torch.equal(found[name].cpu(), state[name].cpu()) for name in state)


def _is_own(folder: Path, facts: Facts) -> bool:
    """Return whether our own file counts: not where PEFT has since written other weights beside it."""
    if facts.file != OWN:
        return False
    return not facts.adapter or digest_tensors(read_peft(folder)[1]) == facts.adapter


def _own_tensors(folder: Path, facts: Facts) -> dict[str, Tensor]:
    tensors, _ = load_tensors(folder / OWN)
    if digest_tensors(tensors) != facts.digest:
        raise FrostlineError(f"{folder / OWN} is not the file that {FACTS} describes; save the delta again.")
    check_finite(tensors, folder / OWN)
    return tensors


def _from_peft(folder: Path, facts: Facts | None, backbone: Backbone) -> tuple[Pat, dict[str, Tensor], list[str]]:
    config, tensors = read_peft(folder)
    own = facts is not None and digest_tensors(tensors) == facts.digest
    own_config, inside, outside = unwrapped(config, tensors, backbone)
    kind: Any = PATS.load(METHODS[config["peft_type"]])
    pat, state = kind.from_peft(own_config, inside, backbone)
    shown = f"{', '.join(outside[:3])}{' ...' if len(outside) > 3 else ''}"
    notes = [f"left out {shown}: of no part of the backbone that the adapter chooses"]
    notes = notes if outside else []
    if facts is None:
        base = config.get("base_model_name_or_path")
        named = [backbone.name, backbone.name.removeprefix("hf:")]
        named += [folder_of(backbone.name)] if backbone.name in BUNDLED else []
        if base and base not in named:
            notes.append(f"the adapter names {base!r} as its base, and this backbone is {backbone.name!r}")
        return pat, state, notes
    if not own:
        notes.append(f"{FACTS} describes other weights than those in {WEIGHTS}: PEFT's own configuration is used")
        return pat, state, notes
    return make_pat(facts.pat, facts.settings), state, [*notes, *_other_base(facts, backbone)]


def _other_base(facts: Facts, backbone: Backbone) -> list[str]:
    now = backbone.fingerprint()
    if now == facts.fingerprint:
        return []
    return [
        f"the delta was trained on {facts.base!r} with fingerprint {facts.fingerprint[:SHOWN]}; backbone "
        f"{backbone.name!r} has {now[:SHOWN]}"
    ]


def _fill(delta: Delta, state: Mapping[str, Tensor], folder: Path) -> None:
    """Load a state; raises FrostlineError naming the tensors that are missing, left over or of another shape."""
    wanted = delta.state_dict()
    problems = {
        "missing": [name for name in wanted if name not in state],
        "left over": [name for name in state if name not in wanted],
        "of another shape": [
            f"{name} is {tuple(state[name].shape)}, needed {tuple(wanted[name].shape)}"
            for name in wanted
            if name in state and state[name].shape != wanted[name].shape
        ],
    }
    said = [f"{len(v)} {what} ({', '.join(v[:3])}{', ...' if len(v) > 3 else ''})" for what, v in problems.items() if v]
    if said:
        raise FrostlineError(
            f"the delta in {folder} does not fit backbone {delta.backbone.name!r}: tensors {'; '.join(said)}. Pass the "
            "backbone that it was trained on."
        )
    delta.load_state_dict(dict(state))
