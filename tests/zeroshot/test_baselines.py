"""Baselines: what each one chooses, chance against its exact expectation, and how often the release's loop errs."""

import numpy as np
import pytest

from backbones.core.errors import FrostlineError
from backbones.core.seed import numpy_generator
from benchmarks.ontologies import EntityType, EventType, Ontology, Role, RoleMap
from benchmarks.passages import Argument, Event, Mention, Passage, Trigger
from zeroshot.baselines import (
    ablate,
    families,
    first_roles,
    gold_roles,
    greedy_roles,
    majority_roles,
    majority_table,
    random_expected_accuracy,
    random_roles,
    release_roles,
    with_roles,
)
from zeroshot.evaluate import evaluate, evaluate_rows
from zeroshot.problem import Pair, Problem

TEXT = "abcdefghijklmnopqrstuvwxyz"
ATTACK = ("Attacker", "Target", "Instrument", "Time", "Place")
INJURE = ("Agent", "Victim", "Instrument", "Time", "Place")
MAP = RoleMap(source="attack", target="injure", roles=dict(zip(ATTACK, INJURE, strict=True)))


def ontology(**attack):
    """Attack and Injure with their map; ``attack`` sets fields of the roles of Attack."""
    return Ontology(
        name="tiny",
        entity_types={"PER": EntityType(), "WEA": EntityType(), "TIM": EntityType()},
        events={
            "attack": EventType(roles={role: Role(**attack.get(role, {})) for role in ATTACK}),
            "injure": EventType(roles={role: Role() for role in INJURE}),
        },
        maps=(MAP,),
        time_types=("TIM",),
    )


def problem(events=("attack", "injure"), mentions=1, *, kinds=(), none=False, rules=None):
    things = tuple(Mention(id=f"T{number}", start=number, end=number + 1) for number in range(mentions))
    found = tuple(
        Event(id=f"E{number}", type=kind, trigger=Trigger(start=20 + number, end=21 + number))
        for number, kind in enumerate(events)
    )
    passage = Passage(doc_id="d", text=TEXT, entities=things, events=found)
    pairs = tuple(Pair(event, mention, none) for event in range(len(events)) for mention in range(mentions))
    return Problem(passage, rules or ontology(), things, pairs, tuple(kinds) or ((),) * mentions)


def scores_of(made, *tables):
    """A score vector from one {role: score} for each pair; what is not named scores -9."""
    vector = np.full(len(made.columns), -9.0)
    for pair, table in enumerate(tables):
        for role, value in table.items():
            vector[made.x(pair, role)] = value
    return vector


def gold(made, *roles):
    return with_roles(made, roles)


def test_random_roles_are_uniform_and_repeat():
    made = problem(("attack",), none=True)
    draws = [random_roles(made, numpy_generator(0, "test", number))[0] for number in range(3000)]
    assert draws[:5] == [random_roles(made, numpy_generator(0, "test", number))[0] for number in range(5)]
    shares = [draws.count(role) / 3000 for role in (*ATTACK, None)]
    assert max(abs(share - 1 / 6) for share in shares) < 4 * np.sqrt(1 / 6 * 5 / 6 / 3000)


def test_chance_with_types_leaves_out_what_no_type_admits():
    rules = ontology(Attacker={"types": ["PER"]}, Target={"types": ["PER"]}, Time={"types": ["TIM"]})
    made = problem(("attack",), 2, kinds=(("TIM",), ("PER", "WEA")), rules=rules)
    draws = [random_roles(made, numpy_generator(1, number), types=True) for number in range(300)]
    assert {draw[0] for draw in draws} == {"Instrument", "Time", "Place"}
    assert {draw[1] for draw in draws} == {"Attacker", "Target", "Instrument", "Place"}
    strict = ontology(**{role: {"types": ["PER"]} for role in ATTACK})
    stranger = problem(("attack",), kinds=(("WEA",),), rules=strict)
    assert {random_roles(stranger, numpy_generator(2, number), types=True)[0] for number in range(200)} == set(ATTACK)


@pytest.mark.parametrize(("types", "expected"), [(False, 1 / 5 + 1 / 5), (True, 1 / 3 + 0.0)])
def test_the_expectation_of_chance_is_exact(types, expected):
    rules = ontology(Attacker={"types": ["PER"]}, Target={"types": ["PER"]})
    made = problem(("attack",), 3, kinds=(("WEA",), ("WEA",), ("PER",)), rules=rules)
    answers = gold(made, "Place", "Target", None)
    right, pairs = random_expected_accuracy(made, answers, types=types)
    assert (right, pairs) == (pytest.approx(expected), 2)
    wanted = gold_roles(made, answers)
    hits = [
        sum(role in answer for role, answer in zip(random_roles(made, generator, types=types), wanted, strict=True))
        for generator in (numpy_generator(3, number) for number in range(4000))
    ]
    assert np.mean(hits) == pytest.approx(expected, abs=4 * np.std(hits) / np.sqrt(4000))


def test_first_and_majority_roles_and_where_the_table_comes_from():
    made = problem()
    assert first_roles(made) == ("Attacker", "Agent")
    answers = [gold(made, "Target", "Victim"), gold(made, "Target", None), gold(made, "Place", None)]
    assert majority_table(answers) == {("attack", None): "Target", ("injure", None): "Victim"}
    assert majority_table([gold(made, "Target", None), gold(made, "Place", None)]) == {("attack", None): "Place"}
    assert majority_roles(made, {("attack", None): "Target"}) == ("Target", "Agent")


def test_the_majority_may_know_entity_types():
    made = problem(("attack",), 3)
    kinds = ("PER", "WEA", "PER")
    typed = tuple(mention.model_copy(update={"type": kind}) for mention, kind in zip(made.mentions, kinds, strict=True))
    made = Problem(made.passage.model_copy(update={"entities": typed}), made.ontology, typed, made.pairs, made.types)
    table = majority_table([gold(made, "Target", "Instrument", "Target")], types=True)
    assert table == {("attack", None): "Target", ("attack", "PER"): "Target", ("attack", "WEA"): "Instrument"}
    assert majority_roles(made, table) == ("Target", "Instrument", "Target")
    del table["attack", "WEA"]
    assert majority_roles(made, table) == ("Target", "Target", "Target")


def test_greedy_takes_the_best_of_each_cell_whatever_the_rules():
    made = problem(none=True)
    scores = scores_of(made, {"Target": 1.0, "Place": 0.5}, {None: 2.0, "Agent": 1.0})
    assert greedy_roles(made, scores) == ("Target", None)


def test_with_roles_gives_a_passage_that_can_be_evaluated():
    made = problem(mentions=2)
    predicted = with_roles(made, ("Target", None, "Victim", "Agent"))
    assert [event.arguments for event in predicted.events] == [
        (Argument(entity="T0", role="Target"),),
        (Argument(entity="T0", role="Victim"), Argument(entity="T1", role="Agent")),
    ]
    assert evaluate([predicted], [predicted]).classification.f1 == 1.0


def test_the_release_keeps_types_and_times():
    rules = ontology(Attacker={"types": ["PER"]}, Time={"types": ["TIM"], "time": True})
    made = problem(("attack",), 3, kinds=(("WEA",), ("TIM",), ("PER", "WEA")), rules=rules)
    scores = scores_of(made, *[{"Attacker": 3.0, "Target": 2.0, "Time": 1.0}] * 3)
    scores[made.y(2, "WEA")] = 0.0
    assert release_roles(made, scores) == ("Target", "Time", "Target")
    scores[made.y(2, "PER")] = 1.0
    assert release_roles(made, scores) == ("Target", "Time", "Attacker")


def test_the_release_moves_the_least_of_too_many():
    rules = ontology(Place={"max": 1}, Target={"max": 1})
    made = problem(("attack",), 3, rules=rules)
    scores = scores_of(made, {"Place": 3.0}, {"Place": 2.0, "Target": 1.0}, {"Target": 2.0})
    # The second leaves Place; Target, its next best, is full, so that it takes the first of the others.
    assert release_roles(made, scores) == ("Place", "Attacker", "Target")


def test_the_release_repairs_maps_by_walking_both_rankings():
    made = problem()
    scores = scores_of(made, {"Target": 5.0, "Place": 4.0}, {"Agent": 5.0, "Victim": 3.0, "Place": 4.5})
    # Place has come up in both rankings before Target and Victim have, though these are worth less by 0.5 only.
    assert release_roles(made, scores) == ("Place", "Place")
    agreeing = scores_of(made, {"Target": 5.0}, {"Victim": 3.0})
    assert release_roles(made, agreeing) == ("Target", "Victim")


def best_agreeing(made, scores):
    return max(zip(ATTACK, INJURE, strict=True), key=lambda roles: sum(scores[made.x(at, roles[at])] for at in (0, 1)))


def test_the_release_misses_the_best_pair_in_about_one_case_of_five():
    # The specification reports 22.9 % for the release itself; our reading gives 21.5 % (100,000 draws). With 4,000
    # draws the standard error is 0.65 points: the bounds hold both figures, and neither plain greedy choices (80 %
    # disagree) nor "the surer event decides" (43 %) nor exact decoding (0 %).
    made = problem()
    missed = disagreeing = 0
    for number in range(4000):
        scores = numpy_generator(4, "release", number).random(len(made.columns))
        roles = release_roles(made, scores)
        missed += roles != best_agreeing(made, scores)
        disagreeing += MAP.roles[roles[0]] != roles[1]
    assert disagreeing == 0
    assert 0.19 < missed / 4000 < 0.25


def test_exact_decoding_misses_none():
    from zeroshot.constraints.maps import Maps
    from zeroshot.decode import decode

    made = problem()
    for number in range(60):
        scores = numpy_generator(5, "exact", number).random(len(made.columns))
        assert decode(made, scores, {"maps": Maps(weight="hard")}).roles == best_agreeing(made, scores)


class Rule:
    def __init__(self, family):
        self.family = family


def test_ablation_removes_each_family_and_keeps_each_alone():
    rules = {"maps": Rule("cross-event"), "types": Rule("cross-task"), "coref": Rule("cross-event"), "x": Rule("own")}
    groups = families(rules)
    assert groups == {"cross-task": ("types",), "cross-event": ("coref", "maps"), "own": ("x",)}
    asked = []
    rows = list(ablate(lambda names: asked.append(names) or len(names), groups))
    assert [(row.name, row.removed) for row in rows] == [
        ("all constraints", ()),
        ("without cross-task", ("types",)),
        ("without cross-event", ("coref", "maps")),
        ("without own", ("x",)),
        ("only cross-task", ("coref", "maps", "x")),
        ("only cross-event", ("types", "x")),
        ("only own", ("coref", "maps", "types")),
        ("no constraints", ("coref", "maps", "types", "x")),
    ]
    assert asked == [row.removed for row in rows] and [row.result for row in rows] == [0, 1, 2, 1, 3, 2, 3, 4]
    assert [row.kind for row in ablate(len, {"user": ("user",)})] == ["all", "none"]
    assert [row.kind for row in ablate(len, {})] == ["all"]


def test_rows_stand_beside_the_first_with_paired_differences():
    made = problem()
    answers = [gold(made, "Target", "Victim").model_copy(update={"doc_id": f"d{number}"}) for number in range(12)]
    worse = [
        (item if number % 2 else gold(made, "Place", "Victim")).model_copy(update={"doc_id": item.doc_id})
        for number, item in enumerate(answers)
    ]
    evaluation = evaluate_rows(answers, [("ours", "predicted", answers), ("chance", "baseline", worse)])
    first, second = evaluation.rows
    assert first.difference is None and first.report.accuracy.value == 1.0
    assert second.report.accuracy.value == 0.75 and second.difference.difference == -0.25
    assert second.difference.interval[1] < 0 and second.kind == "baseline"


def test_an_evaluation_without_rows_is_refused():
    with pytest.raises(FrostlineError, match="no rows to evaluate"):
        evaluate_rows([], [])
