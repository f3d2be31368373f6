"""The training loop: its schedule, its order, accumulation, resuming, several processes, refusals."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from backbones.core.errors import FrostlineError
from backbones.training.loop import Recipe, duration, rows_of, train

pytestmark = pytest.mark.usefixtures("native_bf16")

ROWS = torch.randn(23, 5, generator=torch.Generator().manual_seed(0))
TARGETS = ROWS @ torch.arange(1.0, 6.0)


def model():
    layer = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.2), nn.Linear(4, 1))
    with torch.no_grad():
        for number, param in enumerate(layer.parameters()):
            param.copy_(torch.randn(param.shape, generator=torch.Generator().manual_seed(number)))
    return layer


def run(recipe, *, layer=None, **options):
    layer = layer or model()

    def loss(rows, generator):
        noise = 0.1 * torch.randn(len(rows), 5, generator=generator)
        return (layer(ROWS[rows] + noise)[:, 0] - TARGETS[rows]).square().mean()

    course = train(dict(layer.named_parameters()), loss, len(ROWS), recipe, modules=[layer], **options)
    return layer, course


def state(layer):
    return torch.cat([param.detach().flatten() for param in layer.parameters()])


def test_training_lowers_the_loss_and_leaves_no_gradients_and_no_global_draws():
    layer = model().requires_grad_(False)
    before = torch.random.get_rng_state()
    _, course = run(Recipe(steps=200, batch=8, lr=0.05), layer=layer)
    _, losses = course.curve()
    assert losses[-1] < 0.2 * losses[0] and course.steps == 200
    assert not layer.training and all(p.grad is None and not p.requires_grad for p in layer.parameters())
    assert torch.equal(before, torch.random.get_rng_state())


def test_bf16_multiplies_in_bf16_and_keeps_weights_in_fp32():
    seen, layer = [], model()
    layer[0].register_forward_hook(lambda _module, _given, found: seen.append(found.dtype))
    halved, course = run(Recipe(steps=40, batch=8, lr=0.05, precision="bf16"), layer=layer)
    whole, other = run(Recipe(steps=40, batch=8, lr=0.05, precision="fp32"))
    assert set(seen) == {torch.bfloat16} and {param.dtype for param in halved.parameters()} == {torch.float32}
    gap = (state(halved) - state(whole)).abs()
    assert 0 < gap.max() < 0.1  # not the same bits, nearly the same course
    assert course.curve()[1][-1] == pytest.approx(other.curve()[1][-1], rel=0.1)


def test_the_seed_decides_every_bit():
    recipe = Recipe(epochs=2, batch=8, lr=0.05, seed=3)
    assert torch.equal(state(run(recipe)[0]), state(run(recipe)[0]))
    assert not torch.equal(state(run(recipe)[0]), state(run(recipe.model_copy(update={"seed": 4}))[0]))


def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path):
    recipe, file = Recipe(steps=30, batch=8, micro=3, lr=0.05), tmp_path / "checkpoint.safetensors"
    whole, course = run(recipe)

    def stop(step):
        if step == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe, checkpoint=file, save_every=0.0, after=stop)
    assert file.exists()
    resumed, again = run(recipe, checkpoint=file, save_every=0.0)
    assert torch.equal(state(whole), state(resumed))
    assert again.resumed > 0 and again.history == course.history and not file.exists()


@pytest.mark.parametrize("part", [1, 2, 3])
def test_a_run_that_is_stopped_keeps_the_last_whole_step(tmp_path, monkeypatch, part):
    monkeypatch.setattr("backbones.training.loop.POINTS", 4)  # so that it stops between two entries of the curve
    recipe, file = Recipe(steps=30, batch=8, micro=3, lr=0.05), tmp_path / "checkpoint.safetensors"
    whole, course = run(recipe)
    calls, steps = [], []

    def stop(_module, _given):
        calls.append(1)
        if len(steps) == 17 and len(calls) == 17 * 3 + part:
            raise KeyboardInterrupt  # in a forward pass of the eighteenth step

    layer = model()
    handle = layer.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, layer=layer, checkpoint=file, after=steps.append)
    handle.remove()
    resumed, again = run(recipe, checkpoint=file)
    assert again.resumed == 17 and torch.equal(state(whole), state(resumed)) and again.history == course.history


def test_a_checkpoint_of_another_run_is_refused_and_kept(tmp_path):
    file = tmp_path / "checkpoint.safetensors"

    def stop(step):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Recipe(steps=5, batch=8), checkpoint=file, save_every=0.0, after=stop)
    with pytest.raises(FrostlineError, match=r"with recipe\.lr = 0\.001, but this one has 0\.5; pass the same"):
        run(Recipe(steps=5, batch=8, lr=0.5), checkpoint=file)
    wide = nn.Sequential(nn.Linear(5, 6), nn.Dropout(0.2), nn.Linear(6, 1))
    with pytest.raises(FrostlineError, match=r"of another model: 0\.weight has shape \(6, 5\) here and \(4, 5\) there"):
        run(Recipe(steps=5, batch=8), layer=wide, checkpoint=file)
    assert file.exists()
    file.write_bytes(b"nothing")
    with pytest.raises(FrostlineError, match="not a readable safetensors file"):
        run(Recipe(steps=5, batch=8), checkpoint=file)


def test_gradients_of_parts_sum_to_those_of_the_whole():
    layers = []
    for micro in (None, 3, 1):
        layer = model()
        layer[1].p = 0.0

        def loss(rows, _, layer=layer):
            return (layer(ROWS[rows])[:, 0] - TARGETS[rows]).square().mean()

        recipe = Recipe(steps=12, batch=7, micro=micro, lr=0.01, precision="fp32")
        train(dict(layer.named_parameters()), loss, 23, recipe)
        layers.append(state(layer))
    torch.testing.assert_close(layers[0], layers[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layers[0], layers[2], atol=1e-5, rtol=1e-5)


@given(count=st.integers(1, 40), batch=st.integers(1, 12), epoch=st.integers(0, 3))
def test_every_epoch_shows_every_row_once(count, batch, epoch):
    recipe = Recipe(epochs=1, batch=batch)
    steps = math.ceil(count / min(batch, count))
    seen = [row for step in range(epoch * steps, (epoch + 1) * steps) for row in rows_of(step, count, recipe)]
    assert Counter(seen) == Counter(range(count))


@given(steps=st.integers(2, 300), warmup=st.floats(0, 0.9), decay=st.sampled_from(["linear", "cosine", "constant"]))
def test_the_rate_rises_then_never_rises_again(steps, warmup, decay):
    recipe = Recipe(steps=steps, warmup=warmup, decay=decay)
    rates = [recipe.rate(step, steps) for step in range(steps)]
    rise = round(warmup * steps)
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[:rise] == sorted(rates[:rise]) and rates[rise:] == sorted(rates[rise:], reverse=True)


def test_vectors_have_no_weight_decay_and_prefixes_have_their_rate():
    weight, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))

    def loss(rows, generator):
        return 0.0 * (weight.sum() + bias.sum())

    train({"a.weight": weight, "a.bias": bias}, loss, 4, Recipe(steps=1, lr=0.1, warmup=0, weight_decay=0.5))
    assert torch.equal(bias, torch.ones(2)) and torch.allclose(weight, torch.full((2, 2), 0.95))
    train({"a.weight": weight}, loss, 4, Recipe(steps=1, lr=0.1, warmup=0, weight_decay=0.5), rates={"a.": 2.0})
    assert torch.allclose(weight, torch.full((2, 2), 0.95 * 0.9))


def test_named_losses_are_summed_and_logged_apart():
    weight = nn.Parameter(torch.tensor([1.0]))

    def loss(rows, generator):
        return {"one": weight.sum(), "two": 2 * weight.sum()}

    course = train({"w": weight}, loss, 4, Recipe(steps=1, lr=1e-6))
    entry = course.history[0]
    assert entry["one"] == pytest.approx(1) and entry["two"] == pytest.approx(2) and entry["loss"] == pytest.approx(3)


def test_the_time_is_estimated_once():
    said = []
    run(Recipe(steps=10, batch=8), say=said.append, phase="studying")
    assert len(said) == 1 and said[0].startswith("studying: 10 steps, ") and "about" in said[0]


@pytest.mark.parametrize("seconds, text", [(0.2, "1 s"), (61, "61 s"), (181, "3 min"), (7500, "2 h 5 min")])
def test_durations_are_said_as_readers_do(seconds, text):
    assert duration(seconds) == text


def test_a_loss_that_is_not_finite_is_named():
    weight = nn.Parameter(torch.tensor([1.0]))
    with pytest.raises(FrostlineError, match=r"trial: the loss became -inf in step 1 of 3; try a smaller rate"):
        train({"w": weight}, lambda rows, g: (weight - math.inf * weight).sum(), 4, Recipe(steps=3), phase="trial")


def test_nothing_to_train_on_is_refused():
    with pytest.raises(FrostlineError, match="0 samples and 1 tensors to train"):
        train({"w": nn.Parameter(torch.ones(1))}, lambda rows, g: torch.zeros(()), 0, Recipe(steps=1))


@pytest.mark.parametrize("values", [{}, {"steps": 3, "epochs": 1.0}])
def test_exactly_one_length_is_given(values):
    with pytest.raises(FrostlineError, match="give exactly one of them"):
        Recipe.parse(values, "a recipe")


SCRIPT = """
import sys, torch
from torch import nn
from backbones.training import ranks
from backbones.training.loop import Recipe, train
torch.set_num_threads(1)
ranks.join()
torch.manual_seed(ranks.rank())
layer = nn.Linear(3, 1)
if ranks.world() == 1 or ranks.rank() == 0:
    nn.init.constant_(layer.weight, 0.5); nn.init.constant_(layer.bias, 0.1)
rows = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
loss = lambda part, generator: (layer(rows[part])[:, 0] - rows[part].sum(1)).square().mean()
course = train(dict(layer.named_parameters()), loss, 16, Recipe(steps=9, batch=6, micro=2, lr=0.1))
if ranks.rank() == 0:
    print([*layer.weight[0].tolist(), layer.bias.item(), course.history[-1]["loss"]])
ranks.leave()
"""


@pytest.mark.slow  # what pre-training does with two processes is in the default run
def test_two_processes_train_what_one_trains(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    found = []
    for launch in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        out = subprocess.run(
            [sys.executable, *launch, str(script)], capture_output=True, text=True, env=environment, timeout=120
        )
        assert out.returncode == 0, out.stderr[-2000:]
        found.append([float(value) for value in out.stdout.strip().strip("[]").split(",")])
    assert found[0] == pytest.approx(found[1], abs=1e-5)
