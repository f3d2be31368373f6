"""Lint: each finding provoked by a miniature, and none by one that is in order."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.ontologies import Finding, Ontology, lint


def role(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": f"the {name} of it", "types": ["PER"], **more}


def event(*roles: str, **more: Any) -> dict[str, Any]:
    table = {key: role(key.lower()) for key in roles}
    return {"name": "happening", "description": "Something happens.", "roles": table, **more}


def ontology(**more: Any) -> Ontology:
    values: dict[str, Any] = {
        "name": "small",
        "source": "this test",
        "entity_types": {
            "PER": {"name": "person", "description": "a human being"},
            "TIM": {"name": "time", "description": "a date"},
        },
        "time_types": ["TIM"],
        "events": {"Attack": event("Attacker", "Target"), "Die": event("Agent", "Victim", "Time")},
        "maps": [{"source": "Attack", "target": "Die", "roles": {"Attacker": "Agent", "Target": "Victim"}}],
    }
    values["events"]["Die"]["roles"]["Time"] |= {"types": ["TIM"], "time": True}
    return Ontology.parse(values | more, "test")


def only(found: tuple[Finding, ...]) -> Finding:
    assert len(found) == 1, found
    assert found[0].fix
    return found[0]


def with_roles(**changes: dict[str, Any]) -> dict[str, Any]:
    """Return the two event types with some roles of Attack changed."""
    attack, die = event("Attacker", "Target"), event("Agent", "Victim", "Time")
    die["roles"]["Time"] |= {"types": ["TIM"], "time": True}
    for key, change in changes.items():
        attack["roles"].setdefault(key, role(key.lower())).update(change)
    return {"Attack": attack, "Die": die}


def with_attack(**more: Any) -> dict[str, Any]:
    return with_roles() | {"Attack": with_roles()["Attack"] | more}


def test_nothing_to_find() -> None:
    assert lint(ontology()) == ()


def test_no_source() -> None:
    found = only(lint(ontology(source=" ")))
    assert (found.severity, found.path) == ("warning", "source")


@pytest.mark.parametrize("field", ["name", "description"])
def test_missing_words(field: str) -> None:
    found = only(lint(ontology(events=with_roles(Target={field: None}))))
    assert (found.severity, found.path) == ("warning", "events.Attack.roles.Target")
    assert f"the role has no {field}" in found.words


def test_missing_words_of_types() -> None:
    kinds = {"PER": {"name": "person"}, "TIM": {"description": "a date"}}
    events = with_attack(description="")
    words = [(found.path, found.words.split(";")[0]) for found in lint(ontology(entity_types=kinds, events=events))]
    assert words == [
        ("entity_types.PER", "the entity type has no description"),
        ("entity_types.TIM", "the entity type has no name"),
        ("events.Attack", "the event type has no description"),
    ]


def test_no_events_and_no_roles() -> None:
    assert ("error", "events") in [(found.severity, found.path) for found in lint(ontology(events={}, maps=[]))]
    assert "drop the map" in [found.fix for found in lint(ontology(events={}))]
    empty = with_roles() | {"Rest": event()}
    found = only(lint(ontology(events=empty)))
    assert (found.severity, found.path) == ("warning", "events.Rest")


def test_roles_that_read_the_same() -> None:
    found = only(lint(ontology(events=with_roles(Target={"name": "Attacker "}))))
    assert (found.severity, found.path) == ("error", "events.Attack.roles")
    assert "Attacker and Target are both" in found.words


def test_roles_that_read_the_same_in_another_language() -> None:
    both = {"names": {"de": "Seite"}}
    found = only(lint(ontology(events=with_roles(Attacker=both, Target=both))))
    assert "'Seite' in 'de'" in found.words


def test_entity_types_that_read_the_same() -> None:
    kinds = {key: {"name": "thing", "description": key} for key in ("PER", "TIM")}
    assert only(lint(ontology(entity_types=kinds))).path == "entity_types"


def test_descriptions_that_are_the_same() -> None:
    found = only(lint(ontology(events=with_roles(Target={"description": "the attacker of it"}))))
    assert (found.severity, "same description" in found.words) == ("warning", True)


def test_aliases_claimed_twice() -> None:
    kinds = {
        "PER": {"name": "person", "description": "a human being", "aliases": ["who", "tim"]},
        "TIM": {"name": "time", "description": "a date", "aliases": ["WHO"]},
    }
    assert {(found.severity, found.path, found.words) for found in lint(ontology(entity_types=kinds))} == {
        ("error", "entity_types.PER.aliases", "'tim' is claimed by TIM as well"),
        ("error", "entity_types.TIM.aliases", "'WHO' is claimed by PER as well"),
    }


def test_role_aliases_claimed_twice() -> None:
    found = only(lint(ontology(events=with_roles(Target={"aliases": ["attacker"]}))))
    assert (found.path, found.words) == (
        "events.Attack.roles.Target.aliases",
        "'attacker' is claimed by Attacker as well",
    )


def test_keys_that_differ_in_case_alone() -> None:
    found = lint(ontology(events=with_roles(TARGET={"name": "aim", "description": "what is aimed at"})))
    assert only(found).words.startswith("Target and TARGET differ in capital letters alone")


def test_unused_entity_type() -> None:
    kinds = {key: {"name": key, "description": f"a {key}"} for key in ("PER", "TIM", "WEA")}
    found = only(lint(ontology(entity_types=kinds)))
    assert (found.severity, found.path) == ("warning", "entity_types.WEA")
    anything = with_roles(Target={"types": []})  # a role that admits any type uses them all
    assert lint(ontology(entity_types=kinds, events=anything)) == ()


def test_role_of_time_that_admits_no_time() -> None:
    found = only(lint(ontology(events=with_roles(When={"time": True}))))
    assert (found.severity, found.path) == ("error", "events.Attack.roles.When.types")
    assert "unreachable" in found.words
    assert "TIM" in found.fix


def test_role_that_admits_time_alone_without_being_one_of_time() -> None:
    found = only(lint(ontology(events=with_roles(When={"types": ["TIM"]}))))
    assert (found.path, found.fix) == ("events.Attack.roles.When.time", "set time = true")


def test_pair_that_implies_and_excludes() -> None:
    pair = [["Attacker", "Target"]]
    found = only(lint(ontology(events=with_attack(implies=pair, exclusions=pair))))
    assert (found.severity, found.path) == ("error", "events.Attack.exclusions")
    assert "Attacker can never be filled" in found.words
    assert "Attacker implies Target" in found.words


def test_chain_of_implications_into_an_excluded_role() -> None:
    events = with_attack(roles=event("A", "B", "C")["roles"], implies=[["A", "B"], ["B", "C"]], exclusions=[["C", "A"]])
    found = only(lint(ontology(events=events, maps=[])))
    assert "A can never be filled" in found.words
    assert "B implies C" in found.words


def test_two_needed_roles_that_exclude_each_other() -> None:
    events = with_roles(Attacker={"min": 1}, Target={"min": 1})
    events["Attack"]["exclusions"] = [["Attacker", "Target"]]
    found = lint(ontology(events=events))
    assert [item.severity for item in found] == ["error", "error"]
    assert "Attacker can never be filled" in found[0].words
    assert "yet Attacker has min 1" in found[0].words


def test_role_that_a_needed_role_excludes_is_unreachable() -> None:
    events = with_roles(Attacker={"min": 1})
    events["Attack"]["exclusions"] = [["Attacker", "Target"]]
    found = only(lint(ontology(events=events)))
    assert "Target can never be filled" in found.words
    assert "Attacker has min 1" in found.words


def test_exclusion_alone_is_no_contradiction() -> None:
    assert lint(ontology(events=with_attack(exclusions=[["Attacker", "Target"]]))) == ()


@pytest.mark.parametrize("side", ["source", "target"])
def test_map_whose_pattern_matches_nothing(side: str) -> None:
    rule = {"source": "Attack", "target": "Die", "roles": {"Attacker": "Agent"}} | {side: "attack.*"}
    found = only(lint(ontology(maps=[rule])))
    assert (found.severity, found.path) == ("error", f"maps[0].{side}")
    assert "'attack.*' matches no event type" in found.words
    assert "'Attack'" in found.fix


def test_map_with_a_role_that_nobody_has() -> None:
    found = only(lint(ontology(maps=[{"source": "At*", "target": "Die", "roles": {"Atacker": "Agent"}}])))
    assert "no event type that 'At*' matches has a role 'Atacker'" in found.words
    assert "'Attacker'" in found.fix


def test_map_over_a_pattern_needs_its_roles_once() -> None:
    assert lint(ontology(maps=[{"source": "*", "target": "Die", "roles": {"Attacker": "Agent"}}])) == ()


def test_map_of_roles_without_a_common_entity_type() -> None:
    found = only(lint(ontology(maps=[{"source": "Attack", "target": "Die", "roles": {"Attacker": "Time"}}])))
    assert "Attacker and Time admit no entity type in common" in found.words


def test_map_of_two_roles_to_one() -> None:
    rule = {"source": "Attack", "target": "Die", "roles": {"Attacker": "Agent", "Target": "Agent"}}
    words = [found.words for found in lint(ontology(maps=[rule]))]
    assert "Attacker and Target are both Agent: read backwards, one thing has both roles" in words


def test_maps_that_contradict_each_other() -> None:
    rules = [
        {"source": "Attack", "target": "Die", "roles": {"Attacker": "Agent"}},
        {"source": "Die", "target": "At*", "roles": {"Victim": "Attacker"}},
    ]
    found = only(lint(ontology(maps=rules)))
    assert (found.severity, found.path) == ("error", "maps[1].roles")
    assert "Attacker of Attack is Victim in Die, but maps[0] makes it Agent" in found.words


@pytest.mark.parametrize(("hypothesis", "missing"), [("{span} did it", "{role}"), ("the {role}", "{span}")])
def test_hypothesis_that_says_the_same_of_everything(hypothesis: str, missing: str) -> None:
    found = only(lint(ontology(events=with_attack(hypothesis=hypothesis))))
    assert (found.severity, found.path) == ("error", "events.Attack.hypothesis")
    assert f"{missing} is not in it" in found.words


def test_hypothesis_with_both() -> None:
    assert lint(ontology(events=with_attack(hypothesis="{span} is the {role}"))) == ()


def test_errors_come_first_and_keys_with_dots_are_quoted() -> None:
    events = with_roles() | {"A.B": event("X", "Y") | {"description": None, "hypothesis": "always"}}
    found = lint(ontology(source=None, events=events))
    assert [item.severity for item in found] == ["error", "warning", "warning"]
    assert found[0].path == 'events."A.B".hypothesis'
