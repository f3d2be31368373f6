"""Languages: tags that mean the same, and a guess at the language of a text."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

# ISO 639-1, ISO 639-2/3 (all codes that are in use), English name
_TABLE = """
af afr Afrikaans|am amh Amharic|ar ara arb Arabic|az aze Azerbaijani|be bel Belarusian|bg bul Bulgarian|bn ben Bengali
bo bod tib Tibetan|bs bos Bosnian|ca cat Catalan|cs ces cze Czech|cy cym wel Welsh|da dan Danish|de deu ger German
el ell gre Greek|en eng English|es spa Spanish|et est Estonian|eu eus baq Basque|fa fas per Persian|fi fin Finnish
fr fra fre French|ga gle Irish|gl glg Galician|gu guj Gujarati|ha hau Hausa|he heb Hebrew|hi hin Hindi|hr hrv Croatian
hu hun Hungarian|hy hye arm Armenian|id ind Indonesian|is isl ice Icelandic|it ita Italian|ja jpn Japanese
ka kat geo Georgian|kk kaz Kazakh|km khm Khmer|kn kan Kannada|ko kor Korean|lo lao Lao|lt lit Lithuanian|lv lav Latvian
mk mkd mac Macedonian|ml mal Malayalam|mn mon Mongolian|mr mar Marathi|ms msa may Malay|my mya bur Burmese|ne nep Nepali
nl nld dut Dutch|no nor Norwegian|nb nob Bokmål|nn nno Nynorsk|pa pan Punjabi|pl pol Polish|ps pus Pashto
pt por Portuguese|ro ron rum Romanian|ru rus Russian|si sin Sinhala|sk slk slo Slovak|sl slv Slovenian|so som Somali
sq sqi alb Albanian|sr srp Serbian|sv swe Swedish|sw swa Swahili|ta tam Tamil|te tel Telugu|th tha Thai
ti tir Tigrinya|tl tgl Tagalog|tr tur Turkish|ug uig Uyghur
uk ukr Ukrainian|ur urd Urdu|uz uzb Uzbek|vi vie Vietnamese|yo yor Yoruba
zh zho chi cmn Chinese|zu zul Zulu
"""
_ROWS = [row.split() for line in _TABLE.split("\n") for row in line.split("|") if row]
NAMES = {row[0]: row[-1] for row in _ROWS}
"""ISO 639-1 code -> English name."""

_SHORT = {word.casefold(): row[0] for row in _ROWS for word in row}
_PART = re.compile(r"[-_\s.@/]+")

_SCRIPTS = {
    "ja": "\u3041-\u30ff", "zh": "\u3400-\u4dbf\u4e00-\u9fff", "ko": "\u1100-\u11ff\uac00-\ud7a3",
    "he": "\u0590-\u05ff",
    "ar": "\u0600-\u06ff", "el": "\u0370-\u03ff", "ru": "\u0400-\u04ff", "th": "\u0e00-\u0e7f", "hi": "\u0900-\u097f",
    "bn": "\u0980-\u09ff", "ta": "\u0b80-\u0bff", "ka": "\u10a0-\u10ff", "hy": "\u0530-\u058f", "am": "\u1200-\u137f",
    "my": "\u1000-\u109f", "km": "\u1780-\u17ff", "lo": "\u0e80-\u0eff", "te": "\u0c00-\u0c7f",
}  # fmt: skip
_LETTERS = {"uk": "іїєґ", "fa": "پچژگ", "bg": "ъ"}  # in the script of another language
_AMONG = {"ru": ("uk", "bg"), "ar": ("fa",)}
_STOPS = {
    "en": "the of and to in is that was for it with as his on be at by had not are but from have an which were their "
          "this",
    "de": "der die das und den von zu mit sich des auf für ist im dem nicht ein eine als auch es an werden aus hat sie "
          "nach einen bei wurde einem einer am wie haben noch über zum war",
    "fr": "le la les de des et en un une du dans que qui est pour au par sur pas plus ne se ce avec son sont il aux "
          "été",
    "es": "el la los las de y en que un una del se por con para su al lo como más es fue ha pero sus este",
    "pt": "o os as de e do da em que um uma no na para com não por dos das ao foi mais se como mas pelo são",
    "it": "il lo la gli di e che un una per con del della nel sono è da non si dei al alla delle anche più ha come",
    "nl": "de het een van en in op te dat is voor met zijn niet aan er om ook als bij door naar uit maar werd",
    "sv": "och att det som en på är av för med den till inte har de ett om från men var",
    "da": "og at det som en på er af for med den til ikke har de et om fra men var blev",
    "no": "og at det som en på er av for med den til ikke har de et om fra men var ble",
    "pl": "w i na z się nie do że to jest o jak po od za przez dla był które oraz",
    "cs": "a v na se je že s z o do pro ve byl to jako za po od jsou který",
    "tr": "ve bir bu için ile de da olarak olan daha gibi çok sonra kadar",
    "ro": "și în de la a cu pe că din este pentru un o mai care nu sau au fost",
    "hu": "a az és hogy nem is egy volt ez meg csak de mint már",
    "fi": "ja on ei oli että se hän myös kun mutta joka ovat sekä",
    "id": "yang dan di dari untuk dengan pada ini itu tidak dalam akan ke oleh adalah",
    "vi": "của và là các trong được cho có với không một những người để đã",
}  # fmt: skip
_ENGLISH = frozenset(
    [
        "a",
        "an",
        "as",
        "at",
        "do",
        "had",
        "he",
        "i",
        "in",
        "is",
        "me",
        "no",
        "of",
        "on",
        "or",
        "over",
        "so",
        "to",
        "was",
        "we",
    ]
)
_WORD = re.compile(r"[^\W\d_]+")
_SAMPLE = 4000
AKIN = {
    **dict.fromkeys(("no", "nb", "nn", "da"), ("no", "da")), **dict.fromkeys(("id", "ms"), ("id",)),
    **dict.fromkeys(("bg", "mk", "sr", "be", "kk", "mn", "uz"), ("ru", "uk", "bg")),
    **dict.fromkeys(("cs", "sk"), ("cs",)),
    **dict.fromkeys(("fa", "ps", "ur", "ug"), ("fa", "ar")), **dict.fromkeys(("mr", "ne"), ("hi",)), "gl": ("pt", "es"),
}  # fmt: skip
"""Languages that a guess takes for another one."""

LEAST = 3
"""Different frequent words of a language that a text must have to be taken for one in it."""


def canonical(tag: str) -> str:
    """Return a language as a BCP 47 tag: ``EN``, ``eng`` and ``English`` are ``en``, ``en_us`` is ``en-US``.

    A language that is in no table stays as it is, in the case that tags have.
    """
    parts = [part for part in _PART.split(tag.strip()) if part]
    if not parts:
        return "und"
    first = _SHORT.get(parts[0].casefold(), parts[0].lower())
    rest = [
        part.title() if len(part) == 4 and part.isalpha() else part.upper() if len(part) in (2, 3) else part.lower()
        for part in parts[1:]
        if part.casefold() not in ("utf", "utf8", "8")  # as in the locale en_US.UTF-8
    ]
    return "-".join([first, *rest])


@cache
def main(tag: str) -> str:
    """Return the language of a tag without script and region: ``en`` for ``en-US``."""
    return canonical(tag).partition("-")[0]


def named(tag: str) -> str:
    """Return the English name of a language, its tag if it is in no table."""
    return NAMES.get(main(tag), tag)


def three_letters(tag: str) -> str:
    """Return the ISO 639-3 code of a language, the tag itself if it is in no table."""
    return next((row[1] for row in _ROWS if row[0] == main(tag)), tag)


@cache
def _stops() -> dict[str, frozenset[str]]:
    return {
        language: frozenset(words.split()) - (_ENGLISH if language != "en" else frozenset())
        for language, words in _STOPS.items()
    }


def guess(text: str) -> str | None:
    """Guess the language of a text by its script or its most frequent words; None where neither tells.

    It looks at the first 4,000 characters and knows 18 languages in Latin letters and the commonest one of each other
    script. It is a guess: short texts, lists of names and mixed texts have none.
    """
    letters = [letter for letter in text[:_SAMPLE] if letter.isalpha()]
    if not letters:
        return None
    held = "".join(letters)
    counts = {language: len(re.findall(f"[{span}]", held)) for language, span in _SCRIPTS.items()}
    if counts["ja"]:
        counts["ja"] += counts.pop("zh")
    script = max(counts, key=lambda language: counts[language])
    if counts[script] > len(letters) / 2:
        inside = [other for other in _AMONG.get(script, ()) if any(mark in held.lower() for mark in _LETTERS[other])]
        return inside[0] if inside else script
    return _by_words([word.lower() for word in _WORD.findall(text[:_SAMPLE])])


def _by_words(words: list[str]) -> str | None:
    """Return the language whose frequent words are most and different enough, by a margin over every other."""
    counts = Counter(words)
    scores = {language: sum(counts[word] for word in held) for language, held in _stops().items()}
    first, second = sorted(scores, key=lambda language: -scores[language])[:2]
    several = sum(word in counts for word in _stops()[first])
    return first if several >= LEAST and scores[first] > scores[second] else None
