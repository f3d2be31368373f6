"""What a training step of each PAT costs: ``python -m benchmarks.perf.pats --out DIR``.

A step is forward, cross-entropy, backward and AdamW. Every registered PAT has its default settings, in all blocks and
in the upper quarter alone (computing the blocks below, or reading what they give from the feature store). The measure
is PEFT's own LoRA on the same model: same weights, shapes, rank and target modules as our ``lora`` has by default. All
sides run in this process in turn, one thread, and each figure is a ratio of CPU seconds; a second copy of PEFT's side
shows what the machine's noise makes of a ratio that is 1.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from backbones.base import Backbone
from backbones.catalog import LoadOptions, load_backbone
from backbones.core.artifacts import write_json, write_text
from backbones.core.samples import Samples
from backbones.core.seed import lent_generator, numpy_generator, torch_generator
from backbones.delta import Delta
from backbones.encoder import Encoder, entering
from backbones.features import FeatureStore
from backbones.pat import PATS
from backbones.pat.lora import Lora
from backbones.text import from_encoder
from benchmarks.images import ArrayImages
from benchmarks.perf.pats_page import Line, render
from benchmarks.texts import ArrayTexts
from continual.settings import Tuning

UPPER, LAYER = "9-11", 9
CLASSES = 10
SCALE = 16.0
EPOCHS = Tuning().epochs
WORDS = 30  # of a text: 32 tokens
PEFT = "LoRA of PEFT"
AGAIN = "LoRA of PEFT, again"
Work = Callable[[], object]


@dataclass
class Case:
    """A backbone of twelve blocks and raw inputs for it."""

    name: str
    backbone: Backbone
    samples: Samples

    def copy(self) -> Backbone:
        """Return a backbone of its own structure on the same weights, so that many fit into memory and caches."""
        shared = {id(tensor): tensor for tensor in self.backbone.module.parameters()}
        shared[id(self.backbone.preprocessing)] = self.backbone.preprocessing  # type: ignore[assignment]
        return copy.deepcopy(self.backbone, shared)  # type: ignore[arg-type]


@dataclass
class Side:
    """One way to train: a step, and the CPU seconds of each time that it ran."""

    name: str
    way: str
    work: Work
    parameters: int = 0
    seconds: list[float] = field(default_factory=list)


def step_of(
    forward: Callable[[Tensor], Tensor], fetch: Callable[[], Tensor], parameters: Sequence[nn.Parameter], width: int
) -> Work:
    """Return a training step with a temporary cosine classifier, as ``continual.training`` has it."""
    classifier = nn.Parameter(torch.randn(CLASSES, width, generator=torch_generator(0, "classifier")))
    optimizer = torch.optim.AdamW([*parameters, classifier], lr=1e-4, fused=True)

    def work() -> None:
        optimizer.zero_grad(set_to_none=True)
        features = forward(fetch())
        targets = torch.arange(len(features)) % CLASSES
        logits = SCALE * normalize(features, dim=1) @ normalize(classifier, dim=1).T
        cross_entropy(logits, targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return work


def peft_side(case: Case, name: str, batch: Tensor) -> Side:
    """Return LoRA as PEFT injects it, into the layers that ours takes by default."""
    from peft import LoraConfig, inject_adapter_in_model

    backbone, ours = case.copy(), Lora()
    paths = [site.path for site, _ in ours.chosen(backbone)]
    config = LoraConfig(r=ours.r, lora_alpha=int(ours.alpha), lora_dropout=ours.dropout, target_modules=paths)
    inject_adapter_in_model(config, backbone.module)
    trained = [tensor for tensor in backbone.module.parameters() if tensor.requires_grad]
    count = sum(tensor.numel() for tensor in trained)
    assert count == ours.parameter_count(case.backbone), "PEFT trains other layers than we do"
    return Side(name, "full", step_of(backbone.features, lambda: batch, trained, backbone.width), count)


def grown(case: Case, name: str, stage: int, values: dict[str, Any]) -> tuple[Backbone, Delta, list[nn.Parameter]]:
    """Return a backbone with a delta on it that is ready for a stage of its training, and what it trains there."""
    backbone = case.copy()
    delta: Delta = PATS.load(name).parse(values, name).grow(backbone, 0)
    for number in range(stage + 1):
        delta.enter(0, number)
    delta.train()
    return backbone, delta, [tensor for tensor in delta.parameters() if tensor.requires_grad]


def sides_of(case: Case, name: str, batch: Tensor, folder: Path) -> list[Side]:
    """Return every way and stage in which a PAT trains; none for a PAT that has nothing to train."""
    found: list[Side] = []
    upper = {"layers": UPPER} if "layers" in PATS.load(name).model_fields else None
    backbone, delta, _ = grown(case, name, -1, {})
    stages = delta.stages(0) if delta.parameter_count else 0
    for stage in range(stages):
        shown = name if stages == 1 else f"{name}, stage {stage + 1} of {stages}"
        backbone, delta, trained = grown(case, name, stage, {})
        count = sum(tensor.numel() for tensor in trained)
        found.append(Side(shown, "full", step_of(backbone.features, lambda: batch, trained, backbone.width), count))
        if upper is None:
            continue
        for way, make in (("upper", computing), ("stored", reading)):
            backbone, delta, trained = grown(case, name, stage, upper)
            found.append(Side(shown, way, make(case, Encoder(backbone, delta, "fp32"), trained, batch, folder)))
    return found


def computing(case: Case, encoder: Encoder, trained: Sequence[nn.Parameter], batch: Tensor, folder: Path) -> Work:
    """Return the step that computes what enters the lowest touched block."""
    return step_of(encoder.backbone.features, lambda: batch, trained, encoder.backbone.width)


def reading(case: Case, encoder: Encoder, trained: Sequence[nn.Parameter], batch: Tensor, folder: Path) -> Work:
    """Return the step that reads what enters the lowest touched block from the store's files."""
    assert encoder.delta is not None
    layer = encoder.delta.first_layer
    stored = FeatureStore(folder).activations(encoder, case.samples, layer)
    rows = list(range(len(case.samples)))

    def forward(packed: Tensor) -> Tensor:
        with entering(encoder.backbone, layer) as enter:
            return enter(packed)

    return step_of(forward, lambda: stored[rows], trained, encoder.backbone.width)


def measure(case: Case, names: Sequence[str], repeats: int, folder: Path) -> list[Line]:
    """Time all sides of a case, interleaved."""
    raw = [case.samples[row] for row in range(len(case.samples))]
    batch = case.backbone.preprocessing(raw)
    peft, again = peft_side(case, PEFT, batch), peft_side(case, AGAIN, batch)
    encoder = Encoder(case.copy(), None, "fp32")
    below = Side("blocks below", "below", lambda: encoder.lower(batch, LAYER))
    sides = [peft, *(side for name in names for side in sides_of(case, name, batch, folder)), below, again]
    for number in range(-1, repeats):
        for side in sides:
            began = time.process_time()
            side.work()
            if number >= 0:  # the first round warms up: optimizers make their states
                side.seconds.append(time.process_time() - began)
        print(f"{case.name}: round {number + 2} of {repeats + 1}", flush=True)
    return [_line(case.name, side, sides) for side in sides if side.way == "full"]


def _line(case: str, side: Side, sides: Sequence[Side]) -> Line:
    median = {(other.name, other.way): statistics.median(other.seconds) for other in sides}
    least = {(other.name, other.way): min(other.seconds) for other in sides}
    full, upper, stored = (median.get((side.name, way)) for way in ("full", "upper", "stored"))
    assert full is not None
    below = median["blocks below", "below"] / EPOCHS
    return Line(
        case=case,
        pat=side.name,
        repeats=len(side.seconds),
        parameters=side.parameters,
        seconds=full,
        to_peft=full / median[PEFT, "full"],
        least_to_peft=least[side.name, "full"] / least[PEFT, "full"],
        upper=None if upper is None else upper / full,
        kept=None if stored is None else (below + stored) / full,
        stored=None if stored is None else stored / full,
    )


def vit_case(weights: Path | None, count: int) -> Case:
    """Return a ViT-Ti/16 at 224 px with random images; its weights are random if none are given."""
    from timm import create_model

    from backbones.core.preprocess import Preprocessing
    from backbones.vit import from_timm

    if weights is None:
        with lent_generator(0):
            module = create_model("vit_tiny_patch16_224", num_classes=0)
        backbone = from_timm(module, "ViT-Ti", Preprocessing(224))
    else:
        backbone = load_backbone("timm:vit_tiny_patch16_224", LoadOptions(weights=weights))
    generator = numpy_generator(0, "perf pats")
    images = generator.integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)
    name = f"ViT-Ti/16, {count} images of 224 px"
    return Case(name, backbone, ArrayImages(images, [0] * count))


def text_case(count: int) -> Case:
    """Return a BERT of the shape of MiniLM-L12-H384 (random weights) with random texts of 32 tokens."""
    from transformers import BertConfig, BertModel

    installed = load_backbone("minilm")
    config = BertConfig(**{**installed.module.config.to_dict(), "num_hidden_layers": 12})  # type: ignore[operator,union-attr]
    with lent_generator(0):
        module = BertModel(config, add_pooling_layer=False)
    backbone = from_encoder(module, "MiniLM-L12", installed.preprocessing)  # type: ignore[arg-type]
    generator = numpy_generator(0, "perf pats")
    texts = [" ".join(generator.choice(["red", "card", "bank", "flight", "now"], WORDS)) for _ in range(count)]
    return Case(f"MiniLM-L12, {count} texts of {WORDS + 2} tokens", backbone, ArrayTexts(texts, [0] * count))


def _others(path: Path, measured: set[str]) -> list[Line]:
    """Return the lines of cases that an earlier run wrote and this one did not measure."""
    if not path.is_file():
        return []
    found = [Line(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    return [line for line in found if line.case not in measured]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=None, help="of vit_tiny_patch16_224; else random")
    parser.add_argument("--pats", nargs="+", default=PATS.names(), help="registered names; all if not given")
    parser.add_argument("--cases", nargs="+", choices=("image", "text"), default=("image", "text"), help="others stay")
    parser.add_argument("--batch", type=int, default=8, help="images; texts are twice as many")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    made = {"image": lambda: vit_case(options.weights, options.batch), "text": lambda: text_case(2 * options.batch)}
    lines: list[Line] = []
    for kind in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            lines += measure(made[kind](), options.pats, options.repeats, Path(folder))
    lines = [*lines, *_others(options.out / "pat-speed.json", {line.case for line in lines})]
    write_json(options.out / "pat-speed.json", [asdict(line) for line in lines])
    write_text(options.out / "pat-speed.md", render(lines))
    print(render(lines))


if __name__ == "__main__":
    main()
