"""Public contract of heads: a guest's whole test is ``check_head(MyHead())``."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from backbones.core.errors import FrostlineError
from backbones.core.seed import torch_generator
from continual.heads.base import Head, HeadSettings

Experience = tuple[Tensor, Tensor]


def check_head(settings: HeadSettings, width: int = 16, seed: int = 0) -> None:
    """Check that a head keeps the protocol's promises on a small synthetic stream.

    Row by row predictions, exact state and resume, refusal of bad input, streams of 2 classes and of one class per
    experience, translation, and no touch of a global random generator.

    Args:
        settings: builds the head.
        width: width of the synthetic features.
        seed: of the data and of the head.

    Raises:
        AssertionError: the promise that was broken.
    """
    stream = synthetic_stream(6, 2, 24, width, seed)
    with _untouched_generators():
        _check_learning(settings, stream, seed)
        _check_rows(settings, stream, width, seed)
        _check_state(settings, stream, width, seed)
        _check_seed(settings, stream, seed)
        _check_refusals(settings, stream, width, seed)
        _check_translation(settings, stream, width, seed)
        _check_small_streams(settings, width, seed)
        if settings.order_free:
            _check_order(settings, stream, seed)


def synthetic_stream(classes: int, increment: int, samples: int, width: int, seed: int) -> list[Experience]:
    """Return experiences of well-separated Gaussian classes whose labels do not come in ascending order.

    Returns:
        For each experience its features, float32 (increment * samples, width), and labels, int64, in random order.
    """
    generator = torch_generator(seed, "synthetic stream")
    labels = torch.randperm(3 * classes, generator=generator)[:classes]
    centres = 3 * torch.randn(classes, width, generator=generator) + 1
    stream = []
    for start in range(0, classes, increment):
        positions = torch.arange(start, min(start + increment, classes)).repeat_interleave(samples)
        positions = positions[torch.randperm(len(positions), generator=generator)]
        noise = torch.randn(len(positions), width, generator=generator)
        stream.append((centres[positions] + noise, labels[positions]))
    return stream


def _fit(settings: HeadSettings, stream: list[Experience], seed: int) -> Head:
    head = settings.build(seed)
    for features, labels in stream:
        assert head.partial_fit(features, labels) is head, "partial_fit must return the head"
    return head


def _check_learning(settings: HeadSettings, stream: list[Experience], seed: int) -> None:
    head = settings.build(seed)
    arrived: list[int] = []
    for features, labels in stream:
        untouched = features.clone()
        head.partial_fit(features, labels)
        assert torch.equal(features, untouched), "partial_fit changed the features it was given"
        arrived += sorted(set(labels.tolist()) - set(arrived))
        assert sorted(head.classes_.tolist()) == sorted(arrived), "classes_ must hold exactly the classes seen so far"
        scores, chosen = head.scores(features), head.predict(features)
        assert scores.shape == (len(features), len(arrived)), f"scores have shape {tuple(scores.shape)}"
        assert scores.dtype == torch.float32 and bool(torch.isfinite(scores).all()), "scores must be finite float32"
        assert chosen.dtype == torch.int64, "predict must return int64"
        assert torch.equal(chosen, head.classes_[scores.argmax(dim=1)]), "predict must follow scores"
        share = float((chosen == labels).float().mean())
        assert share > 0.8, f"the current classes are predicted right {share:.0%} of the time, on separated data"
        assert head.stored_parameters > 0 and head.trainable_parameters >= 0, "parameter counts must be stated"


def _check_rows(settings: HeadSettings, stream: list[Experience], width: int, seed: int) -> None:
    head = _fit(settings, stream, seed)
    rows = torch.randn(300, width, generator=torch_generator(seed, "rows")) * 3
    whole = head.scores(rows)
    shuffle = torch.randperm(len(rows), generator=torch_generator(seed, "shuffle"))
    assert torch.equal(head.scores(rows[shuffle]), whole[shuffle]), "scores depend on the order of the rows"
    for size in (1, 7, 128):
        parts = [torch.arange(start, min(start + size, 300)) for start in range(0, 300, size)]
        scores = torch.cat([head.scores(rows[part]) for part in parts])
        chosen = torch.cat([head.predict(rows[part]) for part in parts])
        assert torch.equal(scores, whole), f"scores in batches of {size} are not those of one batch"
        assert torch.equal(chosen, head.predict(rows)), f"predictions in batches of {size} are not those of one batch"
    assert head.scores(rows[:0]).shape == (0, whole.shape[1]), "no rows must give no scores"


def _check_state(settings: HeadSettings, stream: list[Experience], width: int, seed: int) -> None:
    rows = torch.randn(64, width, generator=torch_generator(seed, "state"))
    through = settings.build(seed)
    for at, (features, labels) in enumerate(stream):
        through.partial_fit(features, labels)
        resumed = settings.build(seed)
        resumed.load_state(read_tensors(dump_tensors(through.state())))
        assert same_state(resumed, through), "load_state(state()) is not the same head"
        for count in ("trainable_parameters", "stored_parameters"):
            assert getattr(resumed, count) == getattr(through, count), f"a restored head states other {count}"
        assert torch.equal(resumed.scores(rows), through.scores(rows)), "a restored head scores otherwise"
        onward = _continue(settings, through.state(), stream[at + 1 :], seed)
        straight = _fit(settings, stream, seed)
        assert same_state(onward, straight), f"resumed after experience {at}, the head is not what it would have been"
    frozen = through.state()
    for tensor in through.state().values():
        tensor.zero_()
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in through.state().items()), "state() must be a copy"


def _continue(settings: HeadSettings, state: dict[str, Tensor], rest: list[Experience], seed: int) -> Head:
    head = settings.build(seed)
    head.load_state(read_tensors(dump_tensors(state)))
    for features, labels in rest:
        head.partial_fit(features, labels)
    return head


def same_state(one: Head, other: Head) -> bool:
    """Return whether two heads hold the same bits."""
    first, second = one.state(), other.state()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _check_seed(settings: HeadSettings, stream: list[Experience], seed: int) -> None:
    assert same_state(_fit(settings, stream, seed), _fit(settings, stream, seed)), "one seed must give one head"


def _check_refusals(settings: HeadSettings, stream: list[Experience], width: int, seed: int) -> None:
    features, labels = stream[1]
    broken = features.clone()
    broken[3, 0] = torch.nan
    head = _fit(settings, stream[:1], seed)
    before = head.state()
    bad = {
        "a class seen before": (stream[0][0], stream[0][1]),
        "NaN": (broken, labels),
        "no samples": (torch.empty(0, width), torch.empty(0, dtype=torch.int64)),
        "labels of another length": (features, labels[:-1]),
    }
    for what, (wrong, targets) in bad.items():
        assert _refuses(lambda w=wrong, t=targets: head.partial_fit(w, t)), f"partial_fit must refuse {what}"
    assert _refuses(lambda: head.scores(torch.zeros(2, width + 1))), "scores must refuse another width"
    assert _refuses(lambda: settings.build(seed).predict(features)), "predict must refuse before partial_fit"
    after = head.state()
    assert all(torch.equal(before[name], after[name]) for name in before), "a refused call must change nothing"


def _refuses(call: object) -> bool:
    assert callable(call)
    try:
        call()
    except FrostlineError:
        return True
    return False


def _check_translation(settings: HeadSettings, stream: list[Experience], width: int, seed: int) -> None:
    head = _fit(settings, stream[:2], seed)
    before = head.state()

    def stay(points: Tensor) -> Tensor:
        assert points.ndim == 2 and points.shape[1] == width and points.dtype == torch.float32, (
            "move: float32 (m, width)"
        )
        return points

    head.translate(stay)
    after = head.state()
    assert all(torch.equal(before[name], after[name]) for name in before), "the identity must change nothing"
    shift = torch.ones(width)
    kept = {kind: points.clone() for kind, (points, _) in head.prototypes().items()}
    head.translate(lambda points: points + shift)
    for kind, (points, owners) in head.prototypes().items():
        assert torch.allclose(points, kept[kind] + shift, atol=1e-4), f"{kind} prototypes did not follow the move"
        assert set(owners.tolist()) <= set(head.classes_.tolist()), f"{kind} prototypes of an unknown class"
    settings.build(seed).translate(stay)


def _check_small_streams(settings: HeadSettings, width: int, seed: int) -> None:
    for classes, increment, samples in ((2, 2, 8), (2, 1, 8), (5, 1, 8), (3, 3, 1), (3, 1, 1)):
        head = _fit(settings, synthetic_stream(classes, increment, samples, width, seed), seed)
        scores = head.scores(torch.ones(3, width))
        case = f"{classes} classes, {increment} per experience, {samples} samples each"
        assert scores.shape == (3, classes) and bool(torch.isfinite(scores).all()), f"the head fails on {case}"


def _check_order(settings: HeadSettings, stream: list[Experience], seed: int) -> None:
    backwards = [(features.flip(0), labels.flip(0)) for features, labels in stream]
    one, other = _fit(settings, stream, seed), _fit(settings, backwards, seed)
    rows = torch.cat([features for features, _ in stream])
    assert torch.equal(one.predict(rows), other.predict(rows)), "the order of samples changes predictions"
    assert torch.allclose(one.scores(rows), other.scores(rows), rtol=1e-3, atol=1e-3), "order of samples changes scores"


@contextmanager
def _untouched_generators() -> Iterator[None]:
    def snapshot() -> tuple[Tensor, str, object]:
        return torch.get_rng_state(), repr(np.random.get_state()), random.getstate()

    before = snapshot()
    yield
    after = snapshot()
    assert torch.equal(before[0], after[0]), "the head touched torch's global generator"
    assert before[1:] == after[1:], "the head touched the global generator of numpy or random"
