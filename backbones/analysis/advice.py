"""From ranked layers to advice: what to pass to ``cil-run``, and what a user should know beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backbones.analysis.ranking import MIX, Layer, Probed, ranked, standard_error


@dataclass(frozen=True)
class Advice:
    """What to use.

    Args:
        backbone: name of the backbone.
        options: further words of ``cil-run``.
        reasons: sentences.
    """

    backbone: str
    options: tuple[str, ...]
    reasons: tuple[str, ...]


def advise(models: Sequence[Probed], held: int) -> Advice:
    """Return which backbone to use, by what a run can take: its last layer, or the learned mean over its blocks.

    Args:
        models: one or more.
        held: rows that accuracies were measured on.
    """
    best = ranked([_usable(model, held) for model in models])[0]
    model = next(model for model in models if model.model == best.model)
    code = f"compresses the labels {best.code.compression:.2f} times and " if best.code is not None else ""
    reasons = [f"{_called(best)} of {model.model} {code}reaches {_points(best.linear, held)} on held-out training data"]
    reasons += _mixing(model, held)
    reasons += _rivals(models, best, model, held)
    return Advice(model.model, ("--pat", "mix") if best.layer == MIX else (), tuple(reasons))


def _usable(model: Probed, held: int) -> Layer:
    """Return what a run should take: the last layer, or the mean over blocks where that helps."""
    mix = model.mix
    return mix if mix is not None and _better(mix, model.last, held) else model.last


def _better(mix: Layer, last: Layer, held: int) -> bool:
    """Return whether the mean is better by more than a standard error, and codes the labels no worse."""
    if mix.linear - last.linear <= standard_error(last.linear, held):
        return False
    return mix.code is None or last.code is None or mix.code.bits <= last.code.bits


def _called(layer: Layer) -> str:
    return "a learned mean over the blocks" if layer.layer == MIX else "the last layer"


def _points(share: float, count: int) -> str:
    return f"{100 * share:.1f} ± {100 * standard_error(share, count):.1f} %"


def _mixing(model: Probed, held: int) -> list[str]:
    """Return what to say of layers before the last."""
    last, mix = model.last, model.mix
    best = max((layer for layer in model.layers if layer.layer != MIX), key=lambda layer: layer.linear)
    error = standard_error(last.linear, held)
    if best.linear - last.linear <= error:
        return [] if _usable(model, held) is last else [f"the last layer alone reaches {_points(last.linear, held)}"]
    where = "the embeddings are" if not best.layer.isdigit() else f"layer {best.layer} of 0-{model.depth - 1} is"
    said = f"{where} better than the last layer: {100 * best.linear:.1f} against {100 * last.linear:.1f} %"
    if mix is not None and _better(mix, last, held):
        return [f"{said}; --pat mix learns a mean over the blocks, which a probe puts at {100 * mix.linear:.1f} %"]
    return [f"{said}, but a mean over the blocks is not better on all counts, so --pat mix is not advised"]


def _rivals(models: Sequence[Probed], best: Layer, chosen: Probed, held: int) -> list[str]:
    """Return which other backbones are as good as one can tell from so many rows, with fewer parameters."""
    found = []
    for model in models:
        usable = _usable(model, held)
        if model is not chosen and abs(best.linear - usable.linear) <= standard_error(best.linear, held):
            size = "smaller" if model.parameters < chosen.parameters else "no smaller"
            found.append(
                f"{model.model} ({model.parameters / 1e6:.1f} M parameters, {size}) is within one standard error: "
                f"{100 * usable.linear:.1f} %"
            )
    return found
