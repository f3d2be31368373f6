"""Labels that a tokenizer reads alike are refused by every scorer; what it does not know is told."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from backbones.core.errors import FrostlineError
from backbones.core.tokens import TextPreprocessing
from backbones.lm import LanguageModel, load_language_model
from zeroshot.scorers import Request
from zeroshot.scorers.causal import Causal
from zeroshot.scorers.embedding import Embedding
from zeroshot.scorers.masked import Masked
from zeroshot.testing_models import tiny_bert, wordpiece

TEXT = "Rebels attacked the port on Friday."


def ask(label: str, kind: str = "role", span: tuple[int, int] = (0, 6), text: str = TEXT) -> Request:
    return Request(text, span, (7, 15), "attack", label, kind=kind)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scorers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = str(tiny_bert(tmp_path_factory.mktemp("bert")))
    config = {"vocab_size": 200, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 160}
    with torch.random.fork_rng(devices=[]):
        from transformers import GPT2Config, GPT2LMHeadModel

        module = GPT2LMHeadModel(GPT2Config(**config)).eval()
    causal = LanguageModel("words", "causal", module, wordpiece(160), 160)
    return {
        "masked": Masked().with_model(load_language_model(folder, "masked", device="cpu")),
        "causal": Causal().with_model(causal),
        "embedding": Embedding(lm=folder, device="cpu"),
    }


NAMES = ("masked", "causal", "embedding")


@pytest.mark.parametrize("kind", ["role", "type"])
@pytest.mark.parametrize("name", NAMES)
def test_labels_of_unknown_tokens_alone_are_refused(scorers: dict[str, Any], name: str, kind: str) -> None:
    asked = [ask(label, kind) for label in ("person", "ผู้โจมตี", "เป้าหมาย")]
    what = "roles" if kind == "role" else "entity types"
    with pytest.raises(FrostlineError, match=rf"cannot tell the {what} 'ผู้โจมตี' and 'เป้าหมาย' apart.*\[UNK\].*--lm"):
        scorers[name].score(asked)


@pytest.mark.parametrize("name", NAMES)
def test_labels_that_differ_in_unknown_tokens_or_case_alone_are_refused(scorers: dict[str, Any], name: str) -> None:
    for one, other in (("attacker (ก)", "attacker (ข)"), ("Agent", "agent"), ("lieu", "liéu")):
        with pytest.raises(FrostlineError, match="apart"):
            scorers[name].score([ask(one), ask(other)])
    scorers[name].score([ask("Agent"), ask("agent", span=(16, 24)), ask("agent", "type")])  # not of one cell


@pytest.mark.parametrize("name", NAMES)
def test_the_share_of_unknown_tokens_is_told(scorers: dict[str, Any], name: str) -> None:
    scorers[name].score([ask("attacker"), ask("target")])
    assert not any("does not know" in note for note in scorers[name].notes())
    scorers[name].score([ask("attacker"), ask("ผู้โจมตี")])
    (note,) = [note for note in scorers[name].notes() if "of labels" in note]
    assert "%" in note and "'ผู้โจมตี'" in note
    text = "Rebels attacked ท่าเรือ ท่าเรือ ท่าเรือ on Friday."
    scorers[name].score([ask("attacker", text=text), ask("target", text=text)])
    (note,) = [note for note in scorers[name].notes() if "of passages" in note]
    assert "%" in note and not any("of labels" in other for other in scorers[name].notes())


def test_the_embedding_scorer_reads_descriptions_too(scorers: dict[str, Any]) -> None:
    one, other = ask("ผู้โจมตี"), ask("เป้าหมาย")
    scores = scorers["embedding"].score(
        [replace(one, description="who attacks"), replace(other, description="what is attacked")]
    )
    assert scores[0] != scores[1]


def test_texts_of_unknown_tokens_are_remarked() -> None:
    prepare = TextPreprocessing(wordpiece(64), 64)
    prepare(["the soldiers were injured", "two men"])
    assert prepare.remarks() == []
    prepare(["ผู้โจมตี เป้าหมาย", "ท่าเรือ สถานที่"])
    assert len(prepare.remarks()) == 1 and "does not know" in prepare.remarks()[0]
