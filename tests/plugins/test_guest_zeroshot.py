"""A package from outside adds a scorer and a constraint by the same door as the built-in ones."""

import json
import sys
import tomllib
from pathlib import Path

import pytest
from command_lines import zero
from test_guest import GUEST, install

from zeroshot import CONSTRAINTS, SCORERS, Predictor, check_constraint, check_scorer, make_scorer
from zeroshot.predict import PredictSettings, make_constraints
from zeroshot.samples import samples


def forget():
    for registry in (SCORERS, CONSTRAINTS):
        registry.__dict__.pop("_entries", None)


@pytest.fixture
def guest(tmp_path, monkeypatch):
    project = tomllib.loads((GUEST / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    install(tmp_path, project["name"], project["entry-points"])
    (tmp_path / "frostline_guest").symlink_to(GUEST / "frostline_guest")
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield
    forget()
    for name in [name for name in sys.modules if name.startswith("frostline_guest")]:
        del sys.modules[name]


def test_nothing_of_the_guest_is_known_before_it_is_installed():
    code, _, err = zero("predict", "attack", "--scorer", "guest-scorer")
    assert code == 2 and "unknown scorer 'guest-scorer'" in err
    assert "guest-rule" not in make_constraints()


@pytest.mark.parametrize(("what", "name"), [("scorers", "guest-scorer"), ("constraints", "guest-rule")])
def test_lists_show_the_guest_and_where_it_comes_from(guest, what, name):
    code, out, _ = zero("--list", what)
    (line,) = [line for line in out.splitlines() if line.strip().startswith(name)]
    assert code == 0 and "frostline-guest" in line


def test_they_meet_the_contracts(guest):
    check_scorer(SCORERS.load("guest-scorer")())
    check_constraint(CONSTRAINTS.load("guest-rule")())


def test_they_predict_beside_the_built_in_ones(guest, tmp_path):
    code, out, err = zero("predict", "attack", "--scorer", "guest-scorer,near=30", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["scorer"] == "guest-scorer,near=30" and "guest-rule" in result["rules"]
    code, out, _ = zero("predict", "attack", "--scorer", "guest-scorer", "--rule-set", "guest-rule.price=50", "--json")
    first = min(json.loads(out)["entities"], key=lambda mention: mention["start"])["id"]
    given = {each["entity"]: each["role"] for each in json.loads(out)["events"][0]["arguments"]}
    assert code == 0 and given.get(first) in (None, "Attacker")
    code, out, _ = zero("predict", "attack", "--scorer", "guest-scorer", "--without", "guest-rule", "--json")
    assert code == 0 and "guest-rule" not in json.loads(out)["rules"]


def test_python_takes_them_as_objects(guest):
    scorer, name = make_scorer(["guest-scorer*2", "guest-scorer"])
    settings = PredictSettings(rules={"guest-rule": {"price": 3.0}}, margins=False)
    record = json.loads(Path(samples()["attack"]).read_text(encoding="utf-8"))
    result = Predictor(scorer, "ace", settings, name=name)(record)
    assert result.solver.status == "optimal" and all(event.arguments for event in result.events)
