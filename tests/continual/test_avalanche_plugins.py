"""PATs and heads inside Avalanche's stock strategies: figures of our engine, and nothing frozen in an optimizer."""

from __future__ import annotations

import copy
import io
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.seed import derive
from backbones.encoder import Encoder
from backbones.pat.sites import UnfitError
from backbones.pat.stack import make_pat
from backbones.testing_models import WORDS, tiny_bert, tiny_vit
from benchmarks.avalanche import to_avalanche
from benchmarks.images import ArrayImages
from benchmarks.streams import make_stream
from benchmarks.texts import ArrayTexts
from benchmarks.types import Dataset, Stream
from continual.avalanche import BackboneClassifier, HeadPlugin, IptPlugin, PatPlugin, as_model
from continual.engine import HEAD, Engine
from continual.engine import test_labels as labels_of
from continual.heads import HEADS
from continual.settings import Tuning

pytestmark = pytest.mark.filterwarnings("ignore:No loggers specified")
TUNING = Tuning(epochs=2, batch=8, lr=0.02)
A_T = "Accuracy_On_Trained_Experiences/eval_phase/test_stream/Task000"
STREAM = "Top1_Acc_Stream/eval_phase/test_stream/Task000"


def images(count: int, seed: int, classes: int = 6, side: int = 20) -> ArrayImages:
    """Noise on a faint colour of the class: neither easy nor hopeless for a random backbone."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    colours = np.random.default_rng(7).integers(90, 160, (classes, 1, 1, 3))
    return ArrayImages(
        np.clip(colours[labels] + generator.normal(0, 90, (count, side, side, 3)), 0, 255).astype(np.uint8), labels
    )


@pytest.fixture(scope="module")
def stream() -> Stream:
    torch.set_num_threads(1)
    data = Dataset("colours", tuple("abcdef"), images(72, 1), images(48, 2))
    return make_stream(data, increment=2, seed=3)


def strategy_of(model: nn.Module, plugins: list, kind: str = "Naive", optimizer=None, loggers=(), **values):
    from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
    from avalanche.training import supervised
    from avalanche.training.plugins import EvaluationPlugin

    judge = EvaluationPlugin(
        accuracy_metrics(stream=True, experience=True, trained_experience=True),
        loss_metrics(stream=True),
        loggers=list(loggers),
    )
    given = {"model": model, "criterion": nn.CrossEntropyLoss(), "train_mb_size": 8, "eval_mb_size": 16}
    optimizer = optimizer or SGD(model.parameters(), lr=0.05, momentum=0.9)
    return getattr(supervised, kind)(**given, optimizer=optimizer, plugins=plugins, evaluator=judge, **values)


def learn(strategy, benchmark) -> list[dict]:
    torch.manual_seed(0)
    found = []
    for experience in benchmark.train_stream:
        strategy.train(experience)
        found.append(strategy.eval(benchmark.test_stream))
    return found


def accuracies(engine: Engine, stream: Stream) -> list[float]:
    """A_t of an engine, weighted by samples."""
    labels, found = labels_of(stream), []
    for step in engine.run(stream):
        seen = sum(len(experience.test) for experience in stream.experiences[: step.index + 1])
        found.append(float((step.predictions[HEAD] == labels)[:seen].mean()))
    return found


def engine_of(backbone: Backbone, pat: str, head: str = "ipt", seed: int = 5, **values) -> Engine:
    made = HEADS.load(head)().build(derive(seed, "head"))
    return Engine(backbone, make_pat(pat, {}), made, seed=seed, tuning=TUNING, **values)


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


class Spy:
    """Notes what an optimizer holds and in which mode the backbone is, in every iteration of every experience."""

    def __new__(cls):
        from avalanche.core import SupervisedPlugin

        class Seen(SupervisedPlugin):
            held: list[list[set[str]]]
            deltas: list[dict]
            rows: list[int]

            def before_training_exp(self, strategy, **_):
                self.held.append([])
                self.rows.append(0)

            def after_update(self, strategy, **_):
                names = {id(value): name for name, value in strategy.model.named_parameters()}
                groups = strategy.optimizer.param_groups
                ids = [id(value) for group in groups for value in group["params"]]
                assert len(ids) == len(set(ids)) and set(map(id, strategy.optimizer.state)) <= set(ids)
                self.held[-1].append({names[key] for key in ids})
                self.rows[-1] += len(strategy.mb_y)
                trainable = {name for name, value in strategy.model.named_parameters() if value.requires_grad}
                assert self.held[-1][-1] == trainable
                assert not strategy.model.source.module.training

            def after_training_exp(self, strategy, **_):
                delta = strategy.model.delta
                state = delta.state_dict() if delta is not None else {}
                self.deltas.append({name: value.clone() for name, value in state.items()})

        made = Seen()
        made.held, made.deltas, made.rows = [], [], []
        return made


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
        model.delta.prompts.add_(0.5)
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


def test_memory_is_bounded_and_repeats_within_a_batch_are_one() -> None:
    model = as_model(tiny_vit(), memory=0)
    batch = torch.rand(3, 3, 16, 16)[[0, 1, 0, 2, 1]]
    found = model.encode(batch)
    assert model.encoder.forwards == 3 and torch.equal(found[0], found[2]) and torch.equal(found[1], found[4])
    model.encode(batch)
    assert model.encoder.forwards == 6 and not model._memory._rows


def test_groups_of_an_optimizer_keep_their_rates(stream: Stream) -> None:
    model = as_model(tiny_vit())
    groups = [{"params": model.body.parameters(), "lr": 0.03}, {"params": model.classifier.parameters(), "lr": 0.1}]
    strategy = strategy_of(
        model, [PatPlugin("vpt", schedule="every", recipe="strategy"), Spy()], optimizer=SGD(groups, lr=1.0)
    )
    for experience in to_avalanche(stream).train_stream:
        strategy.train(experience)
        held = {group["lr"]: [id(p) for p in group["params"]] for group in strategy.optimizer.param_groups}
        assert held == {0.03: [id(model.delta.prompts)], 0.1: [id(model.classifier.weight)]}


def test_loggers_of_avalanche_write_what_they_always_write(stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
    from avalanche.logging import InteractiveLogger, TextLogger

    text = io.StringIO()
    strategy = strategy_of(as_model(tiny_vit()), [IptPlugin()], loggers=[TextLogger(text), InteractiveLogger()])
    benchmark = to_avalanche(stream)
    strategy.train(benchmark.train_stream[0])
    result = strategy.eval(benchmark.test_stream[:1])
    written = f"{STREAM} = {result[STREAM]:.4f}"
    assert written in text.getvalue() and written in capsys.readouterr().out


def test_other_plugins_go_along_and_periodic_evaluation_too(stream: Stream) -> None:
    from avalanche.training.plugins import EWCPlugin, LRSchedulerPlugin, LwFPlugin

    model = as_model(tiny_vit())
    optimizer = SGD(model.parameters(), lr=0.05)
    plugins = [PatPlugin("vpt", recipe="strategy"), IptPlugin(), EWCPlugin(1.0)]
    plugins.append(LRSchedulerPlugin(torch.optim.lr_scheduler.StepLR(optimizer, 1)))
    strategy = strategy_of(model, plugins, optimizer=optimizer, eval_every=1, train_epochs=2)
    assert learn(strategy, to_avalanche(stream))[-1][A_T] > 1.5 / 6
    frozen = strategy_of(as_model(tiny_vit()), [IptPlugin(), LwFPlugin()])
    assert learn(frozen, to_avalanche(stream))[-1][A_T] > 1.5 / 6
    with pytest.raises(FrostlineError, match=r"cannot be copied.*LwF"):
        strategy_of(as_model(tiny_vit()), [PatPlugin("vpt", tuning=TUNING), LwFPlugin()]).train(
            to_avalanche(stream).train_stream[0]
        )


def test_a_copy_of_a_plain_model_is_independent() -> None:
    model = as_model(tiny_vit())
    twin, batch = copy.deepcopy(model), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        next(model.source.module.parameters()).add_(1.0)
    assert not torch.equal(twin.encode(batch), model.encode(batch))
    assert twin.source.module is twin.body["backbone"] is not model.source.module


def test_stock_benchmarks_with_their_own_transforms_and_a_stock_classifier(stream: Stream) -> None:
    from avalanche.benchmarks.classic import classic_benchmarks_utils  # noqa: F401 (a stock benchmark would need a download)
    from avalanche.benchmarks.scenarios.deprecated.generators import nc_benchmark
    from avalanche.models import IncrementalClassifier
    from torchvision.transforms import Compose, RandomHorizontalFlip, ToTensor

    class Digits(torch.utils.data.Dataset):
        """What torchvision's sets are: PIL images, targets, a transform left to the benchmark."""

        def __init__(self, samples: ArrayImages) -> None:
            from PIL import Image

            self.images = [Image.fromarray(samples[i]) for i in range(len(samples))]
            self.targets = samples.labels.tolist()

        def __len__(self):
            return len(self.images)

        def __getitem__(self, index):
            return self.images[index], self.targets[index]

    benchmark = nc_benchmark(
        Digits(images(72, 1)),
        Digits(images(48, 2)),
        n_experiences=3,
        task_labels=False,
        fixed_class_order=[4, 1, 0, 5, 3, 2],
        train_transform=Compose([RandomHorizontalFlip(), ToTensor()]),
        eval_transform=ToTensor(),
    )
    backbone = tiny_vit()
    model = as_model(backbone, classifier=IncrementalClassifier(backbone.width))
    plugin = HeadPlugin("ncm")
    found = learn(strategy_of(model, [plugin]), benchmark)
    data = Dataset("colours", tuple("abcdef"), images(72, 1), images(48, 2))
    ours = make_stream(data, increment=2, order=[4, 1, 0, 5, 3, 2])
    engine = engine_of(tiny_vit(), "frozen", "ncm")
    assert [step[A_T] for step in found] == pytest.approx(accuracies(engine, ours), abs=1e-12)
    for name, value in engine.head.state().items():
        assert torch.equal(plugin.head.state()[name], value), "heads learn without augmentation"


@pytest.mark.parametrize("recipe", ["strategy", "engine"])
def test_streams_of_texts(recipe: str) -> None:
    def part(count: int, seed: int) -> ArrayTexts:
        generator = np.random.default_rng(seed)
        texts = [" ".join([WORDS[2 + row % 4], *generator.choice(WORDS[8:], 1 + row % 9)]) for row in range(count)]
        return ArrayTexts(texts, [row % 4 for row in range(count)])

    texts = make_stream(Dataset("words", tuple("abcd"), part(48, 0), part(24, 1)), increment=2)
    pat, ipt = PatPlugin("frozen", recipe=recipe), IptPlugin(seed=5)
    model = as_model(tiny_bert())
    found = learn(strategy_of(model, [pat, ipt]), to_avalanche(texts))
    expected = accuracies(engine_of(tiny_bert(), "frozen"), texts)
    assert [step[A_T] for step in found] == pytest.approx(expected, abs=1e-12) and expected[-1] > 0.5
    with pytest.raises(FrostlineError, match="takes texts"):
        model(torch.rand(2, 3, 16, 16))


def test_prepared_images_give_the_same_features_as_raw_ones(stream: Stream) -> None:
    raw = [stream.experiences[0].test[i] for i in range(5)]
    expected = Encoder(tiny_vit()).features(raw)
    unit = torch.stack([torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255 for image in raw])
    assert torch.equal(as_model(tiny_vit()).encode(unit), expected)
    eight = torch.stack([torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in raw])
    assert torch.equal(as_model(tiny_vit()).encode(eight), expected)
    model = as_model(tiny_vit(), inputs="preprocessed")
    assert torch.equal(model.encode(torch.stack([model.preprocess(image) for image in raw])), expected)
    grey = as_model(tiny_vit())
    assert torch.equal(grey.encode(unit[:, :1]), grey.encode(unit[:, :1].expand(-1, 3, -1, -1)))


def test_nothing_draws_from_the_global_generator(stream: Stream) -> None:
    benchmark = to_avalanche(stream)
    model, plugins = as_model(tiny_vit()), [PatPlugin("vpt", tuning=TUNING), IptPlugin()]
    strategy = strategy_of(model, plugins, train_epochs=0)
    state = torch.random.get_rng_state()
    strategy.train(benchmark.train_stream[0])
    strategy.eval(benchmark.test_stream[:1], num_workers=0)
    # What is left is the draw that a data loader of torch makes for its workers, one for each pass over the data.
    after = torch.random.get_rng_state()
    torch.random.set_rng_state(state)
    torch.empty((), dtype=torch.int64).random_()
    assert torch.equal(after, torch.random.get_rng_state())


class TwoStages:
    """A PAT that learns in two stages."""

    def __init__(self) -> None:
        self.inner = make_pat("vpt", {"length": 1})

    def grow(self, backbone, seed):
        delta = self.inner.grow(backbone, seed)
        delta.stages = lambda experience: 2
        return delta


def test_a_pat_of_several_stages_is_left_to_the_engine(stream: Stream) -> None:
    model, plugin = as_model(tiny_vit()), PatPlugin("vpt", recipe="strategy")
    plugin.pat = TwoStages()
    strategy = strategy_of(model, [plugin])
    with pytest.raises(FrostlineError, match=r"2 stages.*recipe='engine'"):
        strategy.train(to_avalanche(stream).train_stream[0])
    assert model.delta is None
    plugin = PatPlugin("vpt", tuning=TUNING)
    plugin.pat = TwoStages()
    strategy_of(model, [plugin]).train(to_avalanche(stream).train_stream[0])
    assert plugin.learned == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PatPlugin("vpl"), "unknown PAT 'vpl'. Did you mean 'vpt'"),
        (lambda: PatPlugin("vpt", {"lenght": 3}), "Did you mean 'length'"),
        (lambda: PatPlugin("vpt", layers="6-99").pat.grow(tiny_vit(), 0), "99"),
        (lambda: PatPlugin("vpt", schedule="evry"), "Did you mean 'every'"),
        (lambda: PatPlugin("vpt", recipe="engin"), "Did you mean 'engine'"),
        (lambda: PatPlugin("vpt", recipe="strategy", tuning=TUNING), "tuning is for recipe='engine'"),
        (lambda: PatPlugin("vpt", tuning={"epoch": 3}), "Did you mean 'epochs'"),
        (lambda: IptPlugin(prototype=3), "Did you mean 'prototypes'"),
        (lambda: IptPlugin(tau=-1), "tau = -1"),
        (lambda: HeadPlugin("nmc"), "Did you mean 'ncm'"),
        (lambda: as_model("bundled:vit-mikro"), "Did you mean 'bundled:vit-micro'"),
        (lambda: as_model(tiny_vit(), inputs="units"), "Did you mean 'unit'"),
        (lambda: as_model(tiny_bert(), inputs="preprocessed"), "inputs of a backbone for texts"),
        (lambda: as_model(tiny_vit())(torch.randn(2, 3, 16, 16) * 3), "leave Normalize out"),
        (lambda: as_model(tiny_vit())(torch.rand(2, 768)), "shape (2, 768)"),
        (lambda: as_model(tiny_vit())(["a text"]), "takes tensors of shape"),
        (lambda: as_model(tiny_vit(), inputs="preprocessed")(torch.rand(2, 3, 8, 8)), "shape (3, 16, 16)"),
    ],
)
def test_mistakes_are_named_with_what_is_right(make, words: str) -> None:
    with pytest.raises(FrostlineError) as caught:
        make()
    assert words in str(caught.value)


class Unfit:
    """A PAT that fits no backbone."""

    def grow(self, backbone, seed):
        raise UnfitError("PAT 'unfit' needs what none has.")


def test_mistakes_that_show_in_a_strategy(stream: Stream) -> None:
    first = to_avalanche(stream).train_stream[0]
    for plugin in (PatPlugin("vpt"), IptPlugin()):
        plain = nn.Sequential(nn.Flatten(), nn.Linear(1200, 6))
        with pytest.raises(FrostlineError, match=r"is a Sequential; make it by as_model"):
            strategy_of(plain, [plugin]).train(first)
    with pytest.raises(FrostlineError, match="as a stack, such as 'layernorm"):
        strategy_of(as_model(tiny_vit()), [PatPlugin("vpt"), PatPlugin("vpt")]).train(first)
    plugin = PatPlugin("vpt", recipe="strategy")
    strategy_of(as_model(tiny_vit()), [plugin]).train(first)
    with pytest.raises(FrostlineError, match="a PatPlugin of its own"):
        strategy_of(as_model(tiny_vit()), [plugin]).train(first)
    strategy = strategy_of(as_model(tiny_vit()), [IptPlugin()])
    strategy.train(first)
    with pytest.raises(FrostlineError, match="learned in an earlier experience"):
        strategy.train(first)
    plugin = PatPlugin("vpt")
    plugin.pat = Unfit()
    with pytest.raises(FrostlineError, match=r"needs what none has\. PATs that fit this backbone: .*vpt"):
        strategy_of(as_model(tiny_vit()), [plugin]).train(first)


def test_importing_the_package_leaves_avalanche_alone() -> None:
    import subprocess

    code = "import sys, continual.avalanche; print('avalanche' in sys.modules, 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
    assert BackboneClassifier.__module__ == "continual.avalanche.model"


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
