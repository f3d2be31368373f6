"""Language tags that mean the same, and the guess at the language of a text."""

from __future__ import annotations

import pytest

from benchmarks.languages import NAMES, canonical, guess, main, three_letters
from benchmarks.ontologies.types import Role, say
from benchmarks.passages import read_record

TEXTS = {
    "en": "The rebels attacked the port on Friday, and it was closed for the rest of the week.",
    "de": "Die Rebellen starteten am Freitag einen Angriff auf den Hafen.",
    "fr": "Les rebelles ont attaqué le port avec des roquettes dans la nuit de vendredi.",
    "es": "Los rebeldes atacaron el puerto con cohetes en la noche del viernes, y una persona fue herida.",
    "pt": "Os rebeldes atacaram o porto com foguetes na noite de sexta-feira, e não houve mortos.",
    "it": "I ribelli hanno attaccato il porto con dei razzi nella notte, e una persona è stata ferita.",
    "nl": "De rebellen hebben de haven aangevallen met raketten, en het is niet bekend wie er zijn gewond.",
    "zh": "叛军周五用火箭袭击了洛马港。",
    "ja": "反乱軍は金曜日に港を攻撃した。", "ko": "반군이 금요일에 항구를 공격했다.",
    "ru": "Повстанцы обстреляли порт в пятницу.", "uk": "Повстанці обстріляли порт у п'ятницю.",
    "ar": "هاجم المتمردون الميناء يوم الجمعة.", "el": "Οι αντάρτες επιτέθηκαν στο λιμάνι.",
    "he": "המורדים תקפו את הנמל.",
    "th": "กลุ่มกบฏโจมตีท่าเรือ", "hi": "विद्रोहियों ने बंदरगाह पर हमला किया।",
}  # fmt: skip


@pytest.mark.parametrize("tag", ["en", "EN", "eng", "ENG", "English", "english", " en "])
def test_one_language_has_one_tag(tag: str) -> None:
    assert canonical(tag) == "en"


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("en_US", "en-US"), ("en-us", "en-US"), ("en_US.UTF-8", "en-US"), ("ZH-hant_tw", "zh-Hant-TW"), ("cmn", "zh"),
        ("ger", "de"), ("deu", "de"), ("fre", "fr"), ("es-419", "es-419"), ("tlh", "tlh"), ("", "und"),
    ],
)  # fmt: skip
def test_tags_take_the_form_of_bcp_47(tag: str, meant: str) -> None:
    assert canonical(tag) == meant
    assert canonical(meant) == meant
    assert main(tag) == meant.split("-")[0]


def test_codes_are_languages_of_one_row_each() -> None:
    assert all(canonical(three_letters(code)) == code == canonical(name) for code, name in NAMES.items())


@pytest.mark.parametrize("language", TEXTS)
def test_the_language_of_a_sentence_is_guessed(language: str) -> None:
    assert guess(TEXTS[language]) == language


@pytest.mark.parametrize("text", ["", "1974 - 2.5 %", "Angela Merkel", "Rebels attacked Lomar.", "die in a do to is"])
def test_little_text_has_no_guess_that_is_not_english(text: str) -> None:
    assert guess(text) in (None, "en")


def test_a_text_in_another_language_than_it_says_is_announced() -> None:
    def notes(text: str, **more: str) -> list[str]:
        said: list[str] = []
        read_record({"text": text, "events": [], **more}, "x", note=said.append)
        return said

    (said,) = notes(TEXTS["de"])
    assert (
        "x: the text looks German (a guess" in said
        and 'pass --language de with a raw text, or "language": "de"' in said
    )
    assert notes(TEXTS["de"], language="ger") == notes(TEXTS["de"], language="de_AT") == notes(TEXTS["en"]) == []
    assert "looks English" in notes(TEXTS["en"], language="de")[0]


def test_names_of_an_ontology_are_found_however_their_language_is_written() -> None:
    role = Role(name="attacker", names={"DE": "Angreifer", "fra": "attaquant"})
    assert [say(role, "x", language) for language in ("de", "fr", "es")] == ["Angreifer", "attaquant", "attacker"]
