"""The page of benchmarks.perf.scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One comparison.

    Args:
        what: scorer, mode and labels; questions: pairs of argument and label over all passages.
        naive, gradients, ours: CPU seconds; ``gradients``: the naive side with gradients on, as in the release.
        speedup: median over passages of naive over ours; least: the least one.
        naive_tokens, floor, encoded: tokens that the naive side encodes, that must be encoded, that we encode.
        gap: greatest difference of a score, as a share of it where it is above 1 nat (sums of fp32 losses round so).
    """

    what: str
    questions: int
    naive: float
    gradients: float
    ours: float
    speedup: float
    least: float
    naive_tokens: int
    floor: int
    encoded: int
    gap: float


def render(lines: Sequence[Line], setting: str, cache: str) -> str:
    """Return the page: what was compared under which ``setting``, and what the ``cache`` costs."""
    titles = (
        "scorer", "questions", "naive s", "with gradients s", "ours s", "speed-up", "least", "naive tokens", "floor",
        "encoded", "floor's speed-up", "distance", "largest difference",
    )  # fmt: skip
    table = [titles, ["---"] * len(titles)]
    for line in lines:
        bound = line.naive_tokens / line.floor
        table.append(
            [
                line.what,
                str(line.questions),
                f"{line.naive:.1f}",
                f"{line.gradients:.1f}",
                f"{line.ours:.2f}",
                f"**{line.speedup:.1f}**",
                f"{line.least:.1f}",
                f"{line.naive_tokens:,}",
                f"{line.floor:,}",
                f"{line.encoded:,}",
                f"{bound:.1f}",
                f"{line.speedup / bound:.2f}",
                f"{line.gap:.0e}",
            ]
        )
    rows = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return f"""# Speed of scoring

`python -m benchmarks.perf.scoring --out DIR`: {setting}

The naive side makes one forward pass per argument and label, batch 1, in inference mode; with gradients on, as in the
published release, it takes the seconds in the next column (extrapolated from an eighth). Speed-up: median over passages
of naive (inference mode) over ours; least: the least of them. Floor: tokens that no exact way can avoid, which are
distinct masked inputs, or distinct beginnings of texts up to the last scored token. Encoded: tokens that enter the
model, padding included. Floor's speed-up: naive tokens over floor, what sharing alone can give. Distance: measured over
that. It is above 1 where batches and the head, computed only where it is read, give more; below 1 attention masks,
padding and the softmax over the vocabulary take some. Largest difference: of a score, in nats, as a share of the score
where that is above 1 nat.

{rows}

{cache}

The mode `paper` of the causal scorer rates every token of the new passage, so all that follows an argument must be read
again for each label: where arguments stand anywhere, that alone bounds what an exact way can gain (see the floor's
speed-up), and it loosens the later they stand. The modes `label` and `label+suffix` are not bound so.
"""
