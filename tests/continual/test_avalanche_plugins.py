"""PATs and heads inside Avalanche's stock strategies: figures of our engine, and nothing frozen in an optimizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from avalanche_makers import A_T, STREAM, TUNING, Spy, accuracies, colours, engine_of, learn, strategy_of
from torch import nn
from torch.optim import AdamW

from backbones.core.seed import derive
from backbones.encoder import Encoder
from backbones.pat.stack import make_pat
from backbones.testing_models import tiny_vit
from benchmarks.avalanche import to_avalanche
from benchmarks.streams import make_stream
from benchmarks.types import Stream
from continual.avalanche import HeadPlugin, IptPlugin, PatPlugin, as_model
from continual.engine import Engine
from continual.heads import HEADS
from continual.settings import Tuning

pytestmark = pytest.mark.filterwarnings("ignore:No loggers specified")


@pytest.fixture(scope="module")
def stream() -> Stream:
    return colours()


@pytest.mark.parametrize("head", ["ipt", "ncm"])
def test_a_frozen_backbone_gives_the_figures_of_the_engine_to_the_last_sample(stream: Stream, head: str) -> None:
    expected = accuracies(engine_of(tiny_vit(), "frozen", head), stream)
    assert 0.3 < expected[-1] < 0.95, "too easy or too hard to tell anything"
    plugin = HeadPlugin(head, seed=5)
    found = learn(strategy_of(as_model(tiny_vit()), [plugin]), to_avalanche(stream))
    assert [step[A_T] for step in found] == pytest.approx(expected, abs=1e-12)
    last = found[-1]
    assert last[STREAM] == pytest.approx(expected[-1], abs=1e-12)
    assert found[0][STREAM] == pytest.approx(expected[0] / 3, abs=1e-12), "the stream includes classes to come"
    assert all(np.isfinite(step["Loss_Stream/eval_phase/test_stream/Task000"]) for step in found)


@pytest.mark.parametrize("schedule", ["first", "every"])
def test_the_recipe_of_the_engine_gives_its_delta_bit_for_bit(stream: Stream, schedule: str) -> None:
    engine = engine_of(tiny_vit(), "vpt", schedule=schedule)
    expected = accuracies(engine, stream)
    pat = PatPlugin("vpt", schedule=schedule, seed=5, tuning=TUNING)
    ipt = IptPlugin(seed=5)
    found = learn(strategy_of(as_model(tiny_vit()), [ipt, pat]), to_avalanche(stream))
    for name, value in engine.delta.state_dict().items():
        assert torch.equal(pat.delta.state_dict()[name], value), name
    for name, value in engine.head.state().items():
        assert torch.equal(ipt.head.state()[name], value), name
    assert [step[A_T] for step in found] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "schedule", "recipe"),
    [
        *[
            (kind, schedule, "strategy")
            for kind in ("Naive", "Cumulative", "Replay")
            for schedule in ("first", "every")
        ],
        ("Cumulative", "first", "engine"),
        ("Replay", "every", "engine"),
    ],
)
def test_stock_strategies_hold_only_what_trains_and_leave_the_backbone_alone(
    stream: Stream, kind: str, schedule: str, recipe: str
) -> None:
    backbone, spy = tiny_vit(), Spy()
    before = {name: value.clone() for name, value in backbone.frozen_state().items()}
    raw = [stream.experiences[0].test[i] for i in range(6)]
    plain = Encoder(backbone).features(raw)
    model = as_model(backbone)
    pat = PatPlugin("vpt", {"length": 2}, schedule=schedule, recipe=recipe)
    extra = {"mem_size": 12} if kind == "Replay" else {}
    strategy = strategy_of(model, [pat, IptPlugin(), spy], kind, AdamW(model.parameters(), lr=0.01), **extra)
    found = learn(strategy, to_avalanche(stream))
    head = {"classifier.weight"}
    first = {"body.delta.prompts", *head} if recipe == "strategy" else head
    later = first if schedule == "every" else head
    for held, expected in zip(spy.held, (first, later, later), strict=True):
        assert held and all(names == expected for names in held)
    rows = {"Naive": [24, 24, 24], "Cumulative": [24, 48, 72]}.get(kind)
    assert spy.rows == rows if rows else spy.rows[1] > 24, "the strategy trains on what it always trains on"
    first, second, third = (deltas["prompts"] for deltas in spy.deltas)
    assert torch.equal(first, second) == torch.equal(second, third) == (schedule == "first")
    assert not torch.equal(plain, Encoder(backbone, pat.delta).features(raw))
    assert found[-1][STREAM] > 1.5 / 6 and found[-1][A_T] == found[-1][STREAM]
    pat.close()
    assert pat.delta is None and model.delta is None
    after = backbone.module.state_dict()
    assert set(after) == set(before) and all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(plain, Encoder(backbone).features(raw))
    assert not backbone.module._forward_hooks and not any(p.requires_grad for p in backbone.module.parameters())


def test_the_head_learns_the_new_experience_alone_whatever_the_strategy_replays(stream: Stream) -> None:
    states = []
    for kind, extra in (("Naive", {}), ("Cumulative", {}), ("Replay", {"mem_size": 12})):
        plugin = IptPlugin(epochs=3)
        learn(strategy_of(as_model(tiny_vit()), [plugin], kind, **extra), to_avalanche(stream))
        states.append(plugin.head.state())
    for other in states[1:]:
        assert all(torch.equal(value, other[name]) for name, value in states[0].items())


@pytest.mark.usefixtures("native_bf16")
def test_logits_do_not_depend_on_the_batch_and_future_classes_are_out_of_reach(stream: Stream) -> None:
    from avalanche.core import SupervisedPlugin

    class Catch(SupervisedPlugin):
        def __init__(self):
            super().__init__()
            self.rows: list[torch.Tensor] = []

        def after_eval_forward(self, strategy, **_):
            self.rows += [row[:6] for row in strategy.mb_output]

    found = []
    for size in (1, 7, 48):
        catch, model = Catch(), as_model(tiny_vit(), memory=0)
        strategy = strategy_of(model, [IptPlugin(seed=5), catch], train_epochs=0)
        benchmark = to_avalanche(stream)
        for experience in benchmark.train_stream[:2]:
            strategy.train(experience)
        strategy.eval_mb_size = size
        strategy.eval(benchmark.test_stream)
        found.append(torch.stack([nn.functional.pad(row, (0, 6 - len(row)), value=-1000.0) for row in catch.rows]))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    coming = list(stream.experiences[2].classes)
    assert (found[0][:, coming] == -1000).all() and (found[0].amax(dim=1) > -100).all()


@pytest.mark.usefixtures("native_bf16")
def test_a_second_evaluation_computes_nothing_and_a_changed_weight_everything(stream: Stream) -> None:
    model, benchmark = as_model(tiny_vit()), to_avalanche(stream)
    strategy = strategy_of(model, [PatPlugin("vpt", {"length": 2}, recipe="strategy"), IptPlugin()])
    strategy.train(benchmark.train_stream[0])
    strategy.eval(benchmark.test_stream)
    began = model.encoder.forwards
    strategy.eval(benchmark.test_stream)
    strategy.train(benchmark.train_stream[0:0])
    assert model.encoder.forwards == began
    batch = torch.stack([benchmark.test_stream[0].dataset[i][0] for i in range(5)])
    old = model.encode(batch)
    with torch.no_grad():
        model.delta.prompts.neg_()  # a constant would go no further than the next norm
    new = model.encode(batch)
    raw = [stream.experiences[0].test[i] for i in range(5)]
    assert not torch.equal(old, new) and torch.equal(new, Encoder(model.source, model.delta).features(raw))


def test_features_are_read_without_dropout_even_in_training() -> None:
    model, batch = as_model(tiny_vit(), memory=0, classifier=nn.Identity()), torch.rand(3, 3, 16, 16)
    delta = model.attach(make_pat("vpt", {"dropout": 0.5}), 0, "every")
    model.train()
    assert torch.equal(model.encode(batch), model.encode(batch)) and delta.training
    assert not torch.equal(model(batch), model(batch)), "training has dropout"
    delta.requires_grad_(False)
    model.train()
    assert torch.equal(model(batch), model(batch)), "a frozen delta has none"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("moving", [False, True])
def test_a_classifier_in_float64_fits_any_precision(moving: bool, precision: str) -> None:
    classifier = nn.Linear(24, 6).double()
    model, batch = as_model(tiny_vit(), classifier=classifier, precision=precision), torch.rand(3, 3, 16, 16)
    if moving:
        model.attach(make_pat("vpt", {}), 0, "every")
    model.train()
    logits = model(batch)
    nn.CrossEntropyLoss(weight=torch.ones(6).double())(logits, torch.arange(3)).backward()
    assert logits.dtype == torch.float64 and classifier.weight.grad.dtype == torch.float64
    assert not moving or model.delta.prompts.grad.abs().max() > 0


def test_memory_is_bounded_and_repeats_within_a_batch_are_one() -> None:
    model = as_model(tiny_vit(), memory=0)
    batch = torch.rand(3, 3, 16, 16)[[0, 1, 0, 2, 1]]
    found = model.encode(batch)
    assert model.encoder.forwards == 3 and torch.equal(found[0], found[2]) and torch.equal(found[1], found[4])
    model.encode(batch)
    assert model.encoder.forwards == 6 and not model._memory._rows


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1993, 1, 2])
@pytest.mark.parametrize(("pat", "recipe"), [("frozen", "strategy"), ("vpt", "strategy"), ("vpt", "engine")])
def test_on_digits_the_recipes_give_the_accuracy_of_the_engine(pat: str, recipe: str, seed: int) -> None:
    from backbones.catalog import load_backbone
    from benchmarks.catalog import BENCHMARKS

    digits = make_stream(BENCHMARKS.load("split-digits").load(), increment=2, seed=seed, shots=40)
    head = HEADS.load("ipt")().build(derive(seed, "head"))
    engine = Engine(load_backbone("bundled:vit-micro"), make_pat(pat, {}), head, seed=seed)
    expected = accuracies(engine, digits)
    model, usual = as_model("bundled:vit-micro", seed=seed), Tuning()
    optimizer = AdamW(model.parameters(), lr=usual.lr, weight_decay=usual.weight_decay)
    plugins = [PatPlugin(pat, seed=seed, recipe=recipe), IptPlugin(seed=seed)]
    strategy = strategy_of(model, plugins, optimizer=optimizer, train_epochs=usual.epochs)
    strategy.train_mb_size = usual.batch
    torch.manual_seed(seed)
    for experience in to_avalanche(digits).train_stream:
        strategy.train(experience)
    found = strategy.eval(to_avalanche(digits).test_stream)[A_T]
    # Trained by the strategy, with its own order of samples and a constant rate, the delta is another one: a sample of
    # the 450 is 0.22 points, and differences of 1 to 3 samples were measured.
    exact = recipe == "engine" or pat == "frozen"
    assert found == pytest.approx(expected[-1], abs=1e-12 if exact else 0.01)
