"""Streams: every class once, samples divided and not lost, orders of peers, sizes, shots; one test per error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from benchmarks.images import ArrayImages
from benchmarks.streams import class_order, experience_sizes, make_stream
from benchmarks.testing import check_stream
from benchmarks.types import Dataset, Experience, Stream, Subset


def samples(labels: list[int], offset: int = 0) -> ArrayImages:
    """Images of one pixel, all different."""
    numbers = np.arange(len(labels)) + offset
    pixels = np.stack([numbers // 65536, numbers // 256 % 256, numbers % 256], axis=-1).astype(np.uint8)
    return ArrayImages(pixels.reshape(-1, 1, 1, 3), labels)


def dataset(classes: int, train: int = 3, test: int = 1, shuffle: int | None = 0) -> Dataset:
    """``train`` and ``test`` samples of each class, mixed unless ``shuffle`` is None."""
    rows = [np.repeat(np.arange(classes), count) for count in (train, test)]
    if shuffle is not None:
        rows = [np.random.default_rng(shuffle).permutation(part) for part in rows]
    names = tuple(f"c{label:03d}" for label in range(classes))
    return Dataset("toy", names, samples(rows[0].tolist()), samples(rows[1].tolist(), 100_000))


def sizes(stream: Stream) -> list[int]:
    return [len(experience.classes) for experience in stream.experiences]


@settings(deadline=None, max_examples=60)
@given(data=st.data(), classes=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_every_class_comes_once_and_the_samples_are_divided(data: st.DataObject, classes: int, seed: int) -> None:
    init = data.draw(st.none() | st.integers(0, classes))
    step = data.draw(st.none() | st.integers(1, classes))
    whole = dataset(classes, train=data.draw(st.integers(1, 4)), shuffle=seed)
    stream = make_stream(whole, init_classes=init, increment=step, seed=seed)
    check_stream(stream)
    for kind in ("train", "test"):
        rows = [row for experience in stream.experiences for row in getattr(experience, kind).indices]
        assert sorted(rows) == list(range(len(getattr(whole, kind))))
    for experience in stream.experiences:
        assert (np.diff(experience.train.indices) > 0).all()
        assert set(experience.test.labels.tolist()) == set(experience.classes)


@given(classes=st.integers(1, 400), data=st.data())
def test_sizes_follow_from_the_protocol(classes: int, data: st.DataObject) -> None:
    init = data.draw(st.integers(0, classes))
    step = data.draw(st.integers(1, classes))
    found = experience_sizes(classes, init, step).sizes
    assert sum(found) == classes
    assert found[0] == (init or step)
    assert set(found[1:-1]) <= {step}
    assert all(1 <= size <= step for size in found[1:])


@pytest.mark.parametrize(
    ("classes", "init", "step", "name", "wanted"),
    [
        (100, 0, 10, "B0-Inc10", [10] * 10),
        (100, None, 10, "B0-Inc10", [10] * 10),
        (100, 50, 5, "B50-Inc5", [50] + [5] * 10),
        (100, 0, 30, "B0-Inc30", [30, 30, 30, 10]),
        (11, 4, 4, "B4-Inc4", [4, 4, 3]),
        (10, 10, 3, "B10-Inc3", [10]),
        (2, None, 1, "B0-Inc1", [1, 1]),
        (2, None, None, "B0-Inc1", [1, 1]),
        (25, None, None, "B0-Inc3", [3] * 8 + [1]),
    ],
)
def test_known_protocols(classes: int, init: int | None, step: int | None, name: str, wanted: list[int]) -> None:
    stream = make_stream(dataset(classes), init_classes=init, increment=step)
    assert stream.name == f"toy {name}"
    assert sizes(stream) == wanted


def test_explicit_sizes() -> None:
    stream = make_stream(dataset(10), increments=[1, 6, 3])
    check_stream(stream)
    assert sizes(stream) == [1, 6, 3]
    assert stream.name == "toy 1-6-3"


def test_three_hundred_experiences() -> None:
    stream = make_stream(dataset(300, train=2), increment=1)
    check_stream(stream)
    assert sizes(stream) == [1] * 300


def test_the_order_of_a_seed_is_that_of_peers() -> None:
    names = dataset(100).class_names
    legacy = np.random.RandomState(1993).permutation(100).tolist()
    assert list(class_order(names)) == legacy
    # The first classes that published logs of seed 1993 on 100 classes show.
    assert class_order(names)[:10] == (68, 56, 78, 8, 23, 84, 90, 65, 74, 76)
    np.random.seed(1993)  # what peers do
    assert list(class_order(names, "seed", 1993)) == np.random.permutation(len(names)).tolist()


@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(1, 300))
def test_a_seed_gives_one_permutation_and_leaves_the_global_generator_alone(seed: int, classes: int) -> None:
    names = [str(label) for label in range(classes)]
    before = np.random.get_state()[1].tolist()  # type: ignore[index]
    order = class_order(names, "seed", seed)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]
    assert order == class_order(names, "seed", seed)
    assert sorted(order) == list(range(classes))


@given(names=st.lists(st.text("aBc_1", max_size=3), unique=True, min_size=1, max_size=20))
def test_alphabetical_means_by_name(names: list[str]) -> None:
    order = class_order(names, "alphabetical", 5)
    assert [names[index] for index in order] == sorted(names)


@given(order=st.permutations(range(6)))
def test_an_explicit_order_is_kept_as_indices_and_as_names(order: list[int]) -> None:
    whole = dataset(6)
    by_name = make_stream(whole, increment=2, order=[whole.class_names[index] for index in order])
    assert make_stream(whole, increment=2, order=order).class_order == by_name.class_order == tuple(order)


@settings(deadline=None, max_examples=30)
@given(shots=st.integers(1, 5), seed=st.integers(0, 1000), classes=st.integers(1, 8))
def test_shots_are_drawn_by_class_whatever_the_order(shots: int, seed: int, classes: int) -> None:
    whole = dataset(classes, train=5)
    streams = [make_stream(whole, order=order, seed=seed, shots=shots) for order in ("seed", "alphabetical")]
    rows = []
    for stream in streams:
        check_stream(stream)
        labels = np.concatenate([experience.train.labels for experience in stream.experiences])
        assert np.bincount(labels).tolist() == [shots] * classes
        assert sum(len(experience.test) for experience in stream.experiences) == len(whole.test)
        rows.append(sorted(row for experience in stream.experiences for row in experience.train.indices))
    assert rows[0] == rows[1]


def test_shots_depend_on_the_seed() -> None:
    whole = dataset(4, train=50)
    one, two = (make_stream(whole, order="alphabetical", seed=seed, shots=5) for seed in (1, 2))
    assert not np.array_equal(one.experiences[0].train.indices, two.experiences[0].train.indices)
    assert one.name == "toy B0-Inc1, 5 shots"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"increment": 0}, r"increment = 0: there are 10 classes; give a number from 1 to 10"),
        ({"increment": 11}, r"increment = 11: there are 10 classes"),
        ({"init_classes": -1}, r"init_classes = -1: there are 10 classes; give 0 \(as the increment\) to 10"),
        ({"init_classes": 11}, r"init_classes = 11"),
        ({"increments": [4, 4]}, r"increments = \[4, 4\] add up to 8 but there are 10 classes; add 2"),
        ({"increments": [4, 8]}, r"add up to 12 but there are 10 classes; take away 2"),
        ({"increments": [10, 0]}, r"every experience needs at least 1 class"),
        ({"increments": []}, r"every experience needs at least 1 class"),
        ({"increments": [5, 5], "increment": 5}, r"already says every size; leave init_classes and increment out"),
        ({"order": "alphabetic"}, r"unknown class order 'alphabetic'\. Did you mean 'alphabetical'"),
        ({"order": range(9)}, r"names 9 classes of 10: 'c009' is missing"),
        ({"order": [*range(10), 3]}, r"names 11 classes of 10: 'c003' comes twice"),
        ({"order": [*range(9), 10]}, r"class 10 of the order does not exist; indices run from 0 to 9"),
        ({"order": ["c001", "c0002"]}, r"unknown class 'c0002'\. Did you mean 'c002'"),
        ({"seed": -1}, r"seed = -1: a class order needs a seed from 0 to 4294967295"),
        ({"shots": 0}, r"shots = 0: keep at least 1 training sample"),
        ({"shots": 4}, r"shots = 4 but class 'c000' of toy has 3 training samples; the most .* is 3"),
    ],
)
def test_wrong_wishes_are_explained(options: dict[str, object], words: str) -> None:
    with pytest.raises(FrostlineError, match=words):
        make_stream(dataset(10), **options)  # type: ignore[arg-type]


def test_a_class_without_samples_is_named() -> None:
    names = ("ant", "bee", "cow")
    with pytest.raises(FrostlineError, match="toy: class 'bee' has no training samples"):
        make_stream(Dataset("toy", names, samples([0, 2]), samples([0, 1, 2])))
    with pytest.raises(FrostlineError, match="toy: class 'cow' has no test samples"):
        make_stream(Dataset("toy", names, samples([0, 1, 2]), samples([0, 1])))


def test_labels_beyond_the_names_are_refused() -> None:
    with pytest.raises(FrostlineError, match="toy: training labels run from 0 to 2 for 2 class names"):
        make_stream(Dataset("toy", ("ant", "bee"), samples([0, 1, 2]), samples([0, 1])))


def experience(index: int, classes: tuple[int, ...], train: list[int], test: list[int], base: Dataset) -> Experience:
    return Experience(
        index, classes, Subset(base.train, np.array(train)), Subset(base.test, np.array(test, dtype=np.int64))
    )


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([((0,), [0], [0]), ((1,), [1], [1])], "a class is missing"),
        ([((0, 1), [0, 1], [0, 1]), ((2,), [0], [2])], r"train has classes \[0\], not \[2\]"),
        ([((0, 1), [0, 1], [0]), ((2,), [2], [2])], r"test has classes \[0\], not \[0, 1\]"),
        ([((0, 1), [0, 1, 1], [0, 1]), ((2,), [2], [2])], "a sample comes twice in train"),
    ],
)
def test_check_stream_finds_what_is_broken(
    parts: list[tuple[tuple[int, ...], list[int], list[int]]], words: str
) -> None:
    base = dataset(3, train=1, shuffle=None)
    experiences = tuple(experience(index, *part, base) for index, part in enumerate(parts))
    order = tuple(label for part in parts for label in part[0])
    with pytest.raises(AssertionError, match=words):
        check_stream(Stream("broken", base.class_names, order, experiences))


def test_check_stream_finds_test_samples_among_the_training_ones() -> None:
    shared = samples([0, 1])
    base = Dataset("toy", ("a", "b"), shared, shared)
    with pytest.raises(AssertionError, match="test has a sample that came before"):
        check_stream(make_stream(base, increment=2))


def test_check_stream_finds_a_wrong_number() -> None:
    base = dataset(2, train=1, shuffle=None)
    with pytest.raises(AssertionError, match="experience 0 says that its index is 1"):
        check_stream(Stream("broken", base.class_names, (0, 1), (experience(1, (0, 1), [0, 1], [0, 1], base),)))
