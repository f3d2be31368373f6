"""Cloze questions: ranks as planted, what cannot be asked is counted, files are held to their layout."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from backbones.analysis.cloze import Cloze, ClozeScore, ask, read_cloze
from backbones.core.errors import FrostlineError
from backbones.lm import LanguageModel, load_language_model
from zeroshot.testing_models import tiny_bert, tiny_roberta

QUESTIONS = [
    Cloze("Two soldiers met an [MASK] there.", "agent", "event"),
    Cloze("The [MASK] met the workers.", "other", "person"),
    Cloze("The company bought a firm [MASK] sold it for 20 million dollars.", "and", "thing"),
]


@pytest.fixture(scope="module", params=["bert", "roberta"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    make = {"bert": tiny_bert, "roberta": tiny_roberta}[request.param]
    return load_language_model(str(make(tmp_path_factory.mktemp(request.param), window=48)), "masked", device="cpu")


class Planted(nn.Module):
    """Puts a given rank on the right answer: ``wanted`` maps unmasked token ids to it."""

    def __init__(self, model: LanguageModel, ranks: dict[str, int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.size = len(model.tokenizer)
        self.mask = model.tokenizer.mask_token_id
        texts = [question.sentence.replace("[MASK]", question.answer) for question in QUESTIONS]
        self.known = dict(zip(map(tuple, model.encode(texts)[0]), (ranks[q.answer] for q in QUESTIONS), strict=True))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        logits = torch.zeros(*input_ids.shape, self.size)
        for row, (ids, mask) in enumerate(zip(input_ids.tolist(), attention_mask.tolist(), strict=True)):
            shown = tuple(ids[: sum(mask)])
            place = shown.index(self.mask)
            whole = next(key for key in self.known if len(key) == len(shown) and _alike(key, shown, place))
            others = [token for token in range(self.size) if token != whole[place]]
            logits[row, place, whole[place]] = 5.0
            logits[row, place, others[: self.known[whole] - 1]] = 9.0
        return SimpleNamespace(logits=logits)


def _alike(whole: tuple[int, ...], shown: tuple[int, ...], place: int) -> bool:
    return whole[:place] == shown[:place] and whole[place + 1 :] == shown[place + 1 :]


def planted(model: LanguageModel, **ranks: int) -> LanguageModel:
    return replace(model, module=Planted(model, {name.rstrip("_"): rank for name, rank in ranks.items()}))


def test_a_model_that_knows_everything_is_always_right(model: LanguageModel) -> None:
    score = ask(planted(model, agent=1, other=1, and_=1), QUESTIONS)
    assert score.ranks == (1, 1, 1) and score.precision() == score.mrr == 1.0
    assert [guess.lstrip("Ġ") for guess in score.guesses] == ["agent", "other", "and"]


def test_ranks_are_those_planted(model: LanguageModel) -> None:
    score = ask(planted(model, agent=1, other=4, and_=20), QUESTIONS)
    assert score.ranks == (1, 4, 20)
    assert score.precision(1) == pytest.approx(1 / 3) and score.precision(10) == pytest.approx(2 / 3)
    assert score.mrr == pytest.approx((1 + 1 / 4 + 1 / 20) / 3)
    assert score.by_relation() == {"event": (1, 1.0), "person": (1, 0.0), "thing": (1, 0.0)}
    assert score.summary()["P@1, mean over relations"] == pytest.approx(1 / 3)


def test_of_equals_the_right_answer_is_last(model: LanguageModel) -> None:
    head = load_language_model(model.name, "masked", device="cpu")
    head.module.get_output_embeddings().weight.data = torch.zeros_like(head.module.get_output_embeddings().weight)
    head.module.get_output_embeddings().bias.data.zero_()
    score = ask(head, QUESTIONS)
    assert set(score.ranks) == {head.module.config.vocab_size} and score.precision() == 0.0


def test_the_masked_input_is_the_sentence_with_one_gap(model: LanguageModel) -> None:
    text = QUESTIONS[1].sentence.replace("[MASK]", "other")
    ids, offsets = (each[0] for each in model.encode([text]))
    place = next(n for n, (low, high) in enumerate(offsets) if text[low:high].strip() == "other")
    shown = torch.tensor([ids])
    shown[0, place] = model.tokenizer.mask_token_id
    logits = model.module(input_ids=shown).logits[0, place].float()
    rank = int((logits >= logits[ids[place]]).sum())
    assert ask(model, QUESTIONS[1:2]).ranks == (rank,)


def test_batches_do_not_matter(model: LanguageModel) -> None:
    alone = [ask(model, [question]).ranks[0] for question in QUESTIONS]
    assert list(ask(model, QUESTIONS * 20).ranks) == alone * 20


def test_what_cannot_be_asked_is_counted(model: LanguageModel) -> None:
    more = [Cloze("The [MASK] met the workers.", "zwxqk vjh"), Cloze("a " * 60 + "[MASK]", "other")]
    score = ask(model, [*QUESTIONS, *more])
    assert len(score.ranks) == 3
    assert score.left_out["of several tokens"] == ("zwxqk vjh",)
    assert score.left_out["in sentences of more than 48 tokens"] == ("other",)
    assert score.summary()["left out"] == {"of several tokens": 1, "in sentences of more than 48 tokens": 1}
    with pytest.raises(FrostlineError, match=r"none of 1 questions .* 1 of several tokens"):
        ask(model, more[:1])


def test_words_that_the_vocabulary_lacks_are_counted(tmp_path: Path) -> None:
    model = load_language_model(str(tiny_bert(tmp_path)), "masked", device="cpu")
    assert ask(model, [*QUESTIONS, Cloze("Two [MASK] ran.", "\u96ea")]).left_out == {
        "not in the vocabulary": ("\u96ea",)
    }


def test_files_are_read_in_both_layouts(tmp_path: Path) -> None:
    rows = [
        {"sentence": "Rome is in [MASK].", "answer": " Italy "},
        {
            "masked_sentences": ["He was born in [MASK].", "He died in Paris."],
            "obj_label": "Rome",
            "predicate_id": "P19",
        },
    ]
    path = tmp_path / "cloze.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert read_cloze(path) == [
        Cloze("Rome is in [MASK].", "Italy"),
        Cloze("He was born in [MASK]. He died in Paris.", "Rome", "P19"),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no question"),
        ('{"sentence": "a [MASK]", "answer": "b"}\nnonsense', "row 2 is not JSON"),
        ("[1]", "row 1 is no object"),
        ('{"answer": "b"}', "row 1 has no sentence"),
        ('{"sentence": "a [MASK]"}', "row 1 has no answer"),
        ('{"sentence": "a [MASK]", "answer": "  "}', "row 1 has no answer"),
        ('{"sentence": "a", "answer": "b"}', r"row 1 has \[MASK\] 0 times"),
        ('{"sentence": "[MASK] [MASK]", "answer": "b"}', r"row 1 has \[MASK\] 2 times"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "cloze.jsonl"
    path.write_text(content)
    with pytest.raises(FrostlineError, match=words):
        read_cloze(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match=r"nowhere\.jsonl cannot be read"):
        read_cloze(tmp_path / "nowhere.jsonl")


def test_figures_of_a_score() -> None:
    score = ClozeScore((1, 3), ("a", "a"), ("x", "y"), {})
    assert score.precision(1) == 0.5 and score.precision(3) == 1.0 and score.mrr == pytest.approx(2 / 3)
