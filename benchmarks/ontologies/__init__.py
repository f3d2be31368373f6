"""Ontologies: what is known of a domain before any text is read."""

from benchmarks.ontologies.types import EntityType, EventType, Ontology, Role, RoleMap, Weights

__all__ = ["EntityType", "EventType", "Ontology", "Role", "RoleMap", "Weights"]
