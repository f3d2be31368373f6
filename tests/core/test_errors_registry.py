"""Errors name the value and the nearest right answer; registries are lazy, admit guests and refuse clashes."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbones.core import registry as registry_module
from backbones.core.errors import FrostlineError, nearest, unknown
from backbones.core.registry import Registry


class Dist:
    def __init__(self, name):
        self.name = name


class Point:
    def __init__(self, name, value, dist):
        self.name, self.value, self.dist = name, value, dist and Dist(dist)


@pytest.fixture
def guests(monkeypatch):
    points: dict[str, list[Point]] = {}
    monkeypatch.setattr(registry_module, "entry_points", lambda group: points.get(group, []))
    return points


def table(**builtin):
    return Registry("PAT", "test.pats", {name: (target, f"line of {name}") for name, target in builtin.items()})


def test_nearest_is_best_first_ignores_case_and_offers_nothing_far():
    assert nearest("vpy", ["lora", "vpt", "ssf"]) == ["vpt"]
    assert nearest("VPT", ["lora", "vpt"]) == ["vpt"]
    assert nearest("split-cifar", ["split-cifar100", "split-cifar10", "split-digits"])[0] == "split-cifar10"
    assert len(nearest("aaaa", [f"aaa{i}" for i in range(9)], limit=2)) == 2
    assert nearest("zzzz", ["vpt", "lora"]) == []


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6))
def test_nearest_returns_only_options_and_finds_an_exact_name(options):
    for name in options:
        found = nearest(name, options)
        assert set(found) <= set(options)
        assert name.casefold() == found[0].casefold()


def test_unknown_names_the_kind_the_value_the_nearest_and_all():
    said = str(unknown("PAT", "vpr", ["vpt", "frozen"]))
    assert said == "unknown PAT 'vpr'. Did you mean 'vpt'? Known: frozen, vpt."
    assert "Did you mean" not in str(unknown("PAT", "zzz", ["vpt"]))
    assert "Known: none" in str(unknown("PAT", "vpt", []))
    assert FrostlineError.exit_code == 2


def test_names_are_sorted_and_nothing_is_imported_before_it_is_loaded(guests, tmp_path, monkeypatch):
    (tmp_path / "late_module_of_ours.py").write_text("THING = 7")
    monkeypatch.syspath_prepend(tmp_path)
    found = table(zebra="late_module_of_ours:THING", ape="no.such.module:X")
    assert found.names() == ["ape", "zebra"]
    assert "zebra" in found and "lion" not in found
    assert [(e.name, e.summary, e.origin) for e in found.entries()] == [
        ("ape", "line of ape", "frostline"),
        ("zebra", "line of zebra", "frostline"),
    ]
    assert "late_module_of_ours" not in sys.modules
    assert found.load("zebra") == 7


def test_a_guest_is_listed_with_its_origin_and_loaded(guests):
    guests["test.pats"] = [Point("root", "math:sqrt", "guestbook")]
    found = table(vpt="math:pi")
    assert found.names() == ["root", "vpt"]
    assert found.entries()[0].origin == "guestbook"
    assert found.load("root")(9.0) == 3.0


def test_a_guest_may_point_inside_an_object(guests):
    guests["test.pats"] = [Point("join", "os:path.join", "guestbook"), Point("e", "math:e [extra]", "guestbook")]
    assert table().load("join")("a", "b").startswith("a")
    assert table().load("e") > 2.7


def test_a_typo_is_answered_with_the_nearest_name(guests):
    with pytest.raises(FrostlineError, match=r"unknown PAT 'vtp'.*Did you mean 'vpt'"):
        table(vpt="math:pi").load("vtp")


def test_a_clash_names_both_claimants_and_both_targets(guests):
    guests["test.pats"] = [Point("vpt", "other:Vpt", "guestbook")]
    with pytest.raises(FrostlineError) as caught:
        table(vpt="math:pi").names()
    for word in ("'vpt'", "frostline", "math:pi", "guestbook", "other:Vpt", "Rename"):
        assert word in str(caught.value)
    guests["test.pats"] = [Point("new", "a:b", "first"), Point("new", "c:d", "second")]
    with pytest.raises(FrostlineError, match=r"first \(a:b\).*second \(c:d\)"):
        table().load("new")


def test_one_distribution_found_twice_is_no_clash(guests):
    guests["test.pats"] = [Point("root", "math:sqrt", "guestbook"), Point("root", "math:sqrt", "guestbook")]
    assert table().names() == ["root"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no_such_module_at_all:X", "no_such_module_at_all"),
        ("math:no_such_attribute", "no_such_attribute"),
        ("broken_guest_module:X", "ZeroDivisionError"),
        ("unparsable_guest_module:X", "SyntaxError"),
    ],
)
def test_a_broken_guest_is_named_and_leaves_the_others_usable(guests, tmp_path, monkeypatch, target, words):
    (tmp_path / "broken_guest_module.py").write_text("1 / 0")
    (tmp_path / "unparsable_guest_module.py").write_text("def (")
    monkeypatch.syspath_prepend(tmp_path)
    guests["test.pats"] = [Point("bad", target, "guestbook"), Point("nameless", target, None)]
    found = table(vpt="math:pi")
    with pytest.raises(FrostlineError) as caught:
        found.load("bad")
    assert all(word in str(caught.value) for word in ("'bad'", "guestbook", target, words, "uninstall"))
    with pytest.raises(FrostlineError, match="unnamed distribution"):
        found.load("nameless")
    assert found.load("vpt") > 3
