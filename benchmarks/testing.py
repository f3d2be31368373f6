"""Public contracts: what any stream and any registered benchmark must keep."""

from __future__ import annotations

import numpy as np

from benchmarks.streams import make_stream
from benchmarks.types import Benchmark, Dataset, LabelledSamples, Stream, Subset

__all__ = ["check_benchmark", "check_samples", "check_stream"]


def check_stream(stream: Stream) -> None:
    """Check a stream.

    Every class comes exactly once and in the order; experiences are numbered; every class of an experience has
    training and test samples and no other class has any; no sample comes twice, neither among the experiences nor
    in both training and test; the samples themselves keep ``check_samples``.

    Raises:
        AssertionError: the first promise that is broken, and where.
    """
    arrived = [label for experience in stream.experiences for label in experience.classes]
    assert tuple(arrived) == stream.class_order, "the experiences hold other classes than class_order, or another order"
    assert sorted(arrived) == list(range(len(stream.class_names))), "a class is missing, comes twice or has no name"
    for position, experience in enumerate(stream.experiences):
        assert experience.index == position, f"experience {position} says that its index is {experience.index}"
        for kind, part in (("train", experience.train), ("test", experience.test)):
            found, wanted = set(part.labels.tolist()), set(experience.classes)
            assert found == wanted, f"experience {position}: {kind} has classes {sorted(found)}, not {sorted(wanted)}"
    _check_once(stream)
    for part in (stream.experiences[0].train, stream.experiences[-1].test):
        check_samples(part)


def _check_once(stream: Stream) -> None:
    seen: set[tuple[int, int]] = set()
    for experience in stream.experiences:
        for kind, part in (("train", experience.train), ("test", experience.test)):
            keys = {(id(part.base), int(row)) for row in part.indices}
            assert len(keys) == len(part), f"experience {experience.index}: a sample comes twice in {kind}"
            assert not keys & seen, f"experience {experience.index}: {kind} has a sample that came before"
            seen |= keys


def check_samples(samples: LabelledSamples | Subset) -> None:
    """Check a collection: lengths agree, the first and last raw inputs are what the modality says, digests hold still.

    Raises:
        AssertionError: the first promise that is broken.
    """
    count = len(samples)
    assert count > 0, "the collection is empty"
    labels = samples.labels
    assert labels.dtype == np.int64, f"labels have dtype {labels.dtype}, not int64"
    assert labels.shape == (count,), f"labels have shape {labels.shape}, not ({count},)"
    assert samples.modality in ("image", "text"), f"modality is {samples.modality!r}, neither 'image' nor 'text'"
    for index in (0, count - 1):
        raw = samples[index]
        if samples.modality == "image":
            assert isinstance(raw, np.ndarray) and raw.dtype == np.uint8, f"image {index} is no uint8 array"
            assert raw.ndim == 3 and raw.shape[-1] == 3, f"image {index} has shape {raw.shape}, not (h, w, 3)"
        else:
            assert isinstance(raw, str), f"text {index} is a {type(raw).__name__}, not a str"
    digests = samples.digests()
    assert digests.dtype == np.uint8 and digests.shape == (count, 16), f"digests are {digests.dtype} {digests.shape}"
    assert np.array_equal(digests, samples.digests()), "a second call of digests() gives other digests"


def check_benchmark(benchmark: Benchmark, *, data_root: str | None = None, download: bool = False) -> Dataset:
    """Load a benchmark twice and check that it is the same data, then check streams over it.

    The streams are the default protocol in three class orders; one seed must give one order, whatever was drawn from
    numpy's global generator in between.

    Args:
        benchmark: what is registered.
        data_root: passed to ``load``.
        download: passed to ``load``.

    Returns:
        The data, for further checks.

    Raises:
        AssertionError: the first promise that is broken.
        FrostlineError: the data cannot be loaded.
    """
    one, two = (benchmark.load(data_root=data_root, download=download) for _ in range(2))
    assert one.class_names == two.class_names, "two loads give other class names"
    assert len(set(one.class_names)) == len(one.class_names), "a class name comes twice"
    for kind in ("train", "test"):
        first, second = getattr(one, kind), getattr(two, kind)
        check_samples(first)
        assert np.array_equal(first.labels, second.labels), f"two loads give other {kind} labels"
        assert np.array_equal(first.digests(), second.digests()), f"two loads give other {kind} samples"
    begin, step = benchmark.init_classes, benchmark.increment
    for order, seed in (("seed", 1993), ("seed", 1994), ("alphabetical", 0)):
        stream = make_stream(one, init_classes=begin, increment=step, order=order, seed=seed)
        check_stream(stream)
        again = make_stream(two, init_classes=begin, increment=step, order=order, seed=seed)
        assert again.class_order == stream.class_order, f"seed {seed} gives two class orders"
    return one
