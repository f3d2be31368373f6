"""Whole distillations on miniatures: functions, varied texts, heads, and the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from command_lines import backbone as command
from PIL import Image
from torch import nn
from transformers import BertConfig, BertForMaskedLM, BertModel

from backbones.base import Backbone
from backbones.catalog import LoadOptions, load_backbone
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.core.seed import torch_generator
from backbones.encoder import Encoder
from backbones.lifecycle.distill.augment import Variants, Varier, is_function, with_variants
from backbones.lifecycle.distill.distil import Distilled, Plan, distil
from backbones.lifecycle.distill.heads import read_head, save_head
from backbones.lifecycle.distill.latency import latency
from backbones.lifecycle.distill.losses import Terms
from backbones.lifecycle.distill.student import Shape
from backbones.lm import LanguageModel
from backbones.testing_models import WORDS, raw_batch, tiny_bert, tiny_roberta, tiny_vit
from backbones.training.loop import Recipe
from backbones.training.tasks import accuracy, logits_of
from backbones.training.unlabelled import read_images

SHORT = Recipe(steps=4, batch=8, lr=1e-3)
PLAN = Plan(tune=None, layers=SHORT, answers=SHORT)
ANIMALS, MONEY = ("cat", "dog"), ("bank", "money")


def questions(count: int = 24) -> Labelled:
    texts = [f"the {(ANIMALS, MONEY)[row % 2][row // 2 % 2]} is {WORDS[4 + row % 2]}" for row in range(count)]
    return Labelled(texts, np.arange(count) % 2, ("animals", "money"))


def weights_of(done: Distilled) -> str:
    return done.student.backbone.fingerprint()


@pytest.mark.usefixtures("native_bf16")
def test_a_student_comes_to_answer_as_its_teacher() -> None:
    teacher, data = tiny_bert(), questions()
    with torch.no_grad():
        for name, param in teacher.module.named_parameters():
            if "LayerNorm.weight" in name:
                param.fill_(1.0)  # features of a usual size
    recipe = Recipe(steps=30, batch=8, lr=3e-3)
    plan = Plan(tune=Recipe(steps=10, batch=8, lr=1e-4), layers=recipe, answers=recipe)
    done = distil(teacher, Shape(layers=1, width=16), plan, data=data)
    assert list(done.courses) == ["teacher", "layers", "answers"]
    assert done.layers == (3,) and done.student.backbone.width == 16
    assert done.teacher_head is not None and done.student_head is not None
    assert accuracy(teacher, done.teacher_head, data) == 1.0
    assert accuracy(done.student.backbone, done.student_head, data) == 1.0
    assert {"embedding", "hidden", "attention"} <= set(done.courses["layers"].history[-1])
    theirs = logits_of(teacher, done.teacher_head, data).softmax(1)
    mine = logits_of(done.student.backbone, done.student_head, data).softmax(1)
    assert (mine - theirs).abs().mean() < 0.1


def test_students_without_a_general_stage_begin_from_the_tuned_teacher() -> None:
    teacher, data = tiny_bert(), questions()
    plan = Plan(tune=SHORT, layers=None, answers=None)
    done = distil(teacher, Shape(layers=3), plan, data=data)
    assert torch.equal(Encoder(done.student.backbone).features(data.samples), Encoder(teacher).features(data.samples))


@pytest.mark.usefixtures("native_bf16")
def test_the_general_stage_needs_no_labels() -> None:
    teacher = tiny_vit()
    plan = Plan(general=SHORT)
    done = distil(teacher, Shape(layers=1), plan, corpus=raw_batch(teacher, 8))
    assert list(done.courses) == ["general"] and done.teacher_head is None and done.student_head is None


class Stop(Exception):  # noqa: N818 (somebody presses Ctrl-C)
    pass


@pytest.mark.usefixtures("native_bf16")
@pytest.mark.parametrize("stage", ["general stage", "layers stage", "answers stage"])
def test_an_interrupted_distillation_goes_on_to_the_same_bits(tmp_path: Path, stage: str) -> None:
    plan = Plan(general=SHORT, tune=SHORT, layers=SHORT, answers=SHORT)
    given: dict[str, Any] = {"corpus": list(questions(8).samples), "data": questions()}
    whole = distil(tiny_bert(), Shape(layers=1, width=16), plan, **given)

    def stop(phase: str, done: int, total: int) -> None:
        if phase == stage and done == 2:
            raise Stop

    with pytest.raises(Stop):
        distil(tiny_bert(), Shape(layers=1, width=16), plan, folder=tmp_path, progress=stop, **given)
    again = distil(tiny_bert(), Shape(layers=1, width=16), plan, folder=tmp_path, **given)
    assert weights_of(again) == weights_of(whole)
    assert whole.student_head is not None and again.student_head is not None
    assert torch.equal(again.student_head.weight, whole.student_head.weight)
    with pytest.raises(FrostlineError, match="distillation with other settings, data or models"):
        distil(tiny_bert(seed=1), Shape(layers=1, width=16), plan, folder=tmp_path, **given)
    with pytest.raises(FrostlineError, match="distillation with other settings, data or models"):
        other = {**given, "corpus": ["a red card", *given["corpus"][1:]]}
        distil(tiny_bert(), Shape(layers=1, width=16), plan, folder=tmp_path, **other)


def test_what_there_is_nothing_to_learn_from_is_refused() -> None:
    teacher, data = tiny_bert(), questions()
    with pytest.raises(FrostlineError, match="there is no corpus, no recipe for it and no labelled data"):
        distil(teacher, Shape(layers=1), PLAN)
    with pytest.raises(FrostlineError, match="the corpus is empty"):
        distil(teacher, Shape(layers=1), Plan(general=SHORT), corpus=[])
    one = Labelled(["a cat", "a dog"], np.array([1, 1]), ("animals", "money"))
    with pytest.raises(FrostlineError, match="one class, 'money'"):
        distil(teacher, Shape(layers=1), PLAN, data=one)
    with pytest.raises(FrostlineError, match=r"the teacher's head has shape \(3, 24\)"):
        distil(teacher, Shape(layers=1), PLAN, data=data, head=nn.Linear(24, 3))
    silent = PLAN.model_copy(update={"terms": Terms(soft=0.0)})
    with pytest.raises(FrostlineError, match="soft and hard are both 0"):
        distil(teacher, Shape(layers=1), silent, data=data)


def test_latency_compares_both_in_turns() -> None:
    teacher = tiny_bert()
    found = latency(teacher, tiny_bert(), ["a cat"] * 4, repeats=3)
    assert found.teacher > 0 and found.student > 0 and found.ratio > 0


# varied texts


def masked_model(favourites: list[str]) -> LanguageModel:
    """A BERT that finds ``favourites`` likeliest everywhere, in this order, over a vocabulary with pieces."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "not", "sleep", "##y", "##s", "7", "?"]
    vocabulary = {word: number for number, word in enumerate(words)}
    made = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, cls_token="[CLS]", sep_token="[SEP]", **names)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with torch.random.fork_rng(devices=[]):
        model = BertForMaskedLM(BertConfig(vocab_size=len(words), max_position_embeddings=20, **shape)).eval()
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.normal_(generator=torch_generator(0, "words"))
        model.cls.predictions.bias.zero_()
        for place, word in enumerate(favourites):
            model.cls.predictions.bias[vocabulary[word]] = 1000.0 - 100.0 * place
    return LanguageModel("tiny-mlm", "masked", model.requires_grad_(False), tokenizer, 20)


def test_words_that_are_one_token_are_replaced_by_what_the_model_finds_likeliest() -> None:
    # "##y", "7" and [SEP] are no words; the word itself stays among its candidates, as in the paper
    varier = Varier.from_model(masked_model(["##y", "dog", "7", "cat", "rome", "[SEP]"]), Variants(candidates=2))
    (found,) = varier.candidates(["the cat sleepy 7?"])
    spots = [(start, end) for start, end, _ in found]
    assert spots == [(4, 7), (8, 14)]
    assert found[0][2] == ["dog", "cat"]
    (found,) = varier.candidates(["blue"])
    assert found[0][2] == ["dog", "blue"]  # however unlikely the model finds it


NEGATIONS = ["not", "no", "never", "nor", "without", "don't", "isn’t", "CANNOT", "hardly", "nothing"]


@pytest.mark.parametrize("model", [True, False])
def test_function_words_and_negation_are_never_replaced_and_never_put_in(model: bool) -> None:
    made = masked_model(["not", "the", "dog"])
    table = made.module.get_input_embeddings().weight
    settings = Variants(share=1.0, candidates=3)
    varier = Varier.from_model(made, settings) if model else Varier(made.tokenizer, table, None, settings)
    kept = [*NEGATIONS, "the", "I", "of", "You", "he's", "and", "if", "would"]
    text = " cat ".join(kept)
    assert {text[a:b] for a, b, _ in varier.candidates([text])[0]} == {"cat"}
    for variant in varier.vary([text], 0)[0]:
        words = variant.split()
        assert words[::2] == kept and not any(is_function(word) for word in words[1::2])


def test_the_model_reads_the_original_text_beside_the_masked_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = masked_model(["dog"])
    read: list[dict[str, torch.Tensor]] = []
    forward = model.module.forward

    def spied(**given: torch.Tensor) -> Any:
        read.append(given)
        return forward(**given)

    monkeypatch.setattr(model.module, "forward", spied)
    Varier.from_model(model, Variants(candidates=2)).candidates(["the cat runs", "cat " * 12])
    mask, cat = model.tokenizer.mask_token_id, model.tokenizer.convert_tokens_to_ids("cat")
    names = ("input_ids", "token_type_ids", "attention_mask")
    inputs = [row for given in read for row in zip(*(given[name] for name in names), strict=True)]
    rows = [(ids[seen.bool()].tolist(), types[seen.bool()].tolist()) for ids, types, seen in inputs]
    ids, types = next(row for row in rows if row[0].count(mask) == 1 and row[0].count(cat) == 1)
    assert ids.index(mask) < ids.index(cat)
    assert types[ids.index(mask)] == 0 and types[ids.index(cat)] == 1
    assert any(row.count(cat) == 11 and row.count(mask) == 1 for row, _ in rows), "too long for a pair: read alone"


def test_words_of_several_tokens_have_neighbours_by_their_vectors() -> None:
    varier = Varier.from_model(masked_model(["dog"]), Variants(candidates=3))
    ((*_, found),) = varier.candidates(["sleepy"])[0]
    table, ids = varier._table, varier.tokenizer("sleepy", add_special_tokens=False)["input_ids"]
    assert len(ids) == 2
    near = torch.nn.functional.cosine_similarity(table[ids].mean(0)[None], table[varier.words.ids])
    assert found == [varier.words.texts[place] for place in near.topk(3).indices.tolist()]


def test_variants_replace_the_share_that_is_asked_for_and_follow_the_seed() -> None:
    varier = Varier.from_model(masked_model(["dog"]), Variants(count=400, candidates=1))
    text = "cat runs rome now please flight card"
    ((found),) = varier.vary([text], 0)
    changed = sum(word == "dog" for variant in found for word in variant.split())
    trials = 7 * 400
    assert abs(changed - 0.4 * trials) < 4 * (trials * 0.4 * 0.6) ** 0.5
    assert varier.vary([text], 0) == [found] and varier.vary([text], 1) != [found]


def test_varied_data_keep_labels_and_originals() -> None:
    data = questions(4)
    varier = Varier.from_model(masked_model(["rome", "flight"]), Variants(count=3, candidates=2))
    found = with_variants(data, varier)
    assert list(found.samples)[:4] == list(data.samples) and len(found) > 8
    assert len(found.samples) == len(found.labels) and set(found.labels[4:]) == {0, 1}
    with pytest.raises(FrostlineError, match="--augment is for texts"):
        with_variants(Labelled(raw_batch(tiny_vit(), 2), np.arange(2), ("a", "b"), "image"), varier)


def test_a_causal_model_varies_nothing() -> None:
    model = masked_model(["dog"])
    causal = LanguageModel("gpt", "causal", model.module, model.tokenizer, 20)
    with pytest.raises(FrostlineError, match="'gpt' was loaded as causal"):
        Varier.from_model(causal)


# heads and images beside


def test_heads_are_read_in_the_order_of_the_data(tmp_path: Path) -> None:
    head = nn.Linear(4, 3)
    save_head(tmp_path, head, ("a", "b", "c"), {})
    again = read_head(tmp_path, ("c", "a", "b"))
    assert torch.equal(again.weight, head.weight[[2, 0, 1]]) and torch.equal(again.bias, head.bias[[2, 0, 1]])
    with pytest.raises(FrostlineError, match="of 3 classes, the data are of 2; 'd' is not among them"):
        read_head(tmp_path, ("a", "d"))
    (tmp_path / "head.json").write_text("{}")
    with pytest.raises(FrostlineError, match="holds no head"):
        read_head(tmp_path, ("a",))


def test_images_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    for name in ("b", "a"):
        Image.fromarray(np.full((4, 5, 3), ord(name), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    found = read_images([tmp_path])
    assert [found[row].shape for row in range(2)] == [(4, 5, 3)] * 2 and found[0][0, 0, 0] == ord("a")
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(FrostlineError, match=r"cannot read the image .*a\.png: it is no image"):
        found[0]
    with pytest.raises(FrostlineError, match="the corpus is empty: no image"):
        (tmp_path / "none").mkdir()
        read_images([tmp_path / "none"])
    with pytest.raises(FrostlineError, match="does not exist"):
        read_images([tmp_path / "gone"])


# the command line


def save_text(backbone: Backbone, folder: Path) -> Path:
    module, prepare = backbone.module, backbone.preprocessing
    module.save_pretrained(folder)  # type: ignore[operator]
    prepare.tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny BERT, labelled questions and a corpus."""
    root = tmp_path_factory.mktemp("distill")
    data = questions()
    rows = [[sample, data.classes[label]] for sample, label in zip(data.samples, data.labels, strict=True)]
    (root / "data.json").write_text(json.dumps({"train": rows, "test": rows[:8]}))
    (root / "corpus.txt").write_text("the cat runs to rome. My dog sleeps now.\n\nWhere is my card? The bank is blue.")
    return {"model": save_text(tiny_bert(), root / "model"), "data": root / "data.json", "root": root}


QUICK = ("--layer-epochs", 1, "--answer-epochs", 1, "--tune-epochs", 1, "--batch", 12)


def test_a_text_student_is_an_ordinary_backbone(text: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--layers", 1, "--width", 16, "--data", text["data"], "--corpus", text["root"] / "corpus.txt"]
    words += ["--augment", "neighbours", "--variants", 1, "--term", "temperature=2"]
    code, said, wrong = command("distill", text["model"], *words, "--out", out, *QUICK)
    assert code == 0, wrong
    assert "steps in 4 stages, about" in said and "teacher" in said and "times faster" in said
    student = load_backbone(str(out / "model"))
    assert (student.depth, student.width) == (1, 16)
    assert BertModel.from_pretrained(out / "model").config.num_hidden_layers == 1
    head = read_head(out, ("animals", "money"))
    assert logits_of(student, head, questions()).shape == (24, 2)
    facts = json.loads((out / "report.json").read_text())["facts"]
    assert facts["layers"] == [3] and set(facts["stages"]) == {"general", "teacher", "layers", "answers"}
    assert (out / "report.html").exists() and not (out / "stages").exists()
    # the tuned teacher is kept with its head, and teaches another student without being tuned again
    other = ["--layers", 3, "--data", text["data"], "--teacher-head", out / "teacher"]
    code, said, wrong = command("distill", out / "teacher" / "model", *other, "--out", tmp_path / "two", *QUICK)
    assert code == 0, wrong
    assert "teacher" not in json.loads((tmp_path / "two" / "report.json").read_text())["facts"]["stages"]
    assert "53 of its 53 tensors began as the teacher's" in said


def test_a_vision_student_loads_in_timm(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for name, low in (("dark", 0), ("light", 128)):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for row in range(4):
                pixels = generator.integers(low, low + 128, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / part / name / f"{row}.png")
    out = tmp_path / "out"
    words = ["--layers", 2, "--width", 96, "--data", tmp_path / "data", "--tune-epochs", 0]
    words += ["--layer-epochs", 1, "--answer-epochs", 1, "--batch", 4, "--corpus", tmp_path / "data" / "train"]
    code, _, wrong = command("distill", "bundled:vit-micro", *words, "--out", out)
    assert code == 0, wrong
    model = timm.create_model(f"local-dir:{out / 'model'}", num_classes=0, pretrained=True)
    assert (len(model.blocks), model.embed_dim) == (2, 96)
    assert load_backbone(str(out / "model"), LoadOptions()).preprocessing.size == 32
    assert not (out / "teacher").exists()  # it was not changed


def test_mistakes_end_with_exit_code_2_and_lose_nothing(text: dict[str, Path], tmp_path: Path) -> None:
    model, data = text["model"], text["data"]
    (tmp_path / "there").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "one.json").write_text(json.dumps({"train": [["a cat", "x"]] * 3, "test": [["a cat", "x"]]}))
    other = save_text(tiny_roberta(), tmp_path / "roberta")
    out = ("--out", tmp_path / "out")
    cases = [
        (("--data", data, "--out", tmp_path / "there"), "exists already"),
        (out, "pass --corpus (no labels), --data (labelled)"),
        (("--data", data, "--layers", 2, *out), "2 layers do not divide the teacher's 3"),
        (("--data", data, "--map", "1,x", *out), "'1,x' is not of the form"),
        (("--data", data, "--width", 25, *out), "the nearest widths are 24 and 26"),
        (("--data", data, "--student", other, *out), "tokenizers of the student"),
        (("--data", data, "--student", other, "--layers", 1, *out), "--layers has nothing to say"),
        (("--corpus", tmp_path / "empty.txt", *out), "no sentence"),
        (("--data", tmp_path / "one.json", *out), "of one class, 'x'"),
        (("--data", data, "--term", "hiden=1", *out), "Did you mean 'hidden'"),
        (("--data", data, "--layers", 1, "--augment", model, *out), "lack the masked language-model head"),
    ]
    for words, message in cases:
        code, _, wrong = command("distill", model, *words)
        assert (code, message in wrong) == (2, True), (words, code, wrong)
    code, _, wrong = command("distill", "bundled:vit-micro", "--data", data, *out)
    assert code == 2 and "holds texts, but the teacher 'bundled:vit-micro' takes images" in wrong
    assert not (tmp_path / "out" / "model").exists()
