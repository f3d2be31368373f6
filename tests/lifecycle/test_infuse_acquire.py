"""Relation pairs from running text: patterns, noun phrases, filters, the file of pairs."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from backbones.lifecycle.infuse.acquire import Filters, acquire, matches
from backbones.lifecycle.infuse.grammar import NONE, read_grammar
from backbones.lifecycle.infuse.pairs import Pair, mentions, read_pairs, relations_of, write_pairs
from backbones.lifecycle.infuse.phrases import Nouns, Phrases

GRAMMAR = read_grammar()
NOUNS = ["fruit", "fruits", "apples", "pears", "plums", "cancer", "smoking", "wheel", "car", "engine", "knife", "bread"]
PHRASES = Phrases([*NOUNS, "tea", "coffee", "trade", "deficit", "growth", "dogs", "animals"], GRAMMAR.words)


def found(sentence):
    return {(head, relation, tail) for head, relation, tail, _, _ in matches(sentence, GRAMMAR, PHRASES)}


@pytest.mark.parametrize(
    "sentence, wanted",
    [
        ("We ate fruits such as apples.", {("apples", "is_a", "fruits")}),
        (
            "She sold fruits, such as apples, pears and plums, to us.",
            {("apples", "is_a", "fruits"), ("pears", "is_a", "fruits"), ("plums", "is_a", "fruits")},
        ),
        ("He keeps dogs and other animals.", {("dogs", "is_a", "animals")}),
        ("It was said that smoking causes cancer.", {("smoking", "causes", "cancer")}),
        ("It is a cancer caused by smoking.", {("smoking", "causes", "cancer")}),
        ("Every car contains an engine.", {("car", "has_part", "engine")}),
        ("The engine is part of the car.", {("car", "has_part", "engine")}),
        ("The European Community (EC) met.", {("European Community", "also_known_as", "EC")}),
        ("They met near Lyon in France today.", {("Lyon", "located_in", "France")}),
        ("He took tea instead of coffee.", {("tea", "replaces", "coffee")}),
        ("The talks between Iran and Iraq failed.", {("Iran", "paired_with", "Iraq")}),
        ("A knife is used for bread.", {("knife", "used_for", "bread")}),
        ("Allegis owns United Air Lines now.", {("Allegis", "owns", "United Air Lines")}),
        ("The trade deficit led to growth.", {("trade deficit", "causes", "growth")}),
        ("Growth was seen in France.", set()),
        ("They walked and talked (slowly) in the rain.", set()),
        ("Such as it is, we ate.", set()),
    ],
)
def test_patterns_find_what_the_sentence_says(sentence, wanted):
    assert found(sentence) == wanted


def test_a_noun_stands_after_a_determiner_and_before_what_closes_a_phrase():
    nouns = Nouns(
        ["We saw the wheel of a car.", "They turn the wheel, and he will run.", "He will run the run of it."] * 2,
        GRAMMAR.words,
    )
    assert "wheel" in nouns and "car" in nouns
    assert "run" not in nouns  # as often behind what precedes verbs
    assert "the" not in nouns and "turn" not in nouns


def test_capitals_at_the_beginning_of_a_sentence_are_no_names_of_known_nouns():
    assert PHRASES.before("Smoking") == "smoking"
    assert PHRASES.before("He said that Smoking Room") == "Smoking Room"


def corpus():
    base = ["Look at the fruit, the apples, the pears and the tea.", "Take the fruit, the apples, the pears, the tea."]
    return [
        base,
        ["We like fruit such as apples.", "We like fruit such as pears.", "Any fruit, including apples, is sold."],
    ]


def test_pairs_are_counted_over_sentences_and_cues():
    got = acquire(corpus(), GRAMMAR)
    (first, second) = got.pairs
    assert (first.head, first.relation, first.tail, first.count, first.cues) == ("apples", "is_a", "fruit", 2, 2)
    assert (second.head, second.count, second.cues, second.cue) == ("pears", 1, 1, "such as")
    assert first.example == "We like fruit such as apples."  # the shorter of two
    assert got.sentences == 5 and got.found == 3 and got.counts() == {"is_a": 2}


@pytest.mark.parametrize(
    "name, values", [("min_count", {"min_count": 2}), ("min_cues", {"min_cues": 2}), ("most", {"most": 1})]
)
def test_filters_leave_out_and_say_how_much(name, values):
    got = acquire(corpus(), GRAMMAR, Filters(**values))
    assert [pair.head for pair in got.pairs] == ["apples"] and got.left_out == {name: 1}


def test_a_pair_keeps_the_relation_in_which_it_was_found_more_often():
    more = [["The tea replaces the pears.", "We like pears such as tea.", "We like pears, such as tea."]]
    got = acquire(corpus() + more, GRAMMAR)
    assert [(p.head, p.relation) for p in got.pairs if p.tail == "pears"] == [("tea", "is_a")]
    assert got.left_out == {"found more often in another relation": 1}


@settings(max_examples=30, deadline=None)
@given(st.permutations(corpus()[0] + corpus()[1]))
def test_the_order_of_sentences_does_not_change_what_is_found(order):
    whole, moved = acquire([corpus()[0] + corpus()[1]], GRAMMAR), acquire([order], GRAMMAR)
    assert [(p.head, p.relation, p.tail, p.count, p.cues) for p in whole.pairs] == [
        (p.head, p.relation, p.tail, p.count, p.cues) for p in moved.pairs
    ]


@pytest.mark.parametrize(
    "documents, filters, words",
    [
        ([["Nothing to see."]], {}, r"no pattern matches any of the 1 sentences .*such as 'such as'.*--patterns"),
        (corpus(), {"min_count": 9}, r"2 pairs were found in 5 sentences but none passes the filters: min_count \(2\)"),
        ([["x" * 400]], {}, "no sentence of 300 characters or less in 1 documents"),
        ([], {}, "no sentence of 300 characters or less in 0 documents"),
    ],
)
def test_a_corpus_without_pairs_is_refused(documents, filters, words):
    with pytest.raises(FrostlineError, match=words):
        acquire(documents, GRAMMAR, Filters(**filters))


@pytest.mark.parametrize(
    "text, words",
    [
        ("[[pattern]]\nrelation = 'x'", r"no \[\[patterns\]\].*'patterns' by 'pattern'"),
        ("[[patterns]]\nrelation = 'x'\nleft = 'head'", r"patterns.0.cues"),
        ("[[patterns]]\nrelation = 'x'\nleft = 'up'\ncues = ['a']", r"patterns.0.left = 'up'"),
        ("[[patterns]]\nrelation = 'none'\nleft = 'head'\ncues = ['a']", "choose another word"),
        ("[[patterns]]\nrelation = 'x'\nleft = 'head'\ncues = [' ']", "a cue is blank"),
        ("[[patterns]]\nrelation = 'x'\nleft = 'head'\ncues = ['a']\nname = 'both'", "Did you mean 'patterns.0.names'"),
        ("patterns = [", "cannot be read as TOML"),
    ],
)
def test_patterns_of_another_form_are_refused(tmp_path, text, words):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(FrostlineError, match=words):
        read_grammar(path)


def test_patterns_of_ones_own_take_the_words_that_are_shipped(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("[[patterns]]\nrelation = 'eats'\nleft = 'head'\ncues = ['eats', 'eat']\n[words]\ngeneric = []")
    own = read_grammar(path)
    assert own.relations == ("eats",) and own.words.stop == GRAMMAR.words.stop and not own.words.generic
    assert {(h, r, t) for h, r, t, *_ in matches("Most dogs eat bread.", own, PHRASES)} == {("dogs", "eats", "bread")}
    with pytest.raises(FrostlineError, match="do not exist"):
        read_grammar(tmp_path / "none.toml")


PAIR = {"head": "cat", "relation": "is_a", "tail": "animals", "example": "Keep animals such as a cat."}


def test_pairs_come_back_as_they_were_written(tmp_path):
    pairs = [Pair(**PAIR, count=3, cue="such as", cues=2), Pair(**{**PAIR, "head": "Keep"})]
    write_pairs(tmp_path / "p.jsonl", pairs)
    assert read_pairs(tmp_path / "p.jsonl") == pairs


@pytest.mark.parametrize(
    "row, words",
    [
        ({**PAIR, "tail": None}, r"line 2: tail = None"),
        ({key: value for key, value in PAIR.items() if key != "example"}, r"line 2: example.*required"),
        ({**PAIR, "tial": "x"}, r"line 2: unknown key 'tial'. Did you mean 'tail'"),
        ({**PAIR, "head": "dog"}, r"line 2: the example does not hold both 'dog' and 'animals'"),
        ({**PAIR, "tail": "Cat"}, r"line 2: head and tail are both 'cat'"),
        ({**PAIR, "relation": NONE}, r"line 2: the relation 'none' is kept"),
        ([1], r"line 2 is no JSON object"),
    ],
)
def test_a_row_that_lacks_something_is_named(tmp_path, row, words):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(PAIR) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(FrostlineError, match=words):
        read_pairs(path)


@pytest.mark.parametrize("text, words", [("", "holds no pair"), ("{", "line 1 is no JSON"), (None, "do not exist")])
def test_files_without_pairs_are_refused(tmp_path, text, words):
    path = tmp_path / "p.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(FrostlineError, match=words):
        read_pairs(path)


def test_one_relation_is_not_enough():
    with pytest.raises(FrostlineError, match=r"1 pairs stand in 1 relation\(s\): is_a \(1\).*needs 2 or more"):
        relations_of([Pair(**PAIR)])


WORDS = st.lists(st.sampled_from(["cat", "Dog", "red", "is", "a", "cats"]), min_size=2, max_size=8)


@settings(max_examples=100, deadline=None)
@given(WORDS, st.data())
def test_mentions_are_whole_words_apart_from_each_other_and_nearest(words, data):
    text = " ".join(words)
    head, tail = data.draw(st.sampled_from(["cat", "dog", "red a"])), data.draw(st.sampled_from(["is", "cats", "a"]))
    got = mentions(text, head, tail)
    spans = {
        word: [
            (at, at + len(word))
            for at in range(len(text))
            if f" {text.lower()} "[at : at + len(word) + 2] == f" {word} "
        ]
        for word in (head, tail)
    }
    gaps = [max(b[0] - a[1], a[0] - b[1]) for a in spans[head] for b in spans[tail]]
    gaps = [gap for gap in gaps if gap >= 0]
    if got is None:
        assert not gaps
    else:
        assert got.head in spans[head] and got.tail in spans[tail]
        assert max(got.tail[0] - got.head[1], got.head[0] - got.tail[1]) == min(gaps)


def test_plurals_beside_words_that_introduce_examples_are_nouns():
    """They stand without a determiner there, in texts that have no other place for them."""
    facts = [
        "He sold fruits such as apples, and left.",
        "The engine is part of the car.",
        "We met singers, including altos and basses.",
    ]
    got = {(pair.head, pair.relation, pair.tail) for pair in acquire([facts * 2], GRAMMAR).pairs}
    assert {("apples", "is_a", "fruits"), ("altos", "is_a", "singers"), ("car", "has_part", "engine")} <= got


def test_cues_between_words_that_are_no_known_nouns_say_what_a_noun_is():
    with pytest.raises(FrostlineError, match=r"'such as' stands in the 1 sentences, but between words .* --min-noun"):
        acquire([["We ate fruits such as apples."]], GRAMMAR)
    assert acquire([["We ate fruits such as apples."]], GRAMMAR, Filters(min_noun=1)).pairs[0].head == "apples"
