"""Reading ontologies: what is accepted, and what each mistake is told."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.core import registry
from backbones.core.errors import FrostlineError
from backbones.core.registry import Registry
from benchmarks.ontologies import Ontology, load, load_ontology
from benchmarks.ontologies.types import verbal

SMALL = """
name = "small"
[entity_types]
PER = { name = "person", aliases = ["person", "Human"] }
TIM = { name = "time" }
[roles]
Place = { name = "place", max = 1, description = "where the {event} happens" }
[events."Conflict:Attack"]
name = "attack"
[events."Conflict:Attack".roles]
Attacker = { types = ["PER"], aliases = ["Agent"] }
Place = {}
[events.Die]
roles = ["Place"]
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def to(text: str, name: str = "own.toml") -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return to


def told(path: Path | str) -> str:
    with pytest.raises(FrostlineError) as caught:
        load_ontology(path)
    return str(caught.value)


# --- what is accepted ----------------------------------------------------------------------------------------------


def test_the_glossary_is_worked_into_event_types(write: Any) -> None:
    ontology = load_ontology(write(SMALL))
    place = ontology.event("Conflict:Attack").roles["Place"]
    assert (place.name, place.max, place.description) == ("place", 1, "where the attack happens")
    assert ontology.event("Die").roles["Place"].description == "where the die happens"


def test_an_event_type_says_otherwise_than_the_glossary(write: Any) -> None:
    text = SMALL.replace("Place = {}", 'Place = { max = 3, description = "the {event} spot" }')
    place = load_ontology(write(text)).event("Conflict:Attack").roles["Place"]
    assert (place.name, place.max, place.description) == ("place", 3, "the {event} spot")


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert load_ontology(tmp_path / "own.toml").name == "small"


def test_names_are_spelled_in_any_case_and_by_aliases(write: Any) -> None:
    ontology = load_ontology(write(SMALL))
    assert ontology.entity_type("human") == ontology.entity_type("per") == "PER"
    assert ontology.entity_type("robot") is None
    attack = ontology.event("Conflict:Attack")
    assert attack.role("attacker") == attack.role("AGENT") == "Attacker"
    assert attack.role("victim") is None


@pytest.mark.parametrize("spelled", ["Conflict:Attack", "conflict.attack", "Conflict_Attack", "conflict.attack.n/a"])
def test_event_types_are_spelled_in_several_ways(write: Any, spelled: str) -> None:
    assert load_ontology(write(SMALL)).event_type(spelled) == "Conflict:Attack"


def test_an_event_type_that_nothing_spells_is_none(write: Any) -> None:
    assert load_ontology(write(SMALL)).event_type("Conflict") is None


def test_event_names_the_nearest_type(write: Any) -> None:
    with pytest.raises(FrostlineError, match=r"'Conflict:Atack'.*Did you mean 'Conflict:Attack'"):
        load_ontology(write(SMALL)).event("Conflict:Atack")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("Conflict.Attack.Unspecified", "attack"),
        ("conflict.attack.n/a", "attack"),
        ("Justice:Trial-Hearing", "trial hearing"),
        ("DamagerDestroyer", "damager destroyer"),
        ("government.formation.mergeGPE", "merge gpe"),
        ("GPEFormation", "gpe formation"),
        ("Commerce_money-transfer", "commerce money transfer"),
        ("Unspecified", "unspecified"),
    ],
)
def test_keys_read_as_words(key: str, words: str) -> None:
    assert verbal(key) == words


@given(st.text(min_size=1, max_size=20))
def test_words_are_never_empty(key: str) -> None:
    assert verbal(key)


# --- foreign shapes --------------------------------------------------------------------------------------------------

KAIROS = {
    "Contact.Meet": {
        "template": "<arg1> met <arg2> in <arg3>",
        "keywords": ["meet"],
        "roles": ["Participant", "Participant", "Place"],
        "role_types": [["per"], ["org", "per"], ["loc", "xyz"]],
    }
}
GENEVA: dict[str, Any] = {
    "Motion": {
        "description": "Something moves. No agent is needed.",
        "arguments": {
            "Theme": {"arg_name": "Theme", "arg_desc": "What moves, e.g. a car. It is the subject."},
            "Time": {"arg_name": "Time", "arg_desc": ""},
        },
    },
    "Death": {"description": None, "arguments": {}},
}


def test_the_kairos_shape(write: Any) -> None:
    ontology = load_ontology(write(json.dumps(KAIROS), "event_role.json"))
    event = ontology.event("Contact.Meet")
    assert ontology.name == "event_role"
    assert list(event.roles) == ["Participant", "Place"]
    assert event.roles["Participant"].types == ("per", "org")
    assert event.description == "participant met participant in place"
    assert ontology.entity_types["loc"].description  # known to the shipped ontology
    assert ontology.entity_types["xyz"].description is None


def test_the_kairos_shape_without_entity_types(write: Any) -> None:
    ontology = load_ontology(write(json.dumps({"Meet": {"roles": ["Entity"]}}), "own.json"))
    assert ontology.event("Meet").roles["Entity"].types == ()


@pytest.mark.parametrize("lines", [False, True])
def test_the_geneva_shape(write: Any, lines: bool) -> None:
    text = "\n".join(json.dumps({key: item}) for key, item in GENEVA.items()) if lines else json.dumps(GENEVA)
    ontology = load_ontology(write(text, "geneva.json"))
    roles = ontology.event("Motion").roles
    assert list(ontology.events) == ["Motion", "Death"]
    assert ontology.event("Motion").description == "Something moves."
    assert roles["Theme"].description == "What moves, e.g. a car."
    assert (roles["Time"].time, roles["Time"].description) == (True, None)
    assert ontology.entity_types == {}


# --- guests ----------------------------------------------------------------------------------------------------------

GUEST = Ontology(name="guest", events={})
STRANGE = 7


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint(name, f"{__name__}:{name}", "benchmarks.ontologies") for name in ("GUEST", "STRANGE")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    own = load.ONTOLOGIES
    monkeypatch.setattr(load, "ONTOLOGIES", Registry(own.kind, own.group, {}))
    load._named.cache_clear()


def test_a_guest_registers_an_ontology(guests: None) -> None:
    assert load_ontology("GUEST") is GUEST


def test_a_guest_that_is_no_ontology(guests: None) -> None:
    assert "registered as a int; register an Ontology or a path" in told("STRANGE")


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_unknown_name() -> None:
    words = told("kairo")
    assert "unknown ontology 'kairo'" in words
    assert "'kairos'" in words
    assert ".toml" in words


def test_missing_file(write: Any) -> None:
    path = write(SMALL, "mine.toml")
    words = told(path.with_name("mime.toml"))
    assert "mime.toml does not exist" in words
    assert "mine.toml" in words


def test_folder(tmp_path: Path) -> None:
    assert "is a folder; pass an ontology file" in told(tmp_path)


def test_empty_file(write: Any) -> None:
    assert "own.toml is empty" in told(write("  \n"))


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_bytes(b'name = "caf\xe9"')
    assert "own.toml is not UTF-8 text (byte 11 is 0xe9)" in told(tmp_path / "own.toml")


def test_too_large(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_LARGEST", 10)
    assert "bytes; an ontology file has at most 10" in told(write(SMALL))


def test_malformed_toml(write: Any) -> None:
    words = told(write('name = "small"\n[events\n'))
    assert "own.toml is not TOML" in words
    assert "line 2" in words


def test_malformed_json(write: Any) -> None:
    words = told(write('{"name": "small",\n "events": }', "own.json"))
    assert "own.json is not JSON" in words
    assert "line 2, column 12" in words


def test_malformed_json_line(write: Any) -> None:
    assert "line 2, column" in told(write('{"A": {"arguments": {}}}\n{"B": \n', "own.jsonl"))


def test_json_line_that_is_no_object(write: Any) -> None:
    assert "line 2: a JSON list; each line is an object" in told(write('{"A": {"arguments": {}}}\n[]\n', "own.jsonl"))


def test_json_lines_that_repeat_a_key(write: Any) -> None:
    line = '{"A": {"arguments": {}}}\n'
    assert "line 2: the key 'A' stands on an earlier line" in told(write(line * 2, "own.jsonl"))


def test_json_that_is_no_object(write: Any) -> None:
    assert "holds a JSON list; an ontology is an object" in told(write("[]", "own.json"))


def test_json_with_a_key_twice(write: Any) -> None:
    assert "the key 'name' is given twice" in told(write('{"name": "a", "name": "b", "events": {}}', "own.json"))


def test_json_that_is_nested_too_deeply(write: Any) -> None:
    assert "nested too deeply" in told(write("[" * 100_000, "own.json"))


def test_neither_ours_nor_foreign(write: Any) -> None:
    words = told(write('{"doc_id": "d1", "text": "x"}', "own.json"))
    assert "is not an ontology: it has no table 'events'" in words
    assert "doc_id, text" in words


def test_unknown_key_with_the_nearest(write: Any) -> None:
    words = told(write(SMALL.replace('types = ["PER"]', 'typs = ["PER"]')))
    assert "own.toml" in words
    assert "unknown key 'events.Conflict:Attack.roles.Attacker.typs'" in words
    assert "Did you mean 'events.Conflict:Attack.roles.Attacker.types'?" in words


def test_unknown_key_in_the_glossary_is_told_once(write: Any) -> None:
    words = told(write(SMALL.replace("max = 1", "maximum = 1")))
    assert words.count("maximum") == 1
    assert "roles.Place" in words


def test_value_of_a_wrong_type(write: Any) -> None:
    words = told(write(SMALL.replace("Place = {}", 'Place = { max = "many" }')))
    assert "events.Conflict:Attack.roles.Place.max = 'many'" in words


def test_max_below_min(write: Any) -> None:
    words = told(write(SMALL.replace("Place = {}", "Place = { min = 2 }")))
    assert "events.Conflict:Attack.roles.Place: max 1 is less than min 2" in words
    assert "{'" not in words  # the whole table is not shown


def test_unknown_entity_type(write: Any) -> None:
    words = told(write(SMALL.replace('["PER"]', '["PERS"]')))
    assert "unknown entity type in events.Conflict:Attack.roles.Attacker.types 'PERS'. Did you mean 'PER'?" in words


def test_unknown_time_type(write: Any) -> None:
    words = told(write('time_types = ["TIMEX"]\n' + SMALL))
    assert "unknown entity type in time_types 'TIMEX'. Did you mean 'TIM'?" in words


@pytest.mark.parametrize("rule", ["exclusions", "implies"])
def test_unknown_role_in_a_pair(write: Any, rule: str) -> None:
    words = told(write(SMALL.replace('name = "attack"', f'name = "attack"\n{rule} = [["Attacker", "Plase"]]')))
    assert f"unknown role in events.Conflict:Attack.{rule} 'Plase'. Did you mean 'Place'?" in words


def test_pair_of_one_role(write: Any) -> None:
    words = told(write(SMALL.replace('name = "attack"', 'name = "attack"\nexclusions = [["Place", "Place"]]')))
    assert "events.Conflict:Attack.exclusions: the pair (Place, Place) names one role twice" in words


def test_many_mistakes_are_cut_short(write: Any) -> None:
    kinds = ", ".join(f'"X{number}"' for number in range(9))
    assert "(and 4 more)" in told(write(SMALL.replace('["PER"]', f"[{kinds}]")))


def test_listed_role_that_the_glossary_does_not_have(write: Any) -> None:
    words = told(write(SMALL.replace('roles = ["Place"]', 'roles = ["Plaice"]')))
    assert "events.Die.roles: unknown role of the glossary 'Plaice'. Did you mean 'Place'?" in words


def test_role_listed_twice(write: Any) -> None:
    words = told(write(SMALL.replace('roles = ["Place"]', 'roles = ["Place", "Place"]')))
    assert "events.Die.roles: 'Place' is listed twice" in words


def test_glossary_role_that_no_event_has(write: Any) -> None:
    words = told(write(SMALL.replace("[roles]", "[roles]\nAtacker = {}")))
    assert "roles.Atacker: no event type has this role. Did you mean 'Attacker'?" in words


@pytest.mark.parametrize("key", ["roles", "events"])
def test_tables_that_are_no_tables(write: Any, key: str) -> None:
    values = {"name": "x", "events": {}, "roles": {}} | {key: 3}
    assert f"{key} = 3 is a int; write a table" in told(write(json.dumps(values), "own.json"))


def test_kairos_types_that_do_not_match_the_roles(write: Any) -> None:
    broken = {"Meet": {"roles": ["A", "B"], "role_types": [["per"]]}}
    words = told(write(json.dumps(broken), "own.json"))
    assert "own.json: Meet.role_types: found 1 lists; expected one list of entity types for each of 2 roles" in words


def test_kairos_role_that_is_no_word(write: Any) -> None:
    assert "Meet.roles: 3 is not the name of a role" in told(write('{"Meet": {"roles": [3]}}', "own.json"))


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "events", "roles", "types", "role_types", "arguments", "arg_desc", "template", "max"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(value=NESTED)
def test_any_json_is_an_ontology_or_an_error(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    try:
        assert isinstance(load_ontology(path), Ontology)
    except FrostlineError as error:
        assert "fuzzed.json" in str(error)
