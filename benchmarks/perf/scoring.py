"""How fast language models score roles, against one forward pass per argument and label.

    python -m benchmarks.perf.scoring --out DIR [--masked NAME] [--causal NAME] [--passages N]

Without names: the encoder of MiniLM with a random masked-language-model head, and a random GPT-NeoX of the size of
Pythia-14M with MiniLM's tokenizer. Passages are random words of its vocabulary, 40 to 120 tokens long, each with one
event, some arguments, 8 roles and 12 entity types. Both sides run in one process and one thread, passage by passage in
turn, and are timed in CPU seconds, since other processes may share the machine. Writes scoring.md and scoring.json.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backbones.core.artifacts import write_json, write_text
from backbones.core.seed import lent_generator, numpy_generator, torch_generator
from backbones.lm import LanguageModel, folder_of, load_language_model
from benchmarks.perf.scoring_page import Line, render
from zeroshot.scorers.base import Request
from zeroshot.scorers.cache import Cached
from zeroshot.scorers.causal import Causal
from zeroshot.scorers.language import LanguageScorer
from zeroshot.scorers.masked import Masked

ROLES = ("attacker", "target", "instrument", "place", "time", "victim", "explosive device", "injured party")
TYPES = (
    "person", "organization", "location", "facility", "weapon", "vehicle", "geo-political entity", "crime", "number",
    "time", "job title", "sentence",
)  # fmt: skip
ARGUMENTS = 4
LENGTHS = (40, 120)


def naive_score(scorer: LanguageScorer, request: Request) -> float:
    """Score one request as the release does: one pass over the whole prompt, the loss over it or over a part.

    ``label+suffix`` is known for causal models alone.
    """
    model, text = scorer.model, scorer.prompt.render(request)
    encoded = model.tokenizer(text.text, return_offsets_mapping=True, split_special_tokens=True, return_tensors="pt")
    ids, start, end = encoded["input_ids"], *text.span
    touched = [at for at, (a, b) in enumerate(encoded["offset_mapping"][0].tolist()) if a < end and b > start and a < b]
    first, last = touched[0], touched[-1] + 1
    wanted = torch.full_like(ids, -100)
    if scorer.kind == "masked":
        wanted[0, first:last] = ids[0, first:last]
        ids = ids.clone()
        ids[0, first:last] = model.tokenizer.mask_token_id
    elif scorer.mode == "paper":
        wanted = ids
    else:
        content = max(at for at, (a, b) in enumerate(encoded["offset_mapping"][0].tolist()) if a < b) + 1
        last = min(last + scorer.suffix, content) if scorer.mode == "label+suffix" else last
        wanted[0, first:last] = ids[0, first:last]
    loss = model.module(input_ids=ids, labels=wanted).loss
    return -float(loss.item()) * (1 if scorer.mode == "paper" else last - first)


def passage(model: LanguageModel, number: int, types: bool, late: bool = False) -> list[Request]:
    """Return the questions of a random passage; ``late``: its arguments stand in the last quarter."""
    generator = numpy_generator(0, "perf scoring", number)
    vocabulary = sorted(word for word in model.tokenizer.get_vocab() if word.isalpha() and word.islower())
    size = int(generator.integers(LENGTHS[0], LENGTHS[1] + 1))
    words = [str(word) for word in generator.choice(vocabulary, size)]
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])
    spans = [(int(starts[at]), int(starts[at]) + len(words[at])) for at in range(size)]
    trigger, *arguments = (spans[at] for at in generator.choice(size, ARGUMENTS + 1, replace=False))
    if late:
        arguments = [spans[at] for at in generator.choice(range(size - size // 4, size), ARGUMENTS, replace=False)]
    common: dict[str, Any] = {"text": " ".join(words) + ".", "trigger": trigger, "event": "attack"}
    roles = [Request(span=span, label=label, **common) for span in arguments for label in ROLES]
    kinds = [Request(span=span, label=label, kind="type", **common) for span in arguments for label in TYPES if types]
    return roles + kinds


@contextlib.contextmanager
def counting(model: LanguageModel) -> Iterator[list[int]]:
    """Count the tokens that enter the model."""
    counts: list[int] = []
    hook = model.module.get_input_embeddings().register_forward_pre_hook(lambda _, args: counts.append(args[0].numel()))
    try:
        yield counts
    finally:
        hook.remove()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return CPU seconds and the result."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def floor(scorer: LanguageScorer, requests: Sequence[Request]) -> int:
    """Return the tokens that must be encoded: distinct masked inputs, or distinct beginnings of scored texts."""
    questions = scorer.questions(list(dict.fromkeys(requests)))
    if isinstance(scorer, Masked):
        return sum(len(row.ids) for row in scorer.rows(questions))
    assert isinstance(scorer, Causal)
    return sum(len(tree.tokens) for tree, _ in scorer.trees(questions))


def compare(scorer: LanguageScorer, what: str, passages: Sequence[list[Request]]) -> Line:
    """Time both sides on every passage."""
    scorer.score(passages[0])  # what is done once for a model: routes are proven, memory is warm
    naive_score(scorer, passages[0][0])
    rows: list[tuple[float, float, float]] = []
    tokens = np.zeros(3, dtype=np.int64)
    gap = 0.0
    for requests in passages:
        with counting(scorer.model) as ours_counts:
            ours, scores = timed(lambda requests=requests: scorer.score(requests))  # type: ignore[misc]
        with counting(scorer.model) as naive_counts, torch.inference_mode():
            naive, reference = timed(lambda requests=requests: _all_naive(scorer, requests))  # type: ignore[misc]
        some = requests[:: max(1, len(requests) // 8)]
        slow, _ = timed(lambda some=some: _all_naive(scorer, some))  # type: ignore[misc]
        rows.append((naive, slow * len(requests) / len(some), ours))
        tokens += (sum(naive_counts), floor(scorer, requests), sum(ours_counts))
        gap = max(gap, float((np.abs(scores - reference) / np.maximum(1.0, np.abs(reference))).max()))
    ratios = [naive / ours for naive, _, ours in rows]
    naive, gradients, ours = (sum(column) for column in zip(*rows, strict=True))
    naive_tokens, least, encoded = (int(count) for count in tokens)
    return Line(
        what=what,
        questions=sum(map(len, passages)),
        naive=naive,
        gradients=gradients,
        ours=ours,
        speedup=statistics.median(ratios),
        least=min(ratios),
        naive_tokens=naive_tokens,
        floor=least,
        encoded=encoded,
        gap=gap,
    )


def _all_naive(scorer: LanguageScorer, requests: Sequence[Request]) -> NDArray[np.float64]:
    return np.array([naive_score(scorer, request) for request in requests])


def random_neox() -> LanguageModel:
    """Return a random GPT-NeoX of the shape of Pythia-14M with MiniLM's tokenizer."""
    from transformers import AutoTokenizer, GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=50304,
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=2048,
    )
    with lent_generator(0):
        module = GPTNeoXForCausalLM(config).eval().requires_grad_(True)
    generator = torch_generator(0, "perf scoring")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.02, generator=generator)
    tokenizer = AutoTokenizer.from_pretrained(folder_of("minilm"), model_max_length=2048)
    return LanguageModel("random GPT-NeoX", "causal", module, tokenizer, 2048)


def size_of(model: LanguageModel) -> str:
    """Return the model's weights in millions, and their split."""
    total = sum(parameter.numel() for parameter in model.module.parameters())
    return f"{model.name} ({type(model.module).__name__}, {total / 1e6:.1f} M weights)"


def cache_line(scorer: LanguageScorer, requests: list[Request]) -> str:
    """Return what asking again costs with a cache."""
    with tempfile.TemporaryDirectory() as folder:
        cached = Cached(scorer, Path(folder) / "scores.sqlite")
        first, scores = timed(lambda: cached.score(requests))
        with counting(scorer.model) as counts:
            memory, again = timed(lambda: cached.score(requests))
            other = Cached(scorer, Path(folder) / "scores.sqlite")
            disk, reread = timed(lambda: other.score(requests))
    assert np.array_equal(scores, again) and np.array_equal(scores, reread)
    return (
        f"Cache, {len(requests)} questions: {1e3 * first:.0f} ms the first time, {1e3 * memory:.1f} ms again from "
        f"memory, {1e3 * disk:.1f} ms from the file; forward passes when asked again: {len(counts)}."
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--masked", default=None, help="a masked language model")
    parser.add_argument("--causal", default=None, help="a causal language model")
    parser.add_argument("--passages", type=int, default=6)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    own = options.masked is None
    masked = load_language_model(options.masked or "minilm", "masked", device="cpu", allow_missing_head=own)
    causal = load_language_model(options.causal, "causal", device="cpu") if options.causal else random_neox()
    masked.module.requires_grad_(True)  # for the naive side with gradients; ours runs in inference mode
    causal.module.requires_grad_(True)
    lines = []
    for kind, model, mode, types, late in (
        (Masked, masked, "paper", False, False),
        (Masked, masked, "paper", True, False),
        (Causal, causal, "paper", False, False),
        (Causal, causal, "paper", True, False),
        (Causal, causal, "paper", False, True),
        (Causal, causal, "label", False, False),
        (Causal, causal, "label", True, False),
        (Causal, causal, "label+suffix", False, False),
    ):
        scorer = kind.model_validate({"mode": mode}).with_model(model)
        passages = [passage(model, number, types, late) for number in range(options.passages)]
        labels = "roles and types" if types else "roles"
        what = f"{scorer.kind}, `{mode}`, {labels}{', arguments in the last quarter' if late else ''}"
        lines.append(compare(scorer, what, passages))
        print(lines[-1], flush=True)
    cache = cache_line(Masked().with_model(masked), passage(masked, 0, True))
    setting = (
        f"{options.passages} random passages of {LENGTHS[0]} to {LENGTHS[1]} tokens, one event with {ARGUMENTS} "
        f"arguments each, {len(ROLES)} roles (and {len(TYPES)} entity types where it says so), one thread, fp32, CPU "
        f"seconds. Models: {size_of(masked)}; {size_of(causal)}."
    )
    write_json(options.out / "scoring.json", [asdict(line) for line in lines])
    write_text(options.out / "scoring.md", render(lines, setting, cache))


if __name__ == "__main__":
    main()
