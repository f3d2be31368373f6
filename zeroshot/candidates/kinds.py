"""Entity types that are certain: from the form of an expression, or from a tagger's label."""

from __future__ import annotations

from benchmarks.ontologies import Ontology

_SPELLINGS: dict[str, tuple[str, ...]] = {
    "time": ("time", "TIM", "TME", "date"),
    "money": ("money", "MON", "MNY"),
    "percent": ("percent", "percentage", "PCT", "number", "NUM", "VAL"),
    "number": ("number", "NUM", "numeric", "quantity", "VAL", "value"),
    "person": ("person", "PER"),
    "org": ("organization", "organisation", "ORG"),
    "gpe": ("geo-political entity", "geopolitical entity", "GPE"),
    "loc": ("location", "LOC"),
    "fac": ("facility", "FAC"),
}
"""What is found -> how ontologies spell it, most telling first."""
_LABELS = {"date": "time", "quantity": "number", "cardinal": "number", "per": "person"}


def entity_type(kind: str, ontology: Ontology | None) -> str | None:
    """Return the ontology's entity type for what was found.

    Args:
        kind: ``"time"``, ``"money"``, ``"percent"``, ``"number"``, or a tagger's label such as ``"PERSON"``.
        ontology: whose keys and aliases are searched; None: nothing is known.

    Returns:
        The key of the entity type; None if the ontology has none for it.
    """
    if ontology is None:
        return None
    exact = ontology.entity_type(kind)
    if exact is not None:
        return exact
    key = _LABELS.get(kind.casefold(), kind.casefold())
    if key == "time" and ontology.time_types:
        return ontology.time_types[0]
    return next((found for name in _SPELLINGS.get(key, ()) if (found := ontology.entity_type(name)) is not None), None)
