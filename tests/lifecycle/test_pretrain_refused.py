"""Runs of pre-training that cannot be: checkpoints, data and models that are refused, and that nothing is left."""

from __future__ import annotations

import json

import pytest
import torch
from pretrain_makers import coloured_task
from run_makers import IMAGES, RECIPE, TEXT, Stopped, stop_at
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled, Task
from backbones.lifecycle.pretrain import (
    Stops,
    pretrain_images,
    pretrain_text,
    text,
)  # fmt: skip
from backbones.lifecycle.pretrain.course import Volume, steps_of
from backbones.training.loop import Recipe


def test_a_run_of_other_settings_does_not_go_on(text_run, tmp_path):
    with pytest.raises(Stopped):
        pretrain_text([text_run.file], tmp_path / "run", TEXT, RECIPE, progress=stop_at(2))
    for plan, recipe, words in (
        (TEXT.model_copy(update={"width": 32}), RECIPE, "begun with width = 16, but now width is 32"),
        (TEXT, RECIPE.model_copy(update={"lr": 0.5}), "begun with lr = 0.002, but now lr is 0.5"),
    ):
        with pytest.raises(FrostlineError, match=words):
            pretrain_text([text_run.file], tmp_path / "run", plan, recipe, resume=True)
    text_run_file = tmp_path / "corpus.txt"
    text_run_file.write_text(text_run.file.read_text() + "\n\nOne more document. It changes the corpus.")
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    settings["settings"]["files"] = [str(text_run_file)]
    (tmp_path / "run" / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(FrostlineError, match=r"begun with tokens = .* same data"):
        pretrain_text([text_run_file], tmp_path / "run", TEXT, RECIPE, resume=True)
    with pytest.raises(FrostlineError, match=r"holds no pre-training.*Did you mean"):
        pretrain_text([text_run.file], tmp_path / "runs", TEXT, RECIPE, resume=True)


def test_images_that_have_changed_are_noticed(tmp_path):
    with pytest.raises(Stopped):
        pretrain_images(coloured_task(), tmp_path / "run", IMAGES, RECIPE, progress=stop_at(2))
    with pytest.raises(FrostlineError, match=r"begun with digest = .* same data"):
        pretrain_images(coloured_task(seed=1), tmp_path / "run", IMAGES, RECIPE, resume=True)


@pytest.mark.parametrize(
    ("stops", "words"),
    [
        (Stops(checkpoint_at=(41,)), r"checkpoint at 41 words: the run sees 40 in 6 steps"),
        (Stops(checkpoint_at=(4,), checkpoints=2), r"exclude each other"),
    ],
)
def test_checkpoints_that_cannot_be_are_refused(stops, words):
    with pytest.raises(FrostlineError, match=words):
        steps_of(stops, Volume(rows=10, each=2.0, batch=4, unit="words"), 6)


def test_what_cannot_be_learned_from_is_refused_and_nothing_is_left(text_run, tmp_path):
    out = tmp_path / "run"
    (tmp_path / "empty.txt").write_text(" \n\n ")
    (tmp_path / "short.txt").write_text("Too short.")
    start = str(text_run.found.model)
    tries = [
        (tmp_path / "empty.txt", TEXT, {}, "no sentence in"),
        (tmp_path / "short.txt", TEXT, {}, "fewer than one sequence"),
        (text_run.file, TEXT.model_copy(update={"heads": 3}), {}, "width 16 is not divisible by 3 heads"),
        (text_run.file, TEXT, {"stops": Stops(checkpoint_at=(10**9,))}, "checkpoint at 1,000,000,000 words"),
        (text_run.file, TEXT, {"start": start, "tokenizer": tmp_path}, "brings its tokenizer"),
        (text_run.file, TEXT.model_copy(update={"length": 64}), {"start": start}, "takes at most 32; pass 32"),
        (text_run.file, TEXT, {"start": "minilm"}, "language-model head"),
        (text_run.file, TEXT, {"start": str(tmp_path)}, "no config.json"),
        (text_run.file, TEXT, {"tokenizer": tmp_path / "absent"}, "no such folder"),
    ]
    for file, plan, more, words in tries:
        with pytest.raises(FrostlineError, match=words):
            pretrain_text([file], out, plan, RECIPE, **more)
        assert not out.exists()


def test_an_image_model_or_a_roberta_with_pairs_does_not_go_on(text_run, image_run, tmp_path):
    from transformers import RobertaConfig, RobertaForMaskedLM

    with pytest.raises(FrostlineError, match=r"no tokenizer|cannot load"):
        pretrain_text([text_run.file], tmp_path / "run", TEXT, RECIPE, start=str(image_run.model))
    tokenizer = AutoTokenizer.from_pretrained(text_run.found.model)
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=40, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng():
        RobertaForMaskedLM(config).save_pretrained(tmp_path / "roberta")
    tokenizer.save_pretrained(tmp_path / "roberta")
    plan = TEXT.model_copy(update={"next_sentence": True})
    with pytest.raises(FrostlineError, match=r"'roberta' has no next-sentence task.*--no-next-sentence"):
        pretrain_text([text_run.file], tmp_path / "run", plan, RECIPE, start=str(tmp_path / "roberta"))
    found = pretrain_text(
        [text_run.file], tmp_path / "run", TEXT, Recipe(steps=2, batch=4), start=str(tmp_path / "roberta")
    )
    assert type(AutoModelForMaskedLM.from_pretrained(found.model)).__name__ == "RobertaForMaskedLM"


def test_a_model_that_cannot_be_saved_is_refused_before_the_first_step(text_run, tmp_path, monkeypatch):
    def refuse(*_args, **_how):
        raise FrostlineError("it has no such form")

    phases = set()
    monkeypatch.setattr(text, "save_backbone", refuse)
    with pytest.raises(FrostlineError, match="no such form"):
        pretrain_text([text_run.file], tmp_path / "run", TEXT, RECIPE, progress=lambda phase, *_: phases.add(phase))
    assert "pre-training" not in phases and not (tmp_path / "run").exists()


def test_a_disk_that_is_full_at_the_end_loses_no_training(text_run, tmp_path, monkeypatch):
    save, calls = text.save_backbone, []

    def full(*args, **how):
        calls.append(args)
        if len(calls) == 2:  # after the rehearsal
            raise FrostlineError("cannot write: full")
        return save(*args, **how)

    monkeypatch.setattr(text, "save_backbone", full)
    with pytest.raises(FrostlineError, match="full"):
        pretrain_text([text_run.file], tmp_path / "run", TEXT, RECIPE)
    found = pretrain_text([text_run.file], tmp_path / "run", TEXT, RECIPE, resume=True)
    assert found.course.resumed == found.course.steps == RECIPE.steps
    assert not (tmp_path / "run" / "state.safetensors").exists()
    whole = load_file(text_run.found.model / "model.safetensors")
    for name, tensor in load_file(found.model / "model.safetensors").items():
        assert torch.equal(tensor, whole[name])


def test_images_of_one_class_and_texts_are_refused(tmp_path):
    data = coloured_task().train
    one = data.take([row for row in range(len(data)) if data.labels[row] == 0])
    with pytest.raises(FrostlineError, match="one class, 'red'"):
        pretrain_images(Task("red things", one, one), tmp_path / "run", IMAGES, RECIPE)
    texts = Labelled(["a", "b"], data.labels[[0, -1]], data.classes)
    with pytest.raises(FrostlineError, match="holds texts"):
        pretrain_images(Task("texts", texts, texts), tmp_path / "run", IMAGES, RECIPE)
    assert not (tmp_path / "run").exists()
