"""Laying out the cells of a passage."""

import pytest

from backbones.core.errors import FrostlineError
from benchmarks.ontologies import EntityType, EventType, Ontology, Role
from benchmarks.passages import Argument, Event, Mention, Passage, Trigger
from zeroshot.build import build

TEXT = "Rebels shot two guards in Ruritania. The guards died on Monday. It rained. Nobody else came."
ONTOLOGY = Ontology(
    name="tiny",
    entity_types={"per": EntityType(aliases=("person",)), "loc": EntityType()},
    events={
        "Attack": EventType(roles={"Attacker": Role(types=("per",)), "Target": Role(), "Place": Role(types=("loc",))}),
        "Die": EventType(roles={"Victim": Role(types=("per",)), "Place": Role(types=("loc",))}),
    },
)


def mention(name, words, kind=None):
    start = TEXT.index(words)
    return Mention(id=name, start=start, end=start + len(words), text=words, type=kind)


def event(name, kind, trigger, arguments=(), candidates=None):
    start = TEXT.index(trigger)
    return Event(
        id=name,
        type=kind,
        trigger=Trigger(start=start, end=start + len(trigger), text=trigger),
        arguments=tuple(Argument(entity=each) for each in arguments),
        candidates=candidates,
    )


REBELS, GUARDS, PLACE = mention("m1", "Rebels", "PERSON"), mention("m2", "two guards"), mention("m3", "Ruritania", "x")
LATE = mention("m4", "Nobody else", "per")


def laid(*events, entities=(PLACE, REBELS, GUARDS, LATE), **options):
    def found(passage):
        return (mention("f1", "Monday"), mention("f2", "Rebels")), ("found 2 mentions",)

    def sentences(text):
        ends = [at + 1 for at, letter in enumerate(text) if letter == "."]
        return tuple(zip([0, *(end + 1 for end in ends[:-1])], ends, strict=True))

    passage = Passage(doc_id="d", text=TEXT, entities=entities, events=events)
    return build(passage, ONTOLOGY, find=found, sentences=sentences, **options)


def cells(problem, event=0):
    return {problem.mentions[problem.pairs[pair].mention].id for pair in problem.pairs_of_event[event]}


def test_given_arguments_are_the_candidates_and_must_have_a_role():
    problem, notes = laid(event("e1", "Attack", "shot", ["m2", "m1"]))
    assert [problem.mentions[pair.mention].id for pair in problem.pairs] == ["m1", "m2"]  # in the order of the text
    assert all(problem.roles(pair) == ("Attacker", "Target", "Place") for pair in range(2))
    assert len(notes) == 1 and "'x'" in notes[0] and "inferred" in notes[0]


def test_types_given_by_an_alias_are_fixed_and_unknown_ones_are_open():
    problem, _ = laid(event("e1", "Attack", "shot", ["m1"]))
    assert dict(zip((each.id for each in problem.mentions), problem.types, strict=True)) == {
        "m1": ("per",),
        "m2": ("per", "loc"),
        "m3": ("per", "loc"),
        "m4": ("per",),
    }
    inferred, _ = laid(event("e1", "Attack", "shot", ["m1"]), types="infer")
    assert set(inferred.types) == {("per", "loc")}


def test_entities_are_candidates_that_may_have_no_role_within_reach():
    problem, notes = laid(event("e1", "Attack", "shot", candidates="entities"), reach=1)
    assert cells(problem) == {"m1", "m2", "m3"}
    assert all(problem.roles(pair)[-1] is None for pair in range(len(problem.pairs)))
    assert any("1 pairs" in note and "--reach" in note for note in notes)
    everywhere, quiet = laid(event("e1", "Attack", "shot", candidates="entities"), reach=None)
    assert cells(everywhere) == {"m1", "m2", "m3", "m4"} and not any("--reach" in note for note in quiet)


def test_auto_adds_what_is_found_but_not_twice_and_not_the_trigger():
    problem, notes = laid(event("e1", "Die", "died"), entities=(REBELS,), candidates="auto")
    assert [each.id for each in problem.mentions] == ["m1", "f1"]
    assert "found 2 mentions" in notes
    assert problem.passage.entities == problem.mentions
    on_trigger, _ = laid(event("e1", "Die", "Monday", candidates="auto"), entities=())
    assert cells(on_trigger) == {"f2"}


def test_by_default_candidates_are_arguments_else_entities_else_found():
    assert cells(laid(event("e1", "Attack", "shot", ["m1"]))[0]) == {"m1"}
    assert cells(laid(event("e1", "Attack", "shot"))[0]) == {"m1", "m2", "m3"}
    assert cells(laid(event("e1", "Attack", "shot"), entities=())[0]) == {"f1", "f2"}


def test_an_event_without_arguments_beside_one_with_them_has_none():
    problem, notes = laid(event("e1", "Attack", "shot", ["m1"]), event("e2", "Die", "died"))
    assert cells(problem, 0) == {"m1"} and cells(problem, 1) == set()
    assert any("1 of 2 events list no argument" in note for note in notes)


def test_columns_are_numbered_pairs_first():
    problem, _ = laid(event("e1", "Attack", "shot", ["m1"]), event("e2", "Die", "died", candidates="entities"))
    assert len(problem.columns) == 3 + 3 * 3 + (1 + 2 + 2 + 1)
    assert [problem.columns[at].role for at in problem.pair_groups[0]] == ["Attacker", "Target", "Place"]
    assert problem.x(1, None) == problem.pair_groups[1][-1]
    open_type = next(at for at, kinds in enumerate(problem.types) if len(kinds) == 2)
    assert problem.y(open_type, "loc") == problem.type_groups[open_type][1]
    assert problem.pairs_of_mention[0] == (0, 1)


@pytest.mark.parametrize(
    ("source", "words"),
    [("entities", "--reach"), ("auto", "list entities")],
)
def test_an_event_without_candidates_is_an_error_that_says_what_to_do(source, words):
    with pytest.raises(FrostlineError, match=words) as caught:
        laid(event("e9", "Attack", "came", candidates=source), entities=(), reach=0)
    assert "'e9'" in str(caught.value) and source in str(caught.value)


def test_reach_counts_sentences_from_the_triggers_own():
    """Monday is one sentence after the trigger, "It rained" has no mention, "Nobody else" is three after."""
    late = (REBELS, mention("m5", "Monday"), LATE)
    for reach, expected in ((0, {"m1"}), (1, {"m1", "m5"}), (2, {"m1", "m5"}), (3, {"m1", "m5", "m4"})):
        problem, _ = laid(event("e1", "Attack", "shot", candidates="entities"), entities=late, reach=reach)
        assert cells(problem) == expected, reach
