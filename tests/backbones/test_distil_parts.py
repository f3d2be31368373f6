"""The loop and the parts of the recipe that trains vit-micro: their laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_makers import CPU, TINY, tiny_lesson, tiny_student

from backbones.core.artifacts import digest_tensors
from backbones.core.errors import FrostlineError
from backbones.core.seed import torch_generator
from backbones.recipes.distil import Plan, distil
from backbones.recipes.evaluate import class_means
from backbones.recipes.images import augment, to_unit
from backbones.recipes.orthogonal import Orthogonal, orthogonalise
from backbones.recipes.readers import Lesson, Readers, spread, whitener
from backbones.recipes.student import build_student, choose_patches, cosine_ramp, encode


def test_a_stopped_run_goes_on_from_its_checkpoint_with_the_same_numbers(tmp_path):
    lesson, plan = tiny_lesson(), Plan(steps=54, batch=4, shard=2)
    whole = tiny_student(lesson)
    unbroken = distil(whole, lesson, plan, CPU)

    class StoppedError(Exception):
        pass

    def stop(phase: str, done: int, total: int) -> None:
        if done == 30:
            raise StoppedError

    with pytest.raises(StoppedError):
        distil(tiny_student(lesson), lesson, plan, CPU, tmp_path / "c.pt", save_every=0.0, progress=stop)
    resumed = tiny_student(lesson)
    course = distil(resumed, lesson, plan, CPU, tmp_path / "c.pt")
    assert course.step == 54
    assert course.history == unbroken.history and len(course.history) == 1
    assert digest_tensors(resumed.state_dict()) == digest_tensors(whole.state_dict())
    with pytest.raises(FrostlineError, match="other settings"):
        distil(resumed, lesson, Plan(steps=55, batch=4, shard=2), CPU, tmp_path / "c.pt")


@pytest.mark.parametrize(("weight", "columns", "share"), [(0.0, 3, 0.8), (40.0, 4, 0.9)])
def test_distillation_lowers_every_loss_that_has_a_weight(weight, columns, share):
    """Whitened targets take longer: 16 of them have no direction in common that a step could learn at once."""
    plan = Plan(steps=100, batch=16, shard=16, shift=0, jitter=0.0, kept=((0.0, 4),), spread=weight)
    course = distil(tiny_student(tiny_lesson()), tiny_lesson(), plan, CPU)
    first, last = (row[1 : 1 + columns] for row in (course.history[0], course.history[-1]))
    assert all(later < earlier for earlier, later in zip(first, last, strict=True))
    assert last[0] < share * first[0]


def test_a_run_by_the_clock_ends_on_time():
    course = distil(tiny_student(tiny_lesson()), tiny_lesson(), Plan(minutes=0.5 / 60, batch=4), CPU)
    assert 0.5 <= course.seconds < 5 and course.step > 1


# laws of the parts


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.sampled_from([2, 4, 8]), st.integers(0, 1000))
def test_kept_patches_are_distinct_and_leave_no_cell_empty(per_cell, grid, seed):
    kept = choose_patches(3, grid, per_cell, torch_generator(seed))
    if per_cell == 4:
        assert kept is None
        return
    assert kept is not None
    for row in kept:
        cells = (row // grid // 2) * (grid // 2) + (row % grid) // 2
        assert len(set(row.tolist())) == len(row)
        assert torch.bincount(cells, minlength=grid * grid // 4).tolist() == [per_cell] * (grid * grid // 4)


def test_encode_is_timms_forward_and_keeping_all_in_order_changes_nothing():
    lesson = tiny_lesson(4)
    model = tiny_student(lesson).eval()
    images = to_unit(lesson.images, CPU)
    full = encode(model, images, None)
    assert torch.equal(full, model.forward_features(images))
    assert torch.allclose(encode(model, images, torch.arange(16).expand(4, -1)), full, atol=1e-6)


def test_augment_without_range_is_the_identity_and_shifts_by_whole_pixels():
    images = torch.rand(5, 3, 8, 8, generator=torch_generator(0))
    assert torch.equal(augment(images, 0, 0.0, torch_generator(1)), images)
    moved = augment(images, 1, 0.0, torch_generator(1))
    inner = [images[:, :, 1 + r : 7 + r, 1 + c : 7 + c] for r in (-1, 0, 1) for c in (-1, 0, 1)]
    for index in range(5):
        assert any(torch.equal(moved[index, :, 1:7, 1:7], view[index]) for view in inner)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 99))
def test_orthogonalise_keeps_directions_and_levels_strengths(rows, columns, seed):
    matrix = torch.randn(2, rows, columns, generator=torch_generator(seed))
    turned = orthogonalise(matrix, rounds=10)
    left, strengths, right = torch.linalg.svd(matrix, full_matrices=False)
    core = left.transpose(1, 2) @ turned @ right.transpose(1, 2)
    assert torch.allclose(left @ core @ right, turned, atol=1e-3)
    levels = torch.diagonal(core, dim1=1, dim2=2)[strengths > 0.02 * strengths.amax(1, keepdim=True)]
    assert bool(((levels > 0.6) & (levels < 1.3)).all())


def test_orthogonal_steps_treat_row_blocks_apart():
    start = torch.randn(6, 2, generator=torch_generator(0))
    gradient = torch.randn(6, 2, generator=torch_generator(1))
    whole = torch.nn.Parameter(start.clone())
    parts = [torch.nn.Parameter(block.clone()) for block in start.chunk(3)]
    whole.grad = gradient
    for part, block in zip(parts, gradient.chunk(3), strict=True):
        part.grad = block.clone()
    Orthogonal([{"params": [whole], "parts": 3}], 0.1).step()
    Orthogonal([{"params": parts}], 0.1).step()
    assert torch.allclose(whole, torch.cat(parts), atol=1e-6)
    assert not torch.allclose(whole, start, atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 12), st.integers(0, 99))
def test_whitener_is_symmetric_and_gives_the_identity_as_covariance(width, seed):
    generator = torch_generator(seed)
    rows = torch.randn(200, width, generator=generator) @ torch.randn(width, width, generator=generator)
    turn = whitener(rows.double(), floor=0.0)
    assert torch.allclose(turn, turn.T)
    assert torch.allclose(torch.cov((rows.double() @ turn).T), torch.eye(width, dtype=torch.float64), atol=1e-5)


def test_whitener_leaves_a_direction_without_variance_small():
    rows = torch.randn(50, 3, generator=torch_generator(0)) * torch.tensor([3.0, 1.0, 0.0])
    white = rows @ whitener(rows)
    assert white[:, :2].std(0).tolist() == pytest.approx([1, 1], abs=0.05)
    assert white[:, 2].abs().max() < 1e-5


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 9), st.integers(2, 6), st.integers(0, 99))
def test_spread_is_the_mean_squared_cosine_of_all_pairs(count, width, seed):
    unit = torch.nn.functional.normalize(torch.randn(count, width, generator=torch_generator(seed)).double(), dim=-1)
    pairs = [float(unit[i] @ unit[j]) ** 2 for i in range(count) for j in range(count) if i != j]
    assert float(spread(unit)) == pytest.approx(sum(pairs) / len(pairs))


def test_spread_is_least_for_white_features_and_without_bias_from_few_images():
    white = torch.nn.functional.normalize(torch.randn(4096, 16, generator=torch_generator(0)), dim=-1)
    flat = torch.nn.functional.normalize(white * torch.linspace(0.1, 2, 16), dim=-1)
    assert float(spread(white)) == pytest.approx(1 / 16, rel=0.01)
    assert float(spread(flat)) > 1.2 / 16
    shards = torch.stack([spread(shard) for shard in flat.split(8)])
    assert float(shards.mean()) == pytest.approx(float(spread(flat)), rel=0.03)
    assert float(spread(white[:1])) == 0.0


def test_readers_ask_for_whitened_class_tokens_only_when_told():
    draws = torch.randn(500, 24, generator=torch_generator(0)) + torch.randn(500, 1, generator=torch_generator(1))
    targets = torch.cat([draws[:, None], torch.randn(500, 16, 24, generator=torch_generator(2))], dim=1)
    rows = np.zeros((500, 1), dtype=np.uint8)
    lesson = Lesson(rows, np.zeros(500, dtype=np.int64), targets.half().numpy(), np.ones((500, 3), dtype=np.float32))
    for white in (False, True):
        readers = Readers(lesson, 24, torch_generator(0), white)
        seen = torch.cov(((draws - readers.class_mean) @ readers.class_scale).T)
        assert torch.diagonal(seen).tolist() == pytest.approx([1.0] * 24, abs=0.15)
        assert bool(torch.allclose(seen, torch.eye(24), atol=0.15)) is white


def test_students_depend_on_the_generator_only_and_leave_the_global_one_alone():
    lesson = tiny_lesson()
    before = torch.random.get_rng_state()
    one, two = tiny_student(lesson), tiny_student(lesson)
    other = build_student(TINY, to_unit(lesson.images, CPU), torch_generator(1, "student"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert digest_tensors(one.state_dict()) == digest_tensors(two.state_dict())
    assert digest_tensors(one.state_dict()) != digest_tensors(other.state_dict())


def test_learning_rate_climbs_then_falls_to_nothing():
    rates = [cosine_ramp(done / 100) for done in range(101)]
    top = rates.index(max(rates))
    assert max(rates) == 1.0 and rates[-1] == pytest.approx(0, abs=1e-9)
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)


def test_class_means_pick_the_nearest_direction_and_ignore_length():
    train = np.array([[1, 0], [5, 0.1], [0, 2], [0.1, 9]], dtype=np.float32)
    labels = np.array([7, 7, 3, 3])
    assert class_means(train, labels, np.array([[90, 10], [0.001, 0.02]], dtype=np.float32)).tolist() == [7, 3]


# worth on real images


def test_plan_has_all_patches_at_the_end():
    plan = Plan()
    assert plan.per_cell(0.0) < 4 and plan.per_cell(0.999) == 4
