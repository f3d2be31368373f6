"""The twelve phenomena of BLiMP and their 67 paradigms (Warstadt et al., TACL 2020, arXiv 1912.00582)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

OTHER = "other"
PHENOMENA: Mapping[str, tuple[str, ...]] = {
    "anaphor agreement": ("anaphor_",),
    "argument structure": (
        "animate_subject_", "causative", "drop_argument", "inchoative", "intransitive", "passive_", "transitive",
    ),
    "binding": ("principle_A_",),
    "control and raising": ("existential_there_object_", "existential_there_subject_", "expletive_it_", "tough_vs_"),
    "determiner-noun agreement": ("determiner_noun_",),
    "ellipsis": ("ellipsis_",),
    "filler-gap": ("wh_questions_", "wh_vs_that_"),
    "irregular forms": ("irregular_past_",),
    "island effects": (
        "adjunct_island", "complex_NP_", "coordinate_structure_", "left_branch_", "sentential_subject_", "wh_island",
    ),
    "NPI licensing": ("matrix_question_npi_", "npi_present_", "only_npi_", "sentential_negation_"),
    "quantifiers": ("existential_there_quantifiers_", "superlative_quantifiers_"),
    "subject-verb agreement": ("distractor_agreement_", "irregular_plural_", "regular_plural_"),
}  # fmt: skip


def phenomenon_of(paradigm: str) -> str:
    """Return the phenomenon that a paradigm of BLiMP belongs to, ``"other"`` for any other set of pairs."""
    for phenomenon, beginnings in PHENOMENA.items():
        if paradigm.startswith(beginnings):
            return phenomenon
    return OTHER


def by_phenomenon(accuracies: Mapping[str, float]) -> dict[str, tuple[float, int]]:
    """Return phenomenon -> (mean accuracy of its paradigms, how many), in the order of ``PHENOMENA``."""
    found: dict[str, list[float]] = {name: [] for name in (*PHENOMENA, OTHER)}
    for paradigm, accuracy in accuracies.items():
        found[phenomenon_of(paradigm)].append(accuracy)
    return {name: (float(np.mean(values)), len(values)) for name, values in found.items() if values}
