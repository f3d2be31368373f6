"""The size principle: a narrow role explains an entity type better than a broad one."""

from math import log

import numpy as np
import pytest

from backbones.core.errors import FrostlineError
from benchmarks.ontologies import EntityType, EventType, Ontology, Role
from benchmarks.passages import Event, Mention, Passage, Trigger
from zeroshot.constraints.breadth import Breadth
from zeroshot.decode import decode
from zeroshot.problem import Pair, Problem

KINDS = ("per", "loc", "org", "com")


def problem(*, none=False, types=("per",)):
    ontology = Ontology(
        name="tiny",
        entity_types={kind: EntityType() for kind in KINDS},
        events={
            "E": EventType(roles={"Narrow": Role(types=("per",)), "Two": Role(types=("per", "org")), "Any": Role()})
        },
    )
    passage = Passage(doc_id="d", text="ab cd", events=(Event(id="e", type="E", trigger=Trigger(start=3, end=5)),))
    return Problem(passage, ontology, (Mention(id="m", start=0, end=2),), (Pair(0, 0, none),), (types,))


def costs(made, **settings):
    """Return what each role of the only pair costs beyond its score."""
    found = {}
    for role in made.roles(0):
        scores = np.full(made.size, -50.0)
        scores[made.x(0, role)] = 0.0
        decoding = decode(made, scores, {"breadth": Breadth(**settings)})
        assert decoding.roles == (role,)
        found[role] = scores[made.x(0, role)] + _typed(made, scores, decoding) - decoding.objective
    return found


def _typed(made, scores, decoding):
    return scores[made.y(0, decoding.types[0])] if made.types[0] else 0.0


def test_a_role_costs_the_log_of_how_many_types_it_admits():
    assert costs(problem(none=True)) == pytest.approx({"Narrow": 0, "Two": log(2), "Any": log(4), None: log(8) / 3})
    assert costs(problem(), weight=0.5) == pytest.approx({"Narrow": 0, "Two": log(2) / 2, "Any": log(4) / 2})
    assert set(costs(problem(), weight=0).values()) == {0.0}


def test_a_mention_that_has_no_entity_type_is_left_alone():
    assert list(Breadth().rows(problem(types=()))) == []


def test_its_cost_is_evidence_and_it_cannot_be_hard():
    made = problem()
    decoding = decode(made, np.array([-9.0, -9.0, 0.0, 0.0]), {"breadth": Breadth()})
    (one,) = decoding.violations
    assert (
        one.evidence
        and one.cost == pytest.approx(log(4))
        and "Any of E" in one.reason
        and "4 entity types" in one.reason
    )
    with pytest.raises(FrostlineError, match="weight"):
        Breadth.parse({"weight": "hard"}, "constraint 'breadth'")
