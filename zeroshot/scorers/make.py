"""Scorers from words: ``embedding``, ``masked,lm=DIR,mode=label``, and several with weights as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backbones.core.errors import FrostlineError, unknown
from backbones.core.settings import parse_pairs
from zeroshot.scorers import SCORERS
from zeroshot.scorers.base import Scorer

DEFAULT = "embedding"
HOWS = ("none", "pmi", "corpus")


def parse_scorer(words: str) -> tuple[str, float, dict[str, str]]:
    """Split ``name*weight,key=value,...`` into name, weight and settings; raises FrostlineError if it is not that."""
    head, _, rest = words.partition(",")
    name, star, factor = (part.strip() for part in head.partition("*"))
    try:
        weight = float(factor) if star else 1.0
    except ValueError:
        weight = -1.0
    if not name or not 0 < weight < float("inf"):
        raise FrostlineError(
            f"scorer {words!r}: write NAME, NAME*WEIGHT with a weight above 0, or NAME,key=value, "
            "such as masked*0.5,lm=bert-base-uncased."
        )
    return name, weight, parse_pairs([part for part in rest.split(",") if part.strip()], f"scorer {name!r}")


def make_scorer(
    scorers: Sequence[str] = (DEFAULT,),
    defaults: Mapping[str, Any] | None = None,
    *,
    calibrate: str = "none",
    cache: Path | str | None = None,
) -> tuple[Scorer, str]:
    """Make one scorer of one or several.

    Args:
        scorers: each ``name*weight,key=value,...``; several become a weighted ensemble.
        defaults: settings for every scorer that has such a field and does not say otherwise, such as ``lm``.
        calibrate: ``none``, ``pmi`` or ``corpus`` (then fit it before use), for each scorer of an ensemble.
        cache: file that keeps scores, None for none.

    Returns:
        The scorer and its name for reports.

    Raises:
        FrostlineError: unknown name, setting or calibration; a default that no scorer takes; a model that cannot be
            loaded.
    """
    cache = None if cache is None else Path(cache)
    if not scorers:
        raise FrostlineError(f"no scorer is given; known: {', '.join(SCORERS.names())}.")
    members: list[tuple[Scorer, float]] = []
    labels: list[str] = []
    for words in scorers:
        name, weight, settings = parse_scorer(words)
        if name not in SCORERS:
            raise unknown("scorer", name, SCORERS.names())
        kind = SCORERS.load(name)
        fields = kind.model_fields
        usual = {key: value for key, value in (defaults or {}).items() if key in fields and key not in settings}
        unused = sorted(set(defaults or {}) - set(fields))
        if unused:
            raise FrostlineError(f"scorer {name!r} has no setting {unused[0]!r}. It has: {', '.join(fields)}.")
        scorer: Scorer = kind.parse({**usual, **settings}, f"scorer {name!r}")
        labels.append(",".join([words, *(f"{key}={value}" for key, value in usual.items())]))
        if cache is not None:
            from zeroshot.scorers.cache import Cached

            scorer = Cached(scorer, cache)
        members.append((_calibrated(scorer, calibrate), weight))
    label = " + ".join(labels) + ("" if calibrate == "none" else f" ({calibrate})")
    if len(members) == 1:
        return members[0][0], label
    from zeroshot.scorers.ensemble import Ensemble

    return Ensemble(tuple(members)), label


def _calibrated(scorer: Scorer, how: str) -> Scorer:
    if how == "none":
        return scorer
    from zeroshot.scorers.calibrate import Calibrated

    return Calibrated(scorer, how=how)
