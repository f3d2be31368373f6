"""Constraints: rules over whole passages, each its own plugin, hard or priced, each can be switched off."""

from backbones.core.registry import Registry
from zeroshot.constraints.base import FAMILIES, Aux, Constraint, Row

CONSTRAINTS = Registry(
    "constraint",
    "zeroshot.constraints",
    {
        "types": ("zeroshot.constraints.types:Types", "a role admits only some entity types (cross-task)"),
        "breadth": ("zeroshot.constraints.breadth:Breadth", "narrow roles explain a type better (cross-task)"),
        "multiplicity": ("zeroshot.constraints.multiplicity:Multiplicity", "how many things fill a role"),
        "exclusion": ("zeroshot.constraints.exclusion:Exclusion", "two roles of which at most one is filled"),
        "overlap": ("zeroshot.constraints.overlap:Overlap", "overlapping spans do not both fill roles of one event"),
        "cooccurrence": ("zeroshot.constraints.cooccurrence:Cooccurrence", "a filled role asks for another"),
        "maps": ("zeroshot.constraints.maps:Maps", "roles of one mention in related events (cross-event)"),
        "coreference": ("zeroshot.constraints.coreference:Coreference", "same roles in events that are one event"),
        "time": ("zeroshot.constraints.time:Time", "expressions of time fill roles of time"),
        "user": ("zeroshot.constraints.user:User", "roles that the user forces or forbids"),
    },
)

__all__ = ["CONSTRAINTS", "FAMILIES", "Aux", "Constraint", "Row"]
