"""The page of the study of infusion."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from textwrap import fill
from typing import Any

from continual.figures_table import markdown

Gains = dict[str, dict[str, tuple[float, float, float]]]


def written(args: argparse.Namespace, facts: dict[str, Any], gains: Gains, models: Sequence[str]) -> str:
    """Return the page as Markdown.

    Args:
        args: of the command.
        facts: what each stage wrote.
        gains: teacher or student -> task -> gain of infusion with its interval.
        models: names of the four models, as in ``facts``.
    """
    parts = [_opening(args, facts), _learned(facts), _helped(facts, gains, models), _read(facts, gains)]
    return "\n\n".join(_wrapped(part) for part in "\n\n".join(parts).split("\n\n") if part.strip()) + "\n"


def _wrapped(part: str) -> str:
    """Fill the lines of a paragraph; tables, headings and code stay as they are."""
    return part.strip("\n") if part.lstrip()[:1] in "#|`" else fill(part, 120, break_on_hyphens=False)


def _opening(args: argparse.Namespace, facts: dict[str, Any]) -> str:
    acquired, infused = facts["acquired"], facts["infused"]
    counts = ", ".join(f"{name} {count:,}" for name, count in acquired["all"].items())
    seconds = sum(part["core_seconds"] for part in facts.values())
    return f"""# Infusing relations into MiniLM (kaid_style)

Of K-AID (Sun et al., CIKM 2021) the abstract alone is known to us; what it leaves open was chosen by us and stands in
`KaidStyle`. Made by

```sh
python -m benchmarks.studies.infuse --corpus news.txt --tasks DIR --out DIR --most {args.most} \\
  --epochs {args.epochs:g} --lr {args.lr:g} --window {args.window} --sentences {args.sentences} --seed {args.seed}
```

from {acquired["megabytes"]:.0f} MB of news and expository text (the documents `reuters`, `brown`, `abc`, `state_union`
and `webtext` of the English corpus), in {seconds:.0f} core-seconds in all. One seed of infusion and of distillation.
Held-out heads were looked at before: in two pilots of 150 pairs a relation, and in a first run whose linear classifiers
had learned from fewer pairs than the side network. Sizes and rate were set by the time at hand and by training losses;
nothing was chosen by a held-out or a test score.

## Acquired

{acquired["found"]:,} mentions in {acquired["sentences"]:,} sentences, at {acquired["megabytes_per_second"]:.1f} MB a
core-second. Different pairs: {counts}. The {args.most} best attested of each relation were infused (without
{", ".join(args.without)}): {infused["trained"]:,} to learn from, {infused["held_out"]:,} of other heads. The side
network has {infused["parameters"]:,} parameters; fingerprint of MiniLM before and after:
{" and ".join(found[:16] for found in infused["fingerprints"])}.
"""


def _learned(facts: dict[str, Any]) -> str:
    rows = []
    for each in facts["infused"]["answers"]:
        shares = [f"{100 * each[name]:.1f}" for name in ("commonest", "frozen", "blocks", "infused", "own")]
        gains = _gain(each["gain"]), _gain(each["gain_over_blocks"])
        rows.append((each["question"], f"{each['n']:,}", f"{each['learned_from']:,}", *shares, *gains))
    counted = ("question", "asked", "fitted on")
    header = (*counted, "commonest", "frozen", "all blocks", "infused", "own", "over frozen", "over all blocks")
    return f"""## Was anything learned: held-out heads

Right answers in percent. *which*: in which of the relations two mentions stand, the cue between them hidden.
*whether*: whether they stand in one, or the tail was exchanged for another pair's of the same relation. *frozen*, *all
blocks* and *infused*: the same linear classifier, fitted on the states of the two mentions that leave the frozen model,
on the mean of those of all its blocks (which the side network reads too), and on those with the side network; *own*:
the classifier trained with the side network. All learned from the same pairs. Gains of *infused*, with the 95 %
interval of a paired bootstrap over examples. No held-out head is a head or a tail of a training pair, and no sentence
is on both sides.

{markdown(header, rows)}"""


def _helped(facts: dict[str, Any], gains: Gains, models: Sequence[str]) -> str:
    names = list(next(iter(gains.values())))
    header = ("task", *models, "gain, teacher", "gain, student")
    rows = []
    for name in names:
        scores = [f"{100 * facts[model]['accuracy'][name]:.1f}" for model in models]
        rows.append((name, *scores, *(_gain(gains[base][name]) for base in ("teacher", "student"))))
    sentences = facts["infused student"]["sentences"]
    return f"""## Do sentence tasks have anything of it

Accuracy in percent of logistic regression on frozen features, few labelled samples (TREC's 6 kinds 20, its fine kinds
3, SNIPS 3, CLINC150 2, MRPC 60 of each class, so that the commoner one has no advantage), the mean of 5 draws
(CLINC150: 3) on the same test samples; pairs as |a - b| and a b. Students have 3 layers and learned from
{sentences:,} sentences, once from MiniLM with the side network and once from MiniLM alone, alike in all else. Gain:
infused less plain, with the 95 % bootstrap interval over draws and test samples.

{markdown(header, rows)}"""


def _read(facts: dict[str, Any], gains: Gains) -> str:
    """Say what the intervals say, and no more."""
    kinds = (("frozen states", "gain"), ("the mean of all blocks", "gain_over_blocks"))
    answers = facts["infused"]["answers"]
    learned = [_verdict(f"{each['question']}, against {name}", each[key]) for each in answers for name, key in kinds]
    helped = [_verdict(f"{base} on {name}", gain) for base, own in gains.items() for name, gain in own.items()]
    clear = [text for text in helped if "not told" not in text]
    told = "; ".join(clear) if clear else "none"
    held = facts["infused"]["history"][-1]["preserve"]  # its weight is 1
    beaten = [each["question"] for each in answers if each["gain_over_blocks"][1] > 0]
    source = (
        "is learned" if beaten else "is not shown to be learned: the plain mean of all blocks gives as much untrained"
    )
    return f"""## How to read it

Held-out heads: {"; ".join(learned)}. What the side network has over the states of the last block {source}.

Sentence tasks whose interval leaves out 0: {told}, of {len(helped)}. With so many
intervals one in twenty would leave out 0 by chance alone. The side network learned to tell relations from two mentions
while the mean state of a sentence was held: at the end it was turned by 1 - cosine = {held:.3f}, so that features of
sentences could hardly gain or lose. A corpus of news, {facts["infused"]["trained"]:,} pairs and
public question sets are not the setting of the paper, which infuses a shop's own relations into a shop's own questions.
"""


def _verdict(what: str, gain: Sequence[float]) -> str:
    _, low, high = gain
    if low > 0:
        return f"{what}: better"
    return f"{what}: worse" if high < 0 else f"{what}: not told apart"


def _gain(gain: Sequence[float]) -> str:
    mean, low, high = (100 * value for value in gain)
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
