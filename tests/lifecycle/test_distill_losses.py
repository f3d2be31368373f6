"""Layer maps, students and the losses of TinyBERT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch.nn.functional import cross_entropy, mse_loss

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.launch import autocast
from backbones.encoder import Encoder
from backbones.lifecycle.distill.answers import Answers
from backbones.lifecycle.distill.images import flip_and_shift
from backbones.lifecycle.distill.layers import layer_map, parse_map
from backbones.lifecycle.distill.losses import Matching, Terms, prediction_losses, soft_loss
from backbones.lifecycle.distill.stages import match_layers
from backbones.lifecycle.distill.student import Shape, build_student, check_student, heads_of, size_of
from backbones.lifecycle.distill.trace import Trace, real_tokens
from backbones.testing_models import (
    raw_batch,
    tiny_bert,
    tiny_clip,
    tiny_distilbert,
    tiny_roberta,
    tiny_transformers_vit,
    tiny_vit,
)
from backbones.training.loop import Recipe

ALL = [tiny_bert, tiny_roberta, tiny_distilbert, tiny_vit, tiny_transformers_vit, tiny_clip]
SAME = Terms(projection="identity")


def apart(student: Backbone, teacher: Backbone, layers: tuple[int, ...], terms: Terms, raw: list[Any]) -> Any:
    """Return the terms of the layers for some inputs, teacher asked afresh."""
    batch = teacher.preprocessing(raw)
    matching = Matching(student, teacher, layers, terms)
    theirs = Answers(teacher, layers, terms, room=0).seen(batch)
    with Trace(student, range(len(layers))) as trace:
        return matching(trace.run(batch)[1], theirs, real_tokens(student, batch))


@given(some.integers(1, 24), some.integers(1, 8))
def test_the_even_map_ends_at_the_top_in_equal_strides(student: int, times: int) -> None:
    found = layer_map(student, student * times)
    assert found == tuple(range(times, student * times + 1, times))


def test_layers_that_do_not_divide_name_those_that_do() -> None:
    with pytest.raises(FrostlineError, match=r"4 layers do not divide the teacher's 6.*can have 1, 2, 3, 6\..*--map"):
        layer_map(4, 6)
    assert layer_map(4, 6, (1, 2, 4, 6)) == (1, 2, 4, 6)


@pytest.mark.parametrize(
    ("layers", "words"),
    [((1, 2), "names 2 layers, but the student has 3"), ((1, 2, 7), "1 to 6"), ((3, 2, 6), "does not rise")],
)
def test_maps_that_do_not_fit_are_named(layers: tuple[int, ...], words: str) -> None:
    with pytest.raises(FrostlineError, match=words):
        layer_map(3, 6, layers)


def test_maps_are_read_from_words() -> None:
    assert parse_map("2,4, 6") == (2, 4, 6)
    assert parse_map("even") is None
    with pytest.raises(FrostlineError, match="'2;4' is not of the form 2,4,6"):
        parse_map("2;4")
    with pytest.raises(FrostlineError, match="0 layers learns nothing"):
        layer_map(0, 6)


@pytest.mark.parametrize("make", ALL)
def test_a_student_that_is_its_teacher_has_no_loss_in_any_layer(make: Callable[[], Backbone]) -> None:
    teacher = make()
    student = build_student(teacher, Shape(layers=3), (1, 2, 3))
    assert student.copied == student.tensors
    losses = apart(student.backbone, teacher, (1, 2, 3), SAME, raw_batch(teacher, 6))
    assert {name: float(value) for name, value in losses.items()} == {"embedding": 0.0, "hidden": 0.0, "attention": 0.0}
    learned = apart(student.backbone, teacher, (1, 2, 3), Terms(), raw_batch(teacher, 6))
    assert learned["hidden"].item() == 0.0  # projections between equal widths begin as the identity


def test_the_terms_are_mean_squared_errors_of_what_is_seen() -> None:
    teacher, student = tiny_vit(), tiny_vit(depth=1, seed=5)
    batch = teacher.preprocessing(raw_batch(teacher, 4))
    found = apart(student, teacher, (3,), SAME, raw_batch(teacher, 4))
    with torch.no_grad(), Trace(student, [0]) as mine, Trace(teacher, [2]) as theirs:
        own, other = mine.run(batch)[1], theirs.run(batch)[1]
    assert own.embedding is not None and other.embedding is not None
    torch.testing.assert_close(found["embedding"].detach(), mse_loss(own.embedding, other.embedding))
    torch.testing.assert_close(found["hidden"].detach(), mse_loss(own.hidden[0], other.hidden[2]))
    torch.testing.assert_close(found["attention"].detach(), mse_loss(own.scores[0], other.scores[2]))


def test_padding_and_company_change_no_loss_and_no_gradient_is_nan() -> None:
    teacher, student = tiny_bert(), tiny_bert(seed=3)
    texts = ["a cat", "the red dog runs to my bank now please where is the cat"]
    together = apart(student, teacher, (1, 2, 3), SAME, texts)
    alone = [apart(student, teacher, (1, 2, 3), SAME, [text]) for text in texts]
    for name, value in together.items():
        torch.testing.assert_close(value, (alone[0][name] + alone[1][name]) / 2, atol=1e-5, rtol=1e-5)
    student.module.requires_grad_(True)
    sum(apart(student, teacher, (1, 2, 3), SAME, texts).values()).backward()
    grads = [param.grad for param in student.module.parameters() if param.grad is not None]
    assert len(grads) > 40 and all(torch.isfinite(grad).all() for grad in grads)


def test_the_soft_term_is_the_cross_entropy_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    mine, theirs = torch.randn(2, 7, 5, generator=generator)
    wanted = cross_entropy(mine / 3, (theirs / 3).softmax(1))
    torch.testing.assert_close(soft_loss(mine, theirs, 3.0), wanted)
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    both = prediction_losses(mine, theirs, labels, Terms(soft=0.5, hard=2.0, temperature=3.0))
    torch.testing.assert_close(both["soft"], 0.5 * wanted)
    torch.testing.assert_close(both["hard"], 2.0 * cross_entropy(mine, labels))


def test_terms_need_a_weight() -> None:
    with pytest.raises(FrostlineError, match="all weights are 0"):
        Terms.parse({"embedding": 0, "hidden": 0, "attention": 0, "soft": 0}, "the losses")


def test_heads_and_widths_that_cannot_be_compared_are_refused() -> None:
    teacher = tiny_bert()
    student = build_student(teacher, Shape(layers=1, heads=4), (3,)).backbone
    with pytest.raises(FrostlineError, match=r"4 heads and the teacher 2.*attention term to 0"):
        apart(student, teacher, (3,), SAME, ["a cat"])
    assert set(apart(student, teacher, (3,), SAME.without("attention"), ["a cat"])) == {"embedding", "hidden"}
    thin = build_student(teacher, Shape(layers=1, width=16), (3,)).backbone
    with pytest.raises(FrostlineError, match="equal widths: the student is 16 wide, the teacher 24"):
        Matching(thin, teacher, (3,), SAME)


@pytest.mark.usefixtures("native_bf16")
@pytest.mark.parametrize("make", ALL)
def test_students_have_the_size_that_was_asked_for_and_learn(make: Callable[[], Backbone]) -> None:
    teacher = make()
    before, state = teacher.fingerprint(), torch.get_rng_state()
    student = build_student(teacher, Shape(layers=1, width=16, inner=48), (3,), "random", 1).backbone
    assert torch.equal(torch.get_rng_state(), state)
    size = size_of(student)
    assert (size.layers, size.width, size.heads, size.inner) == (1, 16, heads_of(teacher), 48)
    samples = raw_batch(teacher, 8)
    matching = Matching(student, teacher, (3,), Terms())
    vary = flip_and_shift if teacher.modality == "image" else None
    answers = Answers(teacher, (3,), Terms())
    course = match_layers(student, answers, matching, samples, Recipe(steps=16, batch=8, lr=1e-2), vary=vary)
    assert course.history[-1]["loss"] < 0.7 * course.history[0]["loss"]
    assert teacher.fingerprint() == before
    assert not any(param.requires_grad for param in student.module.parameters())


def test_copies_come_from_the_mapped_layers() -> None:
    teacher = tiny_bert()
    made = build_student(teacher, Shape(layers=2), (1, 3))
    mine, theirs = made.backbone.frozen_state(), teacher.frozen_state()
    for own, other in ((0, 0), (1, 2)):
        for name in ("attention.self.query.weight", "output.dense.bias"):
            assert torch.equal(mine[f"encoder.layer.{own}.{name}"], theirs[f"encoder.layer.{other}.{name}"])
    inner = build_student(teacher, Shape(layers=2, inner=30), (1, 3))
    assert inner.copied < made.copied  # feed-forward networks of another shape begin random
    with pytest.raises(FrostlineError, match="unknown start 'teacher'"):
        build_student(teacher, Shape(layers=2), (1, 3), "teacher")


def test_widths_that_heads_do_not_divide_name_the_nearest() -> None:
    with pytest.raises(FrostlineError, match="313 is no multiple of its 2 heads; the nearest widths are 312 and 314"):
        build_student(tiny_bert(), Shape(layers=1, width=313), (3,))


def test_students_from_elsewhere_must_read_inputs_alike() -> None:
    check_student(tiny_bert(seed=1), tiny_distilbert())  # one tokenizer, another class
    with pytest.raises(FrostlineError, match=r"tokenizers of the student 'tiny-roberta'.* differ"):
        check_student(tiny_roberta(), tiny_bert())
    with pytest.raises(FrostlineError, match=r"takes images, the teacher 'tiny-bert' texts"):
        check_student(tiny_vit(), tiny_bert())
    with pytest.raises(FrostlineError, match="19 tokens in the student and 17 in the teacher"):
        check_student(tiny_vit(registers=2), tiny_vit())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_answers_are_computed_once_and_kept_in_half_precision(kind: torch.dtype, precision: str) -> None:
    teacher = tiny_bert()
    head = torch.nn.Linear(24, 3).to(kind)
    batch = teacher.preprocessing(["a cat", "my dog"])
    answers = Answers(teacher, (2, 3), SAME, head)
    with autocast(teacher.device, precision):
        first = answers.seen(batch, ["one", "two"])
        logits = answers.logits(batch, ["one", "two"])
        teacher.module = None  # type: ignore[assignment]  # whoever asks it again fails
        again = answers.seen(batch, ["two", "one"])
        for mine, theirs in zip(again.tensors(), first.tensors(), strict=True):
            torch.testing.assert_close(mine.flip(0), theirs.float(), atol=1e-6, rtol=1e-3)
        assert torch.equal(answers.logits(batch, ["two", "one"]), logits.flip(0))


def test_flips_and_shifts_move_pixels_and_make_none() -> None:
    batch = torch.arange(2 * 3 * 16 * 16, dtype=torch.float32).view(2, 3, 16, 16)
    draw = [flip_and_shift(batch, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])
    for image, source in zip(draw[2], batch, strict=True):
        assert set(image.flatten().tolist()) <= set(source.flatten().tolist())
        assert len(set(image.flatten().tolist())) >= 3 * 14 * 14


def test_features_of_a_student_are_read_as_the_teachers() -> None:
    teacher = tiny_bert(pooling="cls")
    student = build_student(teacher, Shape(layers=3), (1, 2, 3)).backbone
    raw = raw_batch(teacher, 4)
    assert torch.equal(Encoder(student).features(raw), Encoder(teacher).features(raw))
