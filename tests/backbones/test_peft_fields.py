"""What the configuration of an adapter of PEFT asks for is done or refused by name; adapters of larger models."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from delta_makers import draw, features, lora_of_peft

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.deltas import load_delta
from backbones.pat import peft_layernorm, peft_lora, peft_prefix
from backbones.pat.peft_files import ABOUT, METHODS, check_fields, read_peft, write_peft
from backbones.testing_models import tiny_bert, tiny_clip

CLASSIFIED = {
    "LORA": peft_lora.KNOWN | peft_lora.REFUSED.keys(),
    "LN_TUNING": peft_layernorm.KNOWN,
    "PREFIX_TUNING": peft_prefix.KNOWN,
}
QUERY = "bert.encoder.layer.1.attention.self.query"
ENCODER = "base_model.model.{}encoder.layers.{}.self_attn.{}_proj.lora_{}.weight"


def change(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def classifier(base: Backbone) -> Any:
    from transformers import BertForSequenceClassification

    with torch.random.fork_rng(devices=[]):
        whole = BertForSequenceClassification(base.module.config)  # type: ignore[arg-type]
    whole.bert.load_state_dict(base.module.state_dict(), strict=False)
    return whole


def refusal(folder: Path, backbone: Backbone) -> str:
    plain = features(backbone)
    with pytest.raises(FrostlineError) as caught:
        load_delta(folder, backbone)
    assert torch.equal(features(backbone), plain) and str(folder) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"alpha_pattern": {QUERY: 64}},
        {"alpha_pattern": {f"^{QUERY}": 64, "query": 3}},
        {"alpha_pattern": {r"bert\..*\.query": 64}},
        {"alpha_pattern": {"classifier.query": 64, r"layer\.[02]\..*": 1, "encoder.layer": 5}},
        {"rank_pattern": {QUERY: 7, r"^bert\..*\.value": 1}, "use_rslora": True, "alpha_pattern": {QUERY: 9}},
        {"target_modules": r"bert\.encoder\.layer\.[12]\..*(query|key)"},
        {"exclude_modules": ["bert.encoder.layer.0.attention.self.query"]},
        {"layers_to_transform": [0, 2], "layers_pattern": "encoder.layer"},
        {"fan_in_fan_out": True},
        {"init_lora_weights": "orthogonal"},
    ],
    ids=str,
)
def test_names_of_a_classifier_mean_the_same_here(options: dict[str, Any], tmp_path: Path) -> None:
    """Its modules are called ``bert.encoder...`` there and ``encoder...`` here, and PEFT's patterns say the former."""
    peft = pytest.importorskip("peft")
    base = tiny_bert()
    options = {"r": 4, "lora_alpha": 8, "target_modules": ["query", "value"], "task_type": "SEQ_CLS", **options}
    with torch.random.fork_rng(devices=[]):
        wrapped = peft.get_peft_model(classifier(base), peft.LoraConfig(**options)).eval()
    draw(wrapped, "lora_", 0.0)
    wrapped.save_pretrained(str(tmp_path))
    fresh = tiny_bert()
    delta = load_delta(tmp_path, fresh)
    wanted = features(base, wrapped.base_model.model.bert)
    torch.testing.assert_close(features(fresh), wanted, atol=1e-6, rtol=1e-6)
    merged = delta.merged()
    delta.detach()
    fresh.module.load_state_dict(merged)
    torch.testing.assert_close(features(fresh), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "values",
    [
        {"target_modules": ["value"]},
        {"target_modules": r".*layer\.1.*query"},
        {"target_modules": "all-linear"},
        {"exclude_modules": ["layer.1.attention.self.value"]},
        {"exclude_modules": r".*layer\.[01]\..*"},
        {"layers_to_transform": 1},
        {"layers_to_transform": [0, 2], "layers_pattern": ["layers", "layer"]},
    ],
    ids=str,
)
def test_what_a_configuration_leaves_out_is_left_out(values: dict[str, Any], tmp_path: Path) -> None:
    """As PEFT has it: a user may switch layers of a trained adapter off in its configuration."""
    peft = pytest.importorskip("peft")
    lora_of_peft("bert", tmp_path, target_modules=["query", "value"], r=2)
    change(tmp_path, **values)
    backbone, fresh = tiny_bert(), tiny_bert()
    wrapped = peft.PeftModel.from_pretrained(backbone.module, str(tmp_path)).eval()
    delta = load_delta(tmp_path, fresh)
    torch.testing.assert_close(features(fresh), features(backbone, wrapped), atol=1e-6, rtol=1e-6)
    assert bool(delta.notes) == (values != {"target_modules": "all-linear"})


def test_every_field_of_peft_is_applied_or_refused() -> None:
    """Holds with the oldest and the newest release that we name: a field that PEFT adds shows here."""
    peft = pytest.importorskip("peft")
    kinds = {"LORA": peft.LoraConfig, "LN_TUNING": peft.LNTuningConfig, "PREFIX_TUNING": peft.PrefixTuningConfig}
    assert kinds.keys() == METHODS.keys()
    for name, kind in kinds.items():
        fields = {field.name for field in dataclasses.fields(kind)}
        assert fields <= CLASSIFIED[name] | ABOUT, (name, fields - CLASSIFIED[name] - ABOUT)
        saved = json.loads(json.dumps(kind(peft_type=name).to_dict(), default=str))
        check_fields(saved, CLASSIFIED[name] - peft_lora.REFUSED.keys(), peft_lora.REFUSED, "this")


@pytest.mark.parametrize("key", sorted(peft_lora.REFUSED))
def test_what_is_not_done_is_refused_by_name(key: str, tmp_path: Path) -> None:
    lora_of_peft("bert", tmp_path, target_modules=["query"], r=2)
    change(tmp_path, **{key: "lora_only" if key == "bias" else {"some": 1}})
    message = refusal(tmp_path, tiny_bert())
    assert key in message and peft_lora.REFUSED[key] in message


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kronecker": 3}, "kronecker = 3: what this field of an adapter does is not known here"),
        ({"init_lora_weights": "corda"}, "changes the frozen weights"),
        ({"init_lora_weights": "PiSSA_niter_4"}, "changes the frozen weights"),
        ({"init_lora_weights": "of_tomorrow"}, "changes the frozen weights"),
        ({"lora_alpha": "many"}, "lora_alpha = 'many': 'many' is no number"),
        ({"lora_alpha": float("inf")}, "alpha"),
        ({"alpha_pattern": {"query": None}}, "alpha_pattern.query = None: input should be a valid number"),
        ({"target_modules": 3}, "target_modules"),
        ({"layers_to_transform": "first", "target_modules": ["query"]}, "layers_to_transform"),
        ({"alpha_pattern": {"que(ry": 1}}, "has the pattern"),
        ({"peft_type": "IA3"}, "unknown peft_type 'IA3'"),
    ],
    ids=str,
)
def test_values_that_nothing_here_does(values: dict[str, Any], words: str, tmp_path: Path) -> None:
    lora_of_peft("bert", tmp_path, target_modules=["query"], r=2)
    change(tmp_path, **values)
    assert words in refusal(tmp_path, tiny_bert())


def test_fields_of_tomorrow_that_are_off_ask_for_nothing(tmp_path: Path) -> None:
    wanted = lora_of_peft("bert", tmp_path, target_modules=["query"], r=2)
    change(tmp_path, a=None, b=False, c=[], d={}, e="")
    backbone = tiny_bert()
    load_delta(tmp_path, backbone)
    torch.testing.assert_close(features(backbone), wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", ["LN_TUNING", "PREFIX_TUNING"])
def test_other_methods_refuse_unknown_fields_too(kind: str, tmp_path: Path) -> None:
    write_peft(tmp_path, {"peft_type": kind, "scale": 2.0}, {"prompt_embeddings": torch.ones(4, 144)})
    assert "scale = 2.0" in refusal(tmp_path, tiny_bert())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("kind", ["LORA", "PREFIX_TUNING"])
def test_numbers_that_are_not_finite(kind: str, value: float, tmp_path: Path) -> None:
    if kind == "LORA":
        lora_of_peft("bert", tmp_path, target_modules=["query"], r=2)
        config, tensors = read_peft(tmp_path)
    else:
        config, tensors = {"peft_type": kind}, {"prompt_embeddings": torch.ones(4, 144)}
    name = sorted(tensors)[-1]
    tensors[name].flatten()[3] = value
    write_peft(tmp_path, config, tensors)
    message = refusal(tmp_path, tiny_bert())
    assert name in message and "not finite" in message


def towers(starts: dict[str, int]) -> dict[str, torch.Tensor]:
    """Factors of a LoRA on the queries of several towers; width of each."""
    return {
        ENCODER.format(start, layer, "q", half): torch.full((2, width) if half == "A" else (width, 2), 0.1 * (n + 1))
        for n, (start, width) in enumerate(starts.items())
        for layer in range(3)
        for half in "AB"
    }


@pytest.mark.parametrize("text", [24, 16])
@pytest.mark.parametrize("names", [("vision_model.", "text_model."), ("model.text_tower.", "model.vision_tower.")])
def test_the_tower_of_the_same_modality_is_meant(names: tuple[str, str], text: int, tmp_path: Path) -> None:
    """Whatever stands first in the file, and with no look at an order that Python draws anew in every process."""
    sizes = {name: 24 if "vision" in name else text for name in names}
    tensors = towers(sizes)
    alone = {name: tensor for name, tensor in tensors.items() if "vision" in name}
    found = {}
    for label, each in {"both": tensors, "turned": dict(reversed(tensors.items())), "alone": alone}.items():
        write_peft(tmp_path / label, {"peft_type": "LORA", "r": 2, "lora_alpha": 2}, each)
        backbone = tiny_clip()
        load_delta(tmp_path / label, backbone)
        found[label] = features(backbone)
    assert torch.equal(found["both"], found["alone"]) and torch.equal(found["turned"], found["alone"])
    assert not torch.equal(found["alone"], features(tiny_clip()))


def test_a_tower_of_the_other_modality_is_not_taken(tmp_path: Path) -> None:
    write_peft(tmp_path, {"peft_type": "LORA"}, towers({"text_model.": 24}))
    assert "no factor of the adapter belongs to the backbone" in refusal(tmp_path, tiny_clip())


def test_two_towers_that_fit_alike(tmp_path: Path) -> None:
    write_peft(tmp_path, {"peft_type": "LORA"}, towers({"left.": 24, "right.": 24}))
    assert "2 parts of a model, left. and right." in refusal(tmp_path, tiny_clip())


def test_of_two_towers_the_one_of_the_right_size(tmp_path: Path) -> None:
    write_peft(tmp_path, {"peft_type": "LORA", "r": 2, "lora_alpha": 2}, towers({"left.": 16, "right.": 24}))
    delta: Any = load_delta(tmp_path, tiny_clip())
    assert all(bool((A == 0.2).all()) for A in delta.A.values())
    assert "left out base_model.model.left." in delta.notes[0]
