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
        repeats: interleaved rounds.
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
    repeats: int
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


def render(lines: Sequence[Line]) -> str:
    """Return the page."""
    parts = []
    for case in dict.fromkeys(line.case for line in lines):
        rows = [TITLES, ["---"] * len(TITLES)]
        for line in lines:
            if line.case == case:
                ratios = (line.to_peft, line.least_to_peft, line.upper, line.kept, line.stored)
                cells = [line.pat, f"{line.parameters:,}", f"{1e3 * line.seconds:.0f}"]
                rows.append([*cells, *map(_ratio, ratios)])
        rounds = next(line.repeats for line in lines if line.case == case)
        parts.append(f"## {case}\n\n{rounds} rounds.\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n")
    return "\n".join([HEAD, *parts, READING])


HEAD = """# Speed of a training step

`python -m benchmarks.perf.pats --out DIR`: forward, cross-entropy, backward and AdamW (fused, for all), one thread,
fp32, CPU seconds, medians of interleaved rounds in one process. Weights do not matter here and are random unless
`--weights` is given. The measure is PEFT's own LoRA: same model, same batch, rank 8, the layers that our `lora` takes
by default. Its second copy, `again`, stands last: how far it is from 1 is what noise does to a row.

- **trained**: parameters that the optimizer holds in that stage of the training.
- **to PEFT**: CPU time of the step with default settings in all twelve blocks over that of PEFT's step; *least*: the
  least times of both instead of the medians, which other processes on the machine disturb less. Aim: at most 1.15.
- **upper, computed**: the step with the PAT in blocks 9-11 over the step in all blocks; blocks 0-8 run forward in every
  step, without gradients. Aim: under 0.45.
- **upper, kept**: what the engine does unless told otherwise: blocks 0-8 run once, what they give is kept in memory (up
  to 1 GiB) for the five usual epochs; mean of a step over the five.
- **upper, stored**: what enters block 9 is read from the files of the feature store. Aim: under 0.30.
"""

READING = """## How to read it

- **`sparse`, stage 1** is full fine-tuning: it needs the gradient of every chosen weight, which is a third product
  beside those of the forward pass and of the gradient of the input, and an optimizer step over all of them. No way
  around that is known to us; it is the first of two stages, and the second, which trains the chosen weights, is cheap.
- **`vpt`** lengthens the sequence by its prompts, ten by default: five per cent of an image of 197 tokens, but a third
  of a text of 32. `lora_fusion`, stage 3, forms the gradients of mixed factors over a whole pool.
- **Upper, computed, misses its aim**, and must: nine blocks forward are three quarters of a forward pass, and a whole
  step is two to three of those, so that even without any overhead a quarter of the step and these nine blocks make more
  than half of it. Chunks of one to eight images and inference mode were tried and gain nothing: products of matrices
  take nearly all of the time. What helps is to run the blocks once, which is what the engine does.
- `mix` trains weights of a sum over what the blocks give; its gradient reaches no block, so its full step is cheap
  already and the shares are of little.
"""
