"""Ontologies: what is known of a domain before any text is read."""

from benchmarks.ontologies.lint import Finding, lint
from benchmarks.ontologies.load import ONTOLOGIES, fitting_ontology, load_ontology, registered_ontology
from benchmarks.ontologies.types import EntityType, EventType, Ontology, Role, RoleMap, Weights

__all__ = [
    "ONTOLOGIES",
    "EntityType",
    "EventType",
    "Finding",
    "Ontology",
    "Role",
    "RoleMap",
    "Weights",
    "fitting_ontology",
    "lint",
    "load_ontology",
    "registered_ontology",
]  # fmt: skip
