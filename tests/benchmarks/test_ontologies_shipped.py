"""The shipped ontologies: what their sources say of them, and nothing that lint calls an error."""

from __future__ import annotations

import json
import lzma
import re
import sys
import tomllib
from pathlib import Path
from subprocess import run

import pytest
import tomli_w

from benchmarks.ontologies import ONTOLOGIES, Ontology, lint, load_ontology
from benchmarks.ontologies.types import describe, say

FOLDER = Path(sys.modules["benchmarks.ontologies"].__file__ or "").parent
NAMES = ONTOLOGIES.names()


def role_names(ontology: Ontology) -> set[str]:
    return {role for event in ontology.events.values() for role in event.roles}


# Event types and role names as published; Rich ERE's roles include those of its fillers.
@pytest.mark.parametrize(
    ("name", "events", "roles"),
    [("ace", 33, 28), ("ere", 38, 26), ("rams", 139, 65), ("kairos", 51, 80), ("crudeoil", 19, 19)],
)
def test_it_has_as_many_types_and_roles_as_published(name: str, events: int, roles: int) -> None:
    ontology = load_ontology(name)
    assert (len(ontology.events), len(role_names(ontology))) == (events, roles)


@pytest.mark.parametrize("name", NAMES)
def test_lint_finds_no_error_and_no_missing_word(name: str) -> None:
    findings = lint(load_ontology(name))
    assert [finding for finding in findings if finding.severity == "error"] == []
    # Contact information is an entity type of ACE that takes part in nothing.
    assert [finding.path for finding in findings] == (["entity_types.CON"] if name == "ace" else [])


@pytest.mark.parametrize("name", NAMES)
def test_each_description_is_one_short_sentence_without_a_leftover(name: str) -> None:
    ontology = load_ontology(name)
    roles = [role for event in ontology.events.values() for role in event.roles.values()]
    for words in (*ontology.entity_types.values(), *ontology.events.values(), *roles):
        text = describe(words, "en") or ""
        assert 10 < len(text) < 140
        assert "{" not in text
        assert ". " not in text


@pytest.mark.parametrize("name", NAMES)
def test_toml_and_json_are_equal(name: str, tmp_path: Path) -> None:
    ontology = load_ontology(name)
    values = ontology.model_dump(mode="json", exclude_none=True)
    (tmp_path / "same.json").write_text(json.dumps(values), encoding="utf-8")
    (tmp_path / "same.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
    assert load_ontology(tmp_path / "same.json") == load_ontology(tmp_path / "same.toml") == ontology


def test_ace_knows_the_published_map_of_attack_and_death() -> None:
    rule = next(
        rule for rule in load_ontology("ace").maps if (rule.source, rule.target) == ("Conflict:Attack", "Life:Die")
    )
    assert rule.roles == {
        "Attacker": "Agent", "Target": "Victim", "Instrument": "Instrument", "Time": "Time", "Place": "Place",
    }  # fmt: skip


def test_ace_takes_at_most_one_position_at_the_end_of_a_job() -> None:
    assert load_ontology("ace").event("Personnel:End-Position").roles["Position"].max == 1


@pytest.mark.parametrize("language", ["de", "fr", "es", "zh"])
def test_ace_names_every_role_in_other_languages(language: str) -> None:
    for key, event in load_ontology("ace").events.items():
        names = {role: say(spec, role, language) for role, spec in event.roles.items()}
        assert all(language in spec.names for spec in event.roles.values()), key
        assert len(set(names.values())) == len(names), key


def test_ace_reads_the_eight_roles_of_time_as_one() -> None:
    attack = load_ontology("ace").event("Conflict:Attack")
    assert attack.role("time-within") == attack.role("Time-At-End") == "Time"


def test_rams_fills_each_role_once_and_participant_twice() -> None:
    for event in load_ontology("rams").events.values():
        assert {role: spec.max for role, spec in event.roles.items()} == {
            role: 2 if role == "participant" else 1 for role in event.roles
        }


def test_builtin_files_are_read_once() -> None:
    assert load_ontology("kairos") is load_ontology("kairos")


def test_neither_torch_nor_anything_heavy_is_imported() -> None:
    code = "import sys, benchmarks.ontologies as o; o.load_ontology('ace'); sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0


# --- the page -----------------------------------------------------------------------------------------------------


def snippets() -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```", (FOLDER / "WRITING.md").read_text(encoding="utf-8"), flags=re.M | re.S)


def test_the_page_is_an_ontology_without_findings(tmp_path: Path) -> None:
    assert len(snippets()) == 6
    for snippet in snippets():
        tomllib.loads(snippet)
    page = tmp_path / "page.toml"
    page.write_text("\n".join(snippets()), encoding="utf-8")
    assert lint(load_ontology(page)) == ()


def test_the_page_tells_of_the_crude_oil_ontology(tmp_path: Path) -> None:
    page = tmp_path / "page.toml"
    page.write_text("\n".join(snippets()), encoding="utf-8")
    part, whole = load_ontology(page), load_ontology("crudeoil")
    for key, event in part.events.items():
        assert (event.name, event.description) == (whole.event(key).name, whole.event(key).description)
        for role, spec in event.roles.items():
            assert spec.name == whole.event(key).roles[role].name
            assert set(spec.types) <= set(whole.event(key).roles[role].types)


def test_the_page_names_every_shape_and_links_to_files_that_exist() -> None:
    text = (FOLDER / "WRITING.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([\w.]+)\)", text):
        assert (FOLDER / link).is_file(), link


# --- the real files ------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_kairos_agrees_with_the_file_of_its_source(shared_data: Path, tmp_path: Path) -> None:
    path = _unpacked(shared_data, "kairos_ontology.json", tmp_path)
    source, ours = json.loads(path.read_text(encoding="utf-8")), load_ontology("kairos")
    assert list(source) == list(ours.events)
    for key, item in source.items():
        admitted: dict[str, set[str]] = {}
        for role, kinds in zip(item["roles"], item["role_types"], strict=True):
            # the file writes "side" for "sid" in two places
            admitted.setdefault(role, set()).update("SID" if kind == "side" else kind.upper() for kind in kinds)
        assert {role: set(spec.types) for role, spec in ours.event(key).roles.items()} == admitted


@pytest.mark.data
def test_the_foreign_files_load_without_contradictions(shared_data: Path, tmp_path: Path) -> None:
    for name, count in (("kairos_ontology.json", 51), ("geneva_ontology.json", 179)):
        ontology = load_ontology(_unpacked(shared_data, name, tmp_path))
        assert len(ontology.events) == count
        assert [item for item in lint(ontology) if item.severity == "error"] == []


def _unpacked(folder: Path, name: str, into: Path) -> Path:
    packed = folder / "eae" / f"{name}.xz"
    if not packed.is_file():
        pytest.skip(f"no {packed}")
    (into / name).write_bytes(lzma.decompress(packed.read_bytes()))
    return into / name
