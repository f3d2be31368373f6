"""Pre-training on miniatures: what a run writes, and how it goes on."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from pretrain_makers import coloured_task
from run_makers import IMAGES, RECIPE, TEXT, Stopped, stop_at
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer
from typer.testing import CliRunner

from backbones.catalog import load_backbone
from backbones.cli import app
from backbones.core.errors import FrostlineError
from backbones.core.seed import torch_generator
from backbones.lifecycle.pretrain import (
    ImagePlan,
    Stops,
    pretrain_images,
    pretrain_text,
)  # fmt: skip
from backbones.lifecycle.pretrain.course import Volume, steps_of
from backbones.lifecycle.pretrain.images import build_vit
from backbones.lifecycle.pretrain.language import ask, build_bert
from backbones.lifecycle.pretrain.masking import Masking
from backbones.lifecycle.pretrain.sequences import Batch
from backbones.lifecycle.pretrain.sizes import BERT_SIZES
from backbones.lm import load_language_model
from backbones.training import ranks


def test_bert_base_has_the_parameters_of_the_paper():
    with torch.device("meta"):
        model = build_bert(BERT_SIZES["base"], 30522, 512)
    assert sum(param.numel() for param in model.bert.parameters()) == 109_482_240


def test_the_first_loss_is_that_of_guessing(text_run):
    vocabulary = len(AutoTokenizer.from_pretrained(text_run.found.model))
    first = text_run.found.course.history[0]
    assert first["words"] == pytest.approx(math.log(vocabulary), abs=0.15)
    assert first["next sentence"] == pytest.approx(math.log(2), abs=0.15)
    assert first["loss"] == pytest.approx(first["words"] + first["next sentence"], abs=1e-6)
    assert text_run.found.figures[-1]["loss"] < text_run.found.figures[0]["loss"]


def test_a_text_run_loads_in_transformers_and_in_ours(text_run):
    folder = text_run.found.model
    for auto in (AutoModelForMaskedLM, AutoModel):
        module, info = auto.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"] and not info["mismatched_keys"]
    texts = ["The river crosses the garden.", "A letter"]
    backbone = load_backbone(str(folder))
    features = backbone.features(backbone.preprocessing(texts))
    assert features.shape == (2, 16)
    tokens = AutoTokenizer.from_pretrained(folder)(texts, return_tensors="pt", padding=True)
    states = module.eval()(**tokens).last_hidden_state
    weights = tokens["attention_mask"][..., None].float()
    assert torch.allclose(features, (states * weights).sum(1) / weights.sum(1), atol=1e-5)
    assert load_language_model(str(folder), "masked").window == 32


def test_checkpoints_are_models_that_know_what_they_have_seen(text_run):
    found = text_run.found
    assert [path.name for path in found.checkpoints] == ["step-1", "step-8"]  # a hundredth and a tenth of 8 are 1
    for path, row in zip(found.checkpoints, found.figures[1:], strict=True):
        facts = json.loads((path / "frostline.json").read_text())
        assert facts["steps"] == row["step"] and facts["words"] == row["seen"] > 0
        load_language_model(str(path), "masked")
    last, model = load_file(found.checkpoints[-1] / "model.safetensors"), load_file(found.model / "model.safetensors")
    assert all(torch.equal(last[key], model[key]) for key in model)
    settings = json.loads((found.folder / "settings.json").read_text())
    row = settings["data"]["tokens"] and settings["data"]["sequences"]
    words = len(text_run.file.read_text().split())
    assert found.figures[-1]["seen"] == pytest.approx(8 * 8 * words * 0.8 / row, rel=0.15)


def test_a_run_says_what_it_does_before_it_does_it(text_run):
    said = " ".join(text_run.said)
    assert "million parameters" in said and "8 steps see" in said and "s each, about" in said


@pytest.mark.parametrize("kind", ["text", "images"])
def test_a_stopped_run_goes_on_to_the_same_bits(kind, text_run, image_run, tmp_path):
    whole = text_run.found if kind == "text" else image_run

    def go(resume, progress):
        told = {"resume": resume, "progress": progress, "save_every": 0.0}
        if kind == "text":
            return pretrain_text([text_run.file], tmp_path / "run", TEXT, RECIPE, stops=Stops(checkpoints=3), **told)
        stops = Stops(checkpoint_at=(16, 54))
        return pretrain_images(coloured_task(), tmp_path / "run", IMAGES, RECIPE, stops=stops, **told)

    with pytest.raises(Stopped):
        go(False, stop_at(5))
    with pytest.raises(FrostlineError, match=r"exists already.*--resume"):
        go(False, stop_at(5))
    found = go(True, lambda *_: None)
    assert 0 < found.course.resumed < 8
    held, wanted = (load_file(each.model / "model.safetensors") for each in (found, whole))
    assert all(torch.equal(held[key], wanted[key]) for key in wanted)
    assert found.figures == whole.figures and len(found.course.history) == len(whole.course.history)
    with pytest.raises(FrostlineError, match=r"is done: its result is"):
        go(True, lambda *_: None)


SECOND = """
import sys
from pathlib import Path
from transformers import BertForPreTraining
from backbones.lifecycle.pretrain import Stops, TextPlan, pretrain_text
from backbones.training.loop import Recipe
from backbones.training.ranks import leave
print("ready", flush=True)
file, out, plan, recipe = sys.argv[1:]
plan, recipe = TextPlan.model_validate_json(plan), Recipe.model_validate_json(recipe)
pretrain_text([Path(file)], Path(out), plan, recipe, stops=Stops(checkpoints=3))
leave()
"""


def test_two_processes_give_the_weights_of_one(text_run, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    given = [str(text_run.file), str(tmp_path / "two"), TEXT.model_dump_json(), RECIPE.model_dump_json()]
    second = subprocess.Popen(
        [sys.executable, "-c", SECOND, *given],
        env={**os.environ, **torchrun, "RANK": "1", "LOCAL_RANK": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert second.stdout is not None
    try:
        assert second.stdout.readline() == "ready\n"  # else nobody would come to meet this process
        for key, value in {**torchrun, "RANK": "0", "LOCAL_RANK": "0"}.items():
            monkeypatch.setenv(key, value)
        found = pretrain_text([text_run.file], tmp_path / "two", TEXT, RECIPE, stops=Stops(checkpoints=3))
        assert ranks.world() == 2
        ranks.leave()
        assert second.wait(timeout=60) == 0
    finally:
        ranks.leave()
        second.kill()
    two, one = (load_file(each.model / "model.safetensors") for each in (found, text_run.found))
    assert max((two[key] - one[key]).abs().max().item() for key in one) < 1e-5
    assert [row["seen"] for row in found.figures] == [row["seen"] for row in text_run.found.figures]


def test_a_model_goes_on_and_keeps_its_tasks(text_run, tmp_path):
    start = str(text_run.found.model)
    found = pretrain_text([text_run.file], tmp_path / "more", TEXT, RECIPE, start=start)
    assert found.figures[0]["loss"] == pytest.approx(text_run.found.figures[-1]["loss"], abs=0.1)
    assert "next_sentence" in found.figures[0] and found.figures[-1]["loss"] < found.figures[0]["loss"]
    plain = TEXT.model_copy(update={"next_sentence": False, "whole_words": True})
    other = pretrain_text(
        [text_run.file], tmp_path / "plain", plain, RECIPE.model_copy(update={"steps": 2}), start=start
    )
    assert "next_sentence" not in other.figures[0]
    assert type(AutoModelForMaskedLM.from_pretrained(other.model)).__name__ == "BertForMaskedLM"


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
MASKED = {
    "AlbertForMaskedLM": {"embedding_size": 12},
    "BertForMaskedLM": {},
    "DebertaV2ForMaskedLM": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
    "DistilBertForMaskedLM": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32},
    "ElectraForMaskedLM": {"embedding_size": 12},
    "MPNetForMaskedLM": {"pad_token_id": 0},
    "ModernBertForMaskedLM": {
        "pad_token_id": 0,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "bos_token_id": 2,
        "eos_token_id": 3,
    },
    "RobertaForMaskedLM": {},
}


def masked_model(kind, tokens):
    """A random language model of one layer."""
    import transformers

    own = {**({} if kind.startswith("Distil") else SMALL), "max_position_embeddings": 42, **MASKED.get(kind, {})}
    config = getattr(transformers, kind.partition("For")[0] + "Config")(vocab_size=tokens, **own)
    with torch.random.fork_rng():
        return getattr(transformers, kind)(config).eval()


@pytest.mark.parametrize("kind", [kind for kind in MASKED if kind.startswith(("Albert", "Deberta", "MPNet", "Modern"))])
def test_models_of_other_families_go_on_and_are_backbones(kind, text_run, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(text_run.found.model)
    for part in (masked_model(kind, len(tokenizer)), tokenizer):
        part.save_pretrained(tmp_path / "start")
    plan, recipe = TEXT.model_copy(update={"next_sentence": None}), RECIPE.model_copy(update={"steps": 2})
    found = pretrain_text([text_run.file], tmp_path / "more", plan, recipe, start=str(tmp_path / "start"))
    assert load_backbone(str(found.model)).width == 16
    assert type(AutoModelForMaskedLM.from_pretrained(found.model)).__name__ == kind


@pytest.mark.parametrize(
    "kind, changes, reason",
    [
        ("LongformerForMaskedLM", {**SMALL, "attention_window": 4}, "LongformerModel, whose sites .* Text encoders"),
        ("T5EncoderModel", {"d_model": 16, "d_kv": 8, "d_ff": 8, "num_layers": 1}, "not a masked language model"),
        ("DebertaV2Model", SMALL, "lack the masked"),
    ],
)
def test_a_model_that_cannot_go_on_is_refused_before_the_first_step(kind, changes, reason, text_run, tmp_path):
    import transformers

    tokenizer = AutoTokenizer.from_pretrained(text_run.found.model)
    config = getattr(transformers, kind.partition("For")[0].partition("Encoder")[0].removesuffix("Model") + "Config")
    with torch.random.fork_rng():
        module = getattr(transformers, kind)(config(vocab_size=len(tokenizer), **changes))
    for part in (module, tokenizer):
        part.save_pretrained(tmp_path / "start")
    said = []
    with pytest.raises(FrostlineError, match=reason):
        pretrain_text([text_run.file], tmp_path / "more", TEXT, RECIPE, start=str(tmp_path / "start"), say=said.append)
    assert not any("steps" in line for line in said) and not (tmp_path / "more" / "model").exists()


@pytest.mark.parametrize("kind", ["BertForPreTraining", *MASKED])
def test_the_loss_at_hidden_tokens_alone_is_that_of_the_whole_model(kind, text_run):
    tokenizer = AutoTokenizer.from_pretrained(text_run.found.model)
    module = masked_model(kind, len(tokenizer))
    ids = torch.randint(5, len(tokenizer), (3, 16), generator=torch_generator(0))
    word = torch.arange(16).expand(3, -1).clone()
    strange = torch.tensor([0, 1, 0]) if kind == "BertForPreTraining" else None
    batch = Batch(ids, torch.ones(3, 16, dtype=torch.bool), torch.zeros_like(ids), word, strange)
    masking = Masking(tokenizer)
    found = ask(module, batch, masking, torch_generator(1))
    hidden, labels = masking(ids, word, torch_generator(1))
    given = {"labels": labels} | ({} if strange is None else {"next_sentence_label": strange})
    wanted = module(input_ids=hidden, attention_mask=torch.ones_like(ids), **given).loss
    mine = torch.nn.functional.cross_entropy(found.logits, found.labels)
    if strange is not None:
        assert found.strange is not None
        mine = mine + torch.nn.functional.cross_entropy(found.strange, strange)
    assert torch.allclose(mine, wanted, atol=1e-6)


def test_an_image_run_loads_in_timm_and_in_ours(image_run):
    module = timm.create_model(f"local-dir:{image_run.model}", pretrained=True, num_classes=0).eval()
    backbone = load_backbone(str(image_run.model))
    batch = backbone.preprocessing(coloured_task().test.raw([0, 1]))
    assert torch.allclose(backbone.features(batch), module(batch), atol=1e-5)
    assert [path.name for path in image_run.checkpoints] == ["step-2", "step-8"]
    assert image_run.figures[0]["loss"] == pytest.approx(math.log(3), abs=0.3)


def test_vits_by_name_have_the_parameters_of_timm():
    with torch.device("meta"):
        mine = build_vit(ImagePlan(size="ti"), 1000)
        theirs = timm.create_model("vit_tiny_patch16_224", pretrained=False)
    assert [(k, v.shape) for k, v in mine.state_dict().items()] == [
        (k, v.shape) for k, v in theirs.state_dict().items()
    ]


def test_volumes_count_what_is_seen_again_and_short_batches():
    volume = Volume(rows=10, each=2.0, batch=4, unit="words")
    assert [volume.after(step) for step in range(7)] == [0, 8, 16, 20, 28, 36, 40]
    assert steps_of(Stops(checkpoint_at=(1, 16, 17, 40)), volume, 6) == [1, 2, 3, 6]
    assert steps_of(Stops(checkpoints=3), volume, 100) == [1, 10, 100]
    assert steps_of(Stops(checkpoints=1), volume, 100) == [100]


def class_folders(root: Path) -> Path:
    data = coloured_task().train
    for row in range(len(data)):
        file = root / data.classes[int(data.labels[row])] / f"{row}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.samples[row]).save(file)
    return root


def test_the_command_line_writes_a_model_and_a_page(text_run, tmp_path):
    data = class_folders(tmp_path / "data")
    numbers = ["--depth", "1", "--width", "16", "--heads", "2", "--steps", "3", "--batch", "4"]
    images = ["pretrain", "images", str(data), "--image-size", "16", *numbers, "--out", str(tmp_path / "v")]
    text = ["pretrain", "text", str(text_run.file), "--length", "32", "--vocabulary", "130", *numbers,
            "--checkpoint-at", "50,150", "--no-next-sentence", "--out", str(tmp_path / "t")]  # fmt: skip
    for words, name in ((images, "v"), (text, "t")):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        assert "held-out loss" in done.output and "load it with" in done.output
        facts = json.loads((tmp_path / name / "report.json").read_text())["facts"]
        assert facts["settings"]["width"] == 16 and len(facts["history"]) == 3
        page = (tmp_path / name / "report.html").read_text()
        assert page.count("data:image/png") >= 1 and "Held-out figures" in page
        load_backbone(str(tmp_path / name / "model"))
        assert not (tmp_path / name / "state.safetensors").exists()
    with pytest.raises(FrostlineError, match="exists already"):
        CliRunner().invoke(app, text, catch_exceptions=False)
    shutil.rmtree(data / "red")
    shutil.rmtree(data / "blue")
    with pytest.raises(FrostlineError, match="one class, 'green'"):
        CliRunner().invoke(app, [*images[:-1], str(tmp_path / "w")], catch_exceptions=False)
    with pytest.raises(FrostlineError, match="checkpoint_at"):
        CliRunner().invoke(app, [*text[:-1], str(tmp_path / "x"), "--checkpoint-at", "many"], catch_exceptions=False)
