"""The embedding scorer: contract, laws, agreement with Sentence-BERT's own code, what is cut and said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from backbones.lm import LanguageModel, load_language_model
from zeroshot.scorers import SCORERS, Request
from zeroshot.scorers import vectors as vectors_module
from zeroshot.scorers.embedding import Embedding
from zeroshot.scorers.sentences import REACH, context_of, fit, fit_context
from zeroshot.scorers.vectors import Vectors
from zeroshot.testing import check_scorer
from zeroshot.testing_models import tiny_bert

ULPS = 2**-22  # two units in the last place of float32, in which vectors are
TEXT = "The judge was late. Gunmen attacked a bus in {southern} Egypt with rifles. Nobody slept."


def ask(span: str, label: str, text: str = TEXT, **more: object) -> Request:
    start, trigger = text.index(span), text.index("attacked")
    made = Request(text, (start, start + len(span)), (trigger, trigger + 8), "attack", label)
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_bert(tmp_path_factory.mktemp("encoder"), head=False, window=64))


@pytest.fixture(scope="module")
def model(folder: str) -> LanguageModel:
    return load_language_model(folder, "encoder", device="cpu")


@pytest.fixture
def scorer(folder: str) -> Embedding:
    return Embedding(lm=folder, device="cpu")


def test_contract(scorer: Embedding) -> None:
    check_scorer(scorer)


def test_it_is_the_registered_default() -> None:
    assert SCORERS.load("embedding") is Embedding


def test_vectors_are_means_of_last_states_whatever_the_batch(model: LanguageModel) -> None:
    texts = ["a man", "the bridge near the capital was calm", "stones", "it"]
    ids, _ = model.encode(texts)
    with torch.inference_mode():
        means = [model.module(torch.tensor([row])).last_hidden_state[0].mean(0).numpy() for row in ids]
    wanted = np.stack([mean / np.linalg.norm(mean) for mean in means])
    for chunk in (1, 12, 4096):
        np.testing.assert_allclose(Vectors(model, chunk).of([(text, None) for text in texts]), wanted, atol=1e-5)


def test_a_span_is_the_mean_of_the_tokens_that_it_touches(model: LanguageModel) -> None:
    text = "two soldiers were injured"
    ids, offsets = model.encode([text])
    with torch.inference_mode():
        states = model.module(torch.tensor(ids)).last_hidden_state[0].numpy()
    touched = [number for number, (start, end) in enumerate(offsets[0]) if start < 12 and end > 4 and end > start]
    wanted = states[touched].mean(0)
    found = Vectors(model).of([(text, (4, 12))])[0]
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted), atol=1e-5)


def test_texts_are_encoded_once(model: LanguageModel) -> None:
    vectors, told = Vectors(model), []
    keys = [("a bus", None), ("a bus", (2, 5)), ("rifles", None), ("a bus", None)]
    vectors.of(keys, lambda phase, done, total: told.append((done, total)))
    assert told[-1] == (2, 2) and len(vectors) == 3
    vectors.of(keys, lambda phase, done, total: pytest.fail("encoded again"))
    vectors.forget()
    assert len(vectors) == 0


def test_minilm_agrees_with_sentence_transformers() -> None:
    package = pytest.importorskip("sentence_transformers")
    model = load_language_model("minilm", "encoder", device="cpu")
    texts = ["attacker", "the people, group or army that attacks", "Łódź, on Monday"]
    reference = package.SentenceTransformer(model.module.config._name_or_path, device="cpu")
    wanted = reference.encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(Vectors(model).of([(text, None) for text in texts]), wanted, atol=1e-5)


def test_minilm_tells_roles_apart() -> None:
    scorer = Embedding(device="cpu")
    labels = ["attacker", "target", "weapon", "place"]
    spans = ["Gunmen", "a bus", "rifles", "Egypt"]
    scores = scorer.score([ask(span, label) for span in spans for label in labels]).reshape(4, 4)
    assert [labels[best] for best in scores.argmax(axis=1)] == labels


def test_temperature_divides_differences(folder: str) -> None:
    asked = [ask("bus", label) for label in ("attacker", "target", "place")]
    warm, cold = (Embedding(lm=folder, device="cpu", cues=0, temperature=t).score(asked) for t in (0.2, 0.1))
    # four cosines, each rounded to float32, are divided by 0.1
    np.testing.assert_allclose(np.diff(cold), 2 * np.diff(warm), atol=4 * np.finfo(np.float32).eps / 0.1)


def test_views_add_up(folder: str) -> None:
    asked = [ask("bus", "target", description="what is attacked"), ask("rifles", "weapon")]

    def score(**settings: float) -> np.ndarray:
        return Embedding(lm=folder, device="cpu", cues=0, temperature=1, **settings).score(asked)

    parts = {(a, b): score(mention=a, context=1 - a, name=b, description=1 - b) for a in (0.0, 1.0) for b in (0.0, 1.0)}
    wanted = sum(((2 if a else 1) / 3) * ((1 if b else 3) / 4) * part for (a, b), part in parts.items())
    np.testing.assert_allclose(score(mention=2, context=1, name=1, description=3), wanted, atol=1e-6)


def test_no_description_means_the_name_again(scorer: Embedding) -> None:
    named, said = scorer.score([ask("bus", "target"), ask("bus", "target", description="target")])
    assert named == pytest.approx(said, rel=ULPS)


def test_the_sentence_alone_is_read(scorer: Embedding) -> None:
    other = TEXT.replace("The judge was late.", "The judge was long gone and never seen again.")
    asked = [ask("bus", label, text) for text in (TEXT, other) for label in ("target", "place")]
    first, second = scorer.score(asked).reshape(2, 2)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_own_hypothesis_counts_and_braces_in_texts_are_harmless(folder: str) -> None:
    plain, own = (
        Embedding(lm=folder, device="cpu", hypothesis=sentence) for sentence in (None, "{span} is the {role} {x}")
    )
    asked = ask("{southern} Egypt", "place")
    assert plain.score([asked]) != pytest.approx(own.score([asked]))
    theirs = plain.score([replace(asked, hypothesis="{span} is the {role} {x}")])
    assert theirs == pytest.approx(own.score([asked]), rel=ULPS)
    assert own.fingerprint() != plain.fingerprint()


def test_none_gains_with_distance_and_bias(folder: str) -> None:
    near, far = ask("bus", ""), ask("Nobody", "")
    plain = Embedding(lm=folder, device="cpu", context=0)
    biased = plain.model_copy(update={"none_bias": 2.0})
    assert biased.score([near]) == pytest.approx(plain.score([near]) + 2.0)
    same = [replace(near, text=TEXT.replace("Nobody", "a bus."), span=span) for span in ((38, 41),)]
    assert same and plain.scores_none
    words = "a bus attacked " + "and so on " * 10 + "a bus"
    trigger, last = (6, 14), len(words)
    close, remote = plain.score([Request(words, span, trigger, "attack", "") for span in ((2, 5), (last - 3, last))])
    assert remote - close == pytest.approx(1.5 * np.log2(31 / 4), abs=1e-5)
    assert np.isfinite(plain.score([far])).all()


def test_other_languages_are_scored_without_cues_and_that_is_said(scorer: Embedding) -> None:
    german = [ask("Egypt", label, language="de") for label in ("place", "attacker")]
    found = scorer.score(german)
    assert any("English" in note for note in scorer.notes())
    quiet = scorer.model_copy(update={"cues": 0.0})
    np.testing.assert_allclose(found, quiet.score(german), rtol=ULPS)
    assert quiet.notes() == ()


def test_long_sentences_mentions_and_labels_are_cut_and_that_is_said(scorer: Embedding) -> None:
    long = "the bridge near the capital " * 20 + "attacked bus " + "and the police were calm " * 20
    scorer.score([ask("bus", "target", long), ask("bus", "target " * 90, long), ask(long.strip(), "target", long)])
    notes = scorer.notes()
    for words in ("sentence longer than", "label longer than", "mention longer than"):
        assert any(words in note for note in notes), words


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mention": 0, "context": 0}, "mention and context are both 0"),
        ({"name": 0, "description": 0}, "name and description are both 0"),
        ({"temperature": 0}, "temperature"),
        ({"cue": 1}, "cues"),
    ],
)
def test_settings_say_what_is_wrong(settings: dict[str, float], words: str) -> None:
    with pytest.raises(FrostlineError, match=words):
        Embedding.parse(settings, "scorer 'embedding'")


def test_unknown_encoder_is_an_error_at_use(tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match="no such folder"):
        Embedding(lm=str(tmp_path / "nowhere"), device="cpu").score([ask("bus", "target")])


@given(st.text(alphabet='ab .!?\n"’', max_size=80), st.data())
def test_contexts_hold_their_mention(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    found = context_of(text, (start, end))
    kept = text[start:end]
    assert found.text[slice(*found.span)] == kept or found.text == text[start - found.span[0] :][: len(found.text)]
    assert kept.rstrip() == found.text[slice(*found.span)].rstrip()
    assert len(found.text) <= len(kept) + 3 * REACH


@given(st.text(alphabet="ab ", min_size=1, max_size=60), st.integers(1, 20))
def test_what_is_cut_fits_and_is_the_longest_start(text: str, room: int) -> None:
    short = fit(text, lambda part: len(part) <= room)
    assert text.startswith(short) and 0 < len(short) <= max(room, 1)


def test_cutting_keeps_the_mention_in_the_middle() -> None:
    text = "x " * 50 + "bus" + " y" * 50
    cut = fit_context(text, (100, 103), lambda part: len(part) <= 30)
    assert cut.cut and cut.text[slice(*cut.span)] == "bus" and 3 < len(cut.text) <= 30


def test_mentions_of_a_long_sentence_share_its_stretches() -> None:
    names = [f"unit {number}" for number in range(300)]
    text = ", ".join(names) + " attacked the port"
    spans = [(start, start + len(name)) for name in names if (start := text.index(name)) >= 0]
    found = [context_of(text, span) for span in spans]
    assert all(text[slice(*span)] == each.text[slice(*each.span)] for span, each in zip(spans, found, strict=True))
    for span, each in zip(spans, found, strict=True):
        before, after = each.span[0], len(each.text) - each.span[1]
        assert before >= min(REACH - 40, span[0]) and after >= min(REACH // 2, len(text) - span[1])
    assert len({each.text for each in found}) <= 1 + len(text) // REACH
    small = {fit_context(text, span, lambda part: len(part) <= 250).text for span in spans}
    assert len(small) <= 1 + len(text) // 75, "in a narrower window, too"


@given(st.text(alphabet="ab .", min_size=1, max_size=200), st.data())
def test_contexts_that_fit_hold_their_mention(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, min(len(text), start + 5)))
    found = fit_context(text, (start, end), lambda part: len(part) <= 20)
    assert len(found.text) <= 20 and found.text[slice(*found.span)].rstrip() == text[start:end].rstrip()


def test_vectors_are_bounded_and_a_call_may_ask_for_more(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [(f"the man {number}", None) for number in range(12)]
    wanted = Vectors(model).of(keys)
    monkeypatch.setattr(vectors_module, "REMEMBERED", 5)
    few, told = Vectors(model), []
    np.testing.assert_allclose(few.of(keys), wanted, atol=1e-6)
    assert len(few) == 5
    kept = [key for key in keys if key in few._known]
    few.of([kept[0]])
    few.of([("a bus", None)])
    few.of([kept[0]], lambda *numbers: told.append(numbers))
    assert told == [] and len(few) == 5, "what was asked for last is kept"
