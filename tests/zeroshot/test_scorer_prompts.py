"""Prompts: the published texts by hand, templates of one's own, and braces that are only text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from zeroshot.scorers import Request
from zeroshot.scorers.prompts import PREFIXES, Template, make_template, parse

TEXT = "Rebels fired at two soldiers, police said"
PREFIX = 'This is a attack event whose occurrence is most clearly expressed by "fired". '


def ask(span: str = "two soldiers", text: str = TEXT, **changes: object) -> Request:
    start = text.index(span)
    values: dict[str, object] = {
        "text": text,
        "span": (start, start + len(span)),
        "trigger": (text.index("fired"), text.index("fired") + 5) if "fired" in text else None,
        "event": "attack",
        "label": "target",
    }
    return Request(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("span", "wanted"),
    [
        ("Rebels", "Rebels and any other target fired at two soldiers, police said"),
        ("two soldiers", "Rebels fired at two soldiers and any other target, police said"),  # before punctuation
        ("police said", "Rebels fired at two soldiers, police said and any other target."),  # at the end: a full stop
        ("soldier", "Rebels fired at two soldier and any other target s, police said"),  # within a word
    ],
)
def test_the_published_prompt(span: str, wanted: str) -> None:
    rendered = Template().render(ask(span))
    assert rendered.text == PREFIX + wanted
    assert rendered.text[slice(*rendered.span)] == rendered.label == "target"


def test_a_span_before_the_last_full_stop_gets_no_second_one() -> None:
    assert Template("").render(ask("home", "He went home.")).text == "He went home and any other target."
    assert Template("").render(ask("home", "He went home. ")).text == "He went home and any other target. "
    assert Template("").render(ask("home", "He went home \n")).text == "He went home and any other target."


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("expressed", PREFIX),
        ("trigger", 'This is a attack event whose trigger is "fired". '),
        ("type-expressed", 'The event type is attack, and its occurrence is most clearly expressed by "fired". '),
        ("type-trigger", 'The event type is attack and the trigger is "fired". '),
        ("none", ""),
    ],
)
def test_prefixes(name: str, wanted: str) -> None:
    assert make_template(name).render(ask()).left.startswith(wanted + "Rebels")
    assert name in PREFIXES


def test_entity_types_share_the_prompt_of_roles_and_have_none_without_an_event() -> None:
    role, kind = Template().render(ask()), Template().render(ask(kind="type", label="person"))
    assert (role.left, role.right) == (kind.left, kind.right)
    assert Template().render(ask(kind="type", trigger=None, event="")).left.startswith("Rebels fired")


def test_own_templates() -> None:
    prefix = make_template("Event: {type}.")
    assert prefix.render(ask()).text == "Event: attack. Rebels fired at two soldiers and any other target, police said"
    whole = make_template("{passage}: {span} is the {role} of {trigger} ({{{type}}})!")
    assert whole.render(ask()).text == TEXT + ": two soldiers is the target of fired ({attack})!"
    after = make_template("{span} is the {role}.")
    assert after.render(ask()).text == TEXT + " two soldiers is the target."


def test_description_as_answer_falls_back_to_the_name() -> None:
    template = make_template("{span} is {description}.")
    rendered = template.render(ask(description="the one who is attacked."))
    assert rendered.text.endswith("two soldiers is the one who is attacked.")
    assert rendered.label == "the one who is attacked"
    assert template.render(ask()).label == "target"


def test_the_ontologys_hypothesis_goes_first_for_roles_alone() -> None:
    own = ask(hypothesis="{span} plays {role} here.")
    assert Template().render(own).text == PREFIX + TEXT + " two soldiers plays target here."
    kind = ask(hypothesis="{span} plays {role} here.", kind="type", label="person")
    assert Template().render(kind).text == PREFIX + "Rebels fired at two soldiers and any other person, police said"


def test_the_empty_label_is_the_word_that_says_least() -> None:
    assert Template("").render(ask(label=" ")).label == "thing"


@given(st.text(alphabet="{}ab %s\\", max_size=30), st.text(alphabet="{}xy", min_size=1, max_size=8))
def test_braces_of_passages_and_labels_are_text(around: str, label: str) -> None:
    text = around + "SPAN" + around
    request = Request(text, (len(around), len(around) + 4), (0, len(around)), "{type}", label)
    for words in (*PREFIXES, "{passage} {span} {trigger} {type} {role}"):
        rendered = make_template(words).render(request)
        assert rendered.text == rendered.left + (label.strip() or "thing") + rendered.right
        assert text in rendered.text or rendered.left.endswith(around + "SPAN and any other ")


@given(st.text(max_size=30))
def test_doubled_braces_are_text(text: str) -> None:
    parts = parse(text.replace("{", "{{").replace("}", "}}"))
    assert "".join(part.text for part in parts) == text and not any(part.field for part in parts)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{roll} x", r"unknown field \{roll\}. Did you mean \{role\}"),
        ("a { b", "a lone '{'; write '{{'"),
        ("a }", "a lone '}'; write '}}'"),
        ("{role} or {description}", "has 2 answers"),
        ("triger", "unknown template .*'triger'. Did you mean 'trigger'"),
        ("{passage} of {type}", r"has 0 answers; it needs \{role\}"),
    ],
)
def test_mistakes_in_templates(template: str, words: str) -> None:
    with pytest.raises(FrostlineError, match=words):
        make_template(template)


def test_a_hypothesis_without_an_answer_is_refused() -> None:
    with pytest.raises(FrostlineError, match=r"has 0 answers; it needs \{role\}"):
        Template().render(ask(hypothesis="{span} was there."))
