"""The page of benchmarks.perf.pats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """What is shown of a PAT; None where there is nothing to measure.

    Args:
        case: backbone and batch.
        pat: its name, and the stage of its training where there are several.
        parameters: trained ones.
        seconds: CPU seconds of a step with the PAT in all blocks.
        to_peft: that, as a multiple of PEFT's step; least_to_peft: likewise, of the least seconds of both.
        upper: the step with the PAT in the upper quarter, as a share of the step in all blocks; the blocks below run in
            every step.
        kept: likewise, what enters the quarter is computed once and kept for the usual number of epochs; their mean.
        stored: likewise, what enters the quarter is in the feature store already.
    """

    case: str
    pat: str
    parameters: int
    seconds: float
    to_peft: float
    least_to_peft: float
    upper: float | None
    kept: float | None
    stored: float | None


TITLES = (
    "PAT", "trained", "ms", "to PEFT", "to PEFT, least", "upper, computed", "upper, kept", "upper, stored"
)  # fmt: skip


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def render(lines: Sequence[Line], repeats: int, real: bool) -> str:
    """Return the page: lines of every case, the number of repeats, and whether the ViT had real weights."""
    parts = []
    for case in dict.fromkeys(line.case for line in lines):
        rows = [TITLES, ["---"] * len(TITLES)]
        for line in lines:
            if line.case == case:
                ratios = (line.to_peft, line.least_to_peft, line.upper, line.kept, line.stored)
                cells = [line.pat, f"{line.parameters:,}", f"{1e3 * line.seconds:.0f}"]
                rows.append([*cells, *map(_ratio, ratios)])
        parts.append(f"## {case}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n")
    weights = "real weights of the ViT, random ones of the text encoder" if real else "random weights"
    return HEAD.format(repeats=repeats, weights=weights) + "\n" + "\n".join(parts)


HEAD = """# Speed of a training step

`python -m benchmarks.perf.pats --out DIR`: forward, cross-entropy, backward and AdamW (fused, for all), one thread,
fp32, CPU seconds, medians of {repeats} interleaved rounds in one process; {weights}. The measure is PEFT's own LoRA:
same model, same batch, rank 8, the layers that our `lora` takes by default. Its second copy, `again`, stands last: how
far it is from 1 is what noise does to a row.

- **trained**: parameters that the optimizer holds in that stage of the training.
- **to PEFT**: CPU time of the step with default settings in all twelve blocks over that of PEFT's step; *least*: the
  least times of both instead of the medians, which other processes on the machine disturb less. Aim: at most 1.15.
- **upper, computed**: the step with the PAT in blocks 9-11 over the step in all blocks; blocks 0-8 run forward in every
  step, without gradients. Aim: under 0.45.
- **upper, kept**: what the engine does unless told otherwise: blocks 0-8 run once, what they give is kept in memory (up
  to 1 GiB) for the five usual epochs; mean of a step over the five.
- **upper, stored**: what enters block 9 is read from the files of the feature store. Aim: under 0.30.
"""
