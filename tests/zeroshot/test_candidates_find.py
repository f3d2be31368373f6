"""The finder: what it takes for a mention, what it never does, its limits, and each of its messages."""

import sys
import time
import types
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from benchmarks.ontologies import EntityType, EventType, Ontology, Role
from benchmarks.passages import Event, Mention, Passage, Trigger
from zeroshot.candidates import find_mentions, pipeline
from zeroshot.candidates.kinds import entity_type
from zeroshot.candidates.rules import trimmed


def passage(text, *triggers, **more):
    events = []
    for number, trigger in enumerate(triggers):
        start, end = (
            trigger if isinstance(trigger, tuple) else (text.index(trigger), text.index(trigger) + len(trigger))
        )
        events.append(Event(id=f"E{number}", type="attack", trigger=Trigger(start=start, end=end), candidates="auto"))
    return Passage(doc_id="d1", text=text, events=tuple(events), **more)


def found(text, *triggers, **options):
    mentions, _ = find_mentions(passage(text, *triggers), finder="rules", **options)
    return [mention.text for mention in mentions]


GENERAL = "Gen. J. R. O'Neill"


@pytest.mark.parametrize(
    ("text", "trigger", "expected"),
    [
        ("The rebels attacked a small village near Aleppo.", "attacked", ["rebels", "small village", "Aleppo"]),
        ("Gen. J. R. O'Neill was killed by his own guards.", "killed", [GENERAL, GENERAL[5:], "his", "own guards"]),
        ("The University of Sydney hired Maria de la Cruz.", "hired", ["University of Sydney", "Maria de la Cruz"]),
        ("Russia's army shelled the town.", "shelled", ["Russia", "army", "town"]),
        ("Five were wounded and 12 died.", "wounded", ["Five", "12"]),
        ("Militants seize the airport after a long fight.", "fight", ["Militants", "airport"]),
        ("The truck was dangerous and the road was steep.", "truck", ["road"]),
        ("They're ready, police said.", "said", ["They", "police"]),
        ("He paid $20 million to the gang last week.", "paid", ["He", "$20 million", "gang", "last week"]),
    ],
)  # fmt: skip
def test_rules_find_names_noun_groups_pronouns_and_forms(text, trigger, expected):
    assert found(text, trigger) == expected


def test_extent_says_how_much_of_a_noun_group_is_a_mention():
    text = "Nearly 30 percent of the three other soldiers fled to the Syrian border."
    assert found(text, "fled", extent="full") == [
        "Nearly 30 percent", "the three other soldiers", "the Syrian border", "Syrian",
    ]  # fmt: skip
    assert found(text, "fled") == ["30 percent", "three other soldiers", "Syrian", "Syrian border"]
    assert found(text, "fled", extent="head") == ["30 percent", "soldiers", "Syrian", "border"]


def test_pronouns_and_modifiers_can_be_switched():
    text = "She said oil prices hurt her firm."
    assert found(text, "hurt") == ["She", "oil prices", "her", "firm"]
    assert found(text, "hurt", pronouns=False) == ["oil prices", "firm"]
    assert found(text, "hurt", modifiers=True, pronouns=False) == ["oil", "oil prices", "firm"]


def test_sentences_of_the_passage_are_walls():
    text = "Fire kills the mayor The town mourns"
    walls = ((0, 20), (21, len(text)))
    mentions, _ = find_mentions(passage(text, "kills", sentences=walls), finder="rules")
    assert [mention.text for mention in mentions] == ["Fire", "mayor", "town"]


def test_given_entities_are_not_found_again_and_ids_never_clash():
    text = "The rebels attacked the village."
    own = Mention(id="found-24-31", start=4, end=10)
    mentions, notes = find_mentions(passage(text, "attacked", entities=(own,)), finder="rules")
    assert [(mention.id, mention.text) for mention in mentions] == [("found-24-31x", "village")]
    assert notes == ()


letters = (
    st.characters()
    | st.sampled_from(list("aBcé .,'’\"-$%1290\n_()«”"))
    | st.sampled_from(["the ", "U.S. ", "of ", " was "])
)


@settings(deadline=None)
@given(st.lists(letters, max_size=80), st.data())
def test_whatever_the_text_mentions_are_slices_trimmed_unique_sorted_and_off_triggers(pieces, data):
    text = "".join(pieces) + "x"
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    extent = data.draw(st.sampled_from(["full", "bare", "head"]))
    event = Event(id="E", type="attack", trigger=Trigger(start=start, end=end))
    given = Passage(doc_id="d", text=text, events=(event,))
    mentions, _ = find_mentions(given, finder="rules", extent=extent, modifiers=True)
    spans = [mention.span for mention in mentions]
    assert spans == sorted(set(spans))
    for mention in mentions:
        assert 0 <= mention.start < mention.end <= len(text)
        assert mention.text == text[mention.start : mention.end]
        assert mention.end <= start or end <= mention.start
        assert trimmed(text, mention.span) == mention.span
        assert mention.text.strip() == mention.text
        assert unicodedata.category(mention.text[0])[0] in "LMN" or mention.text[0] in "$€£¥"


@pytest.mark.parametrize("piece", ["the ", "Bank of ", "a.", "1,", "$1 ", "! ", "men the ", "’s ", "oil", "-x", "two "])
def test_finding_takes_time_linear_in_the_text(piece):
    def seconds(length):
        text = "hit " + piece * (length // len(piece))
        begin = time.process_time()
        find_mentions(passage(text, "hit"), finder="rules", modifiers=True)
        return time.process_time() - begin

    short = min(seconds(2_500) for _ in range(3))
    assert min(seconds(20_000) for _ in range(2)) < 30 * max(short, 0.002)  # 64 times were it quadratic


def test_the_limit_keeps_the_nearest_and_says_so():
    text = "Rome fell. " + "A man saw a dog. " * 30
    mentions, notes = find_mentions(passage(text, "fell"), finder="rules", limit=3)
    assert [mention.text for mention in mentions] == ["Rome", "man", "dog"]
    assert notes == ("passage d1: 61 mentions were found; the 3 nearest to a trigger were kept",)


def test_the_distance_is_counted_in_sentences_and_said():
    text = "Rome fell. A man ran. A dog slept."
    mentions, notes = find_mentions(passage(text, "fell"), finder="rules", distance=1)
    assert [mention.text for mention in mentions] == ["Rome", "man"]
    assert "1 of 3 mentions" in notes[0] and "more than 1 sentences from every trigger" in notes[0]


def test_another_language_is_said():
    _, notes = find_mentions(passage("Der Mann schlug den Hund.", "schlug", language="de"), finder="rules")
    assert "rules for English" in notes[0] and "'de'" in notes[0]


ONTOLOGY = Ontology(
    name="tiny",
    entity_types={
        "PER": EntityType(aliases=("person",)),
        "TME": EntityType(),
        "VAL": EntityType(),
        "MON": EntityType(),
    },
    events={"attack": EventType(roles={"attacker": Role()})},
    time_types=("TME",),
)


def test_types_are_guessed_only_where_the_form_is_certain():
    text = "Kim paid $5 for 30 men on Monday in 2003, then 40 in the 2003 fire."
    mentions, _ = find_mentions(passage(text, "paid"), finder="rules", ontology=ONTOLOGY)
    assert {mention.text: mention.type for mention in mentions} == {
        "Kim": None, "$5": "MON", "30 men": None, "Monday": "TME", "2003": "TME", "40": "VAL", "2003 fire": None,
    }  # fmt: skip
    bare, _ = find_mentions(passage(text, "paid"), finder="rules")
    assert {mention.type for mention in bare} == {None}


def test_labels_of_taggers_are_looked_up_by_key_alias_and_meaning():
    kinds = {"PERSON": "PER", "PER": "PER", "DATE": "TME", "CARDINAL": "VAL", "MONEY": "MON", "ORG": None, "NORP": None}
    assert {label: entity_type(label, ONTOLOGY) for label in kinds} == kinds
    assert entity_type("PERSON", None) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"finder": "rulez"}, ["unknown finder 'rulez'", "Did you mean 'rules'"]),
        ({"extent": "heads"}, ["unknown extent 'heads'", "Did you mean 'head'"]),
        ({"limit": 0}, ["limit = 0", "at least 1", "500"]),
        ({"distance": -1}, ["distance = -1", "number of sentences"]),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(FrostlineError) as caught:
        find_mentions(passage("Rome fell.", "fell"), **options)
    assert all(word in str(caught.value) for word in words)


class FakeToken:
    def __init__(self, number, text, start, pos):
        self.i, self.text, self.idx, self.pos_ = number, text, start, pos

    def __len__(self):
        return len(self.text)


class FakeChunk(list):
    def __init__(self, tokens, root):
        super().__init__(tokens)
        self.root = root


KINDS = {"rebels": "NOUN", "Acme": "PROPN", "Corp.": "PROPN", "raid": "NOUN", "They": "PRON"}
CHUNKS = [(0, 3, 2), (4, 6, 5), (7, 10, 9), (12, 13, 12)]
MODELS = ["en_core_web_sm", "en_core_web_lg", "de_core_news_sm"]


class FakeDoc(list):
    """What spaCy would say of "The old rebels hit Acme Corp. as the deadly raid ended": two chunks too many."""

    TEXT = "The old rebels hit Acme Corp. as the deadly raid ended. They ran."

    def __init__(self, text):
        assert text == self.TEXT
        words = ["The", "old", "rebels", "hit", "Acme", "Corp.", "as", "the", "deadly", "raid", "ended", ".", "They"]
        at = 0
        for number, word in enumerate(words):
            at = text.index(word, at)
            self.append(FakeToken(number, word, at, KINDS.get(word, "X")))
            at += len(word)
        self.ents = [types.SimpleNamespace(start_char=19, end_char=29, label_="ORG")]
        self.noun_chunks = [
            FakeChunk(self[first:end], self[root])
            for first, end, root in [(0, 3, 2), (4, 6, 5), (7, 10, 9), (12, 13, 12)]
        ]

    def has_annotation(self, name):
        return name == "DEP"


@pytest.fixture
def spacy(monkeypatch):
    """A module that stands for spaCy: one English pipeline of two sizes, whose loading is counted."""
    fake = types.ModuleType("spacy")
    fake.__spec__ = types.SimpleNamespace(name="spacy")
    fake.loaded = []

    def load(name):
        if name not in fake.util.get_installed_models():
            raise OSError(name)
        fake.loaded.append(name)

        class Pipeline:
            max_length = 1000

            def __call__(self, text):
                return FakeDoc(text)

        return Pipeline()

    fake.load = load
    fake.util = types.SimpleNamespace(get_installed_models=lambda: MODELS)
    monkeypatch.setitem(sys.modules, "spacy", fake)
    pipeline._load.cache_clear()
    yield fake
    pipeline._load.cache_clear()


def with_spacy(**options):
    mentions, notes = find_mentions(passage(FakeDoc.TEXT, "hit", "raid"), ontology=ONTOLOGY, **options)
    assert notes == ()
    return [mention.text for mention in mentions]


def test_auto_takes_the_best_installed_pipeline_and_no_chunk_whose_head_is_a_trigger(spacy):
    assert with_spacy() == ["old rebels", "Acme Corp", "They"]
    assert spacy.loaded == ["en_core_web_lg"]
    assert with_spacy(extent="full", pronouns=False) == ["The old rebels", "Acme Corp"]
    assert with_spacy(extent="head", modifiers=True) == ["rebels", "Acme", "Acme Corp", "Corp", "They"]
    assert spacy.loaded == ["en_core_web_lg"]


def test_heads_of_the_parser_are_kept(spacy):
    mentions, _ = find_mentions(passage(FakeDoc.TEXT, "hit"), finder="spacy", spacy_model="en_core_web_sm")
    assert mentions[0].head == (8, 14) and spacy.loaded == ["en_core_web_sm"]


def test_rules_are_taken_though_there_is_a_pipeline_if_asked_for(spacy):
    find_mentions(passage(FakeDoc.TEXT, "hit"), finder="rules")
    assert spacy.loaded == []


def test_missing_pipelines_and_texts_too_long_are_named(spacy):
    with pytest.raises(FrostlineError, match=r"unknown spaCy pipeline 'en_core_web_md'.*en_core_web_sm"):
        find_mentions(passage("Rome fell.", "fell"), spacy_model="en_core_web_md")
    with pytest.raises(FrostlineError, match="no spaCy pipeline for the language 'fr'"):
        find_mentions(passage("Rome fell.", "fell", language="fr"), finder="spacy")
    with pytest.raises(FrostlineError, match=r"2000 characters.*takes 1000.*'rules'"):
        find_mentions(passage("fell" * 500, "fell"), finder="spacy")


def test_without_spacy_auto_takes_rules_and_spacy_is_refused(monkeypatch):
    monkeypatch.setattr(pipeline, "find_spec", lambda name: None)
    mentions, _ = find_mentions(passage("Rome fell.", "fell"))
    assert [mention.text for mention in mentions] == ["Rome"]
    with pytest.raises(FrostlineError, match="spaCy, which is not installed"):
        find_mentions(passage("Rome fell.", "fell"), finder="spacy")
