"""The plugins beside loggers, benchmarks and classifiers of Avalanche, and what they refuse."""

from __future__ import annotations

import copy
import io
import sys

import numpy as np
import pytest
import torch
from avalanche_makers import A_T, STREAM, TUNING, Spy, accuracies, colours, engine_of, images, learn, strategy_of
from torch import nn
from torch.optim import SGD

from backbones.core.errors import FrostlineError
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


@pytest.fixture(scope="module")
def stream() -> Stream:
    return colours()


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


@pytest.mark.usefixtures("native_bf16")
@pytest.mark.parametrize("recipe", ["strategy", "engine"])
def test_streams_of_texts(recipe: str) -> None:
    def part(count: int, seed: int) -> ArrayTexts:
        generator = np.random.default_rng(seed)
        said = [f"{WORDS[2 + row % 4]} {WORDS[2 + row % 4]}" for row in range(count)]
        texts = [" ".join([said[row], *generator.choice(WORDS[8:], 1 + row % 9)]) for row in range(count)]
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
