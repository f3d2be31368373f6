"""Pre-training of text encoders: masked words and next sentences, from nothing or from a model that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from backbones.core.errors import FrostlineError
from backbones.core.launch import pick_device
from backbones.core.samples import Progress, silent
from backbones.core.seed import numpy_generator
from backbones.core.settings import Settings
from backbones.core.tokens import TextPreprocessing
from backbones.lifecycle.pretrain.course import Job, Pretrained, Stops, Volume, rehearse, run, steps_of
from backbones.lifecycle.pretrain.encoding import encode
from backbones.lifecycle.pretrain.language import build_bert, held_out, loss_of, open_language
from backbones.lifecycle.pretrain.masking import Masking
from backbones.lifecycle.pretrain.sequences import Pairs, Singles, Windows, cut
from backbones.lifecycle.pretrain.sizes import BERT_SIZES, Shape, choose_shape
from backbones.lifecycle.pretrain.vocabulary import frame_of, read_tokenizer, train_vocabulary
from backbones.lifecycle.pretrain.workplace import Workplace
from backbones.text import from_encoder
from backbones.training import ranks
from backbones.training.corpus import read_documents, unread
from backbones.training.loop import Recipe, Say, mute
from backbones.training.saving import save_backbone

HELD_ROWS = 512  # of the held-out sequences are measured, at most


class TextPlan(Settings):
    """What to pre-train a text encoder on, and how large it is.

    Args:
        size: see ``BERT_SIZES``; not used by a model that goes on.
        depth, width, heads, inner: in place of the numbers of ``size``.
        vocabulary: most tokens of a vocabulary that is trained.
        lowercase: of a vocabulary that is trained.
        length: tokens of a sequence, special ones included.
        masked: share of tokens that are hidden.
        whole_words: hide all tokens of a word or none.
        next_sentence: learn to tell following texts from strange ones; None: as the model that goes on, else yes.
        dropout: share, of a model from nothing.
        held: share of the corpus that is held out, in whole documents.
        most_bytes: of text to read, None for all.
    """

    size: str = "tiny"
    depth: int | None = None
    width: int | None = None
    heads: int | None = None
    inner: int | None = None
    vocabulary: int = 30522
    lowercase: bool = True
    length: int = Field(default=128, ge=8)
    masked: float = Field(default=0.15, gt=0, lt=1)
    whole_words: bool = False
    next_sentence: bool | None = None
    dropout: float = Field(default=0.1, ge=0, lt=1)
    held: float = Field(default=0.02, gt=0, lt=0.5)
    most_bytes: int | None = Field(default=None, ge=1)

    def shape(self) -> Shape:
        """Return the numbers of a model from nothing; raises FrostlineError if they do not fit together."""
        numbers = {"depth": self.depth, "width": self.width, "heads": self.heads, "inner": self.inner}
        return choose_shape(self.size, BERT_SIZES, **numbers)


@dataclass(frozen=True)
class _Language:
    """A model with its tokenizer, the tokens of its longest input, and whether it learns next sentences."""

    module: Any
    tokenizer: Any
    window: int
    pairs: bool


def pretrain_text(
    files: Sequence[Path | str],
    out: Path | str,
    plan: TextPlan,
    recipe: Recipe,
    *,
    start: str | None = None,
    tokenizer: Path | str | None = None,
    stops: Stops | None = None,
    resume: bool = False,
    device: str = "auto",
    save_every: float = 120.0,
    progress: Progress = silent,
    say: Say = mute,
) -> Pretrained:
    """Pre-train a text encoder on plain text (Devlin et al. 2019) and write it as an ordinary model folder.

    Started by torchrun, the samples of a step are shared out; the result is that of one process with the same
    ``recipe.micro``.

    Args:
        files: of text, see ``read_documents``.
        out: folder to make, see Workplace; or, with ``resume``, the folder of a run that was stopped.
        plan: the model and its tasks.
        recipe: of the training.
        start: a masked model to go on with, by folder or name; None: begin from nothing, with a BERT.
        tokenizer: folder of the tokenizer of a model from nothing; None: a vocabulary is trained on the corpus.
        stops: which models are written on the way.
        resume: go on.
        device: see ``pick_device``.
        save_every: seconds between savings of the state.
        progress: told of the phases.
        say: told what a user should know before a long time passes.

    Raises:
        FrostlineError: a corpus that is empty or shorter than a sequence, numbers that do not fit together, a folder
            that exists or that holds another run, a model of another kind.
    """
    out = Path(out)
    tokenizer = None if tokenizer is None else Path(tokenizer)
    ranks.join()
    progress, say = (progress, say) if ranks.rank() == 0 else (silent, mute)
    if start is None:
        plan.shape()  # before any work
    elif tokenizer is not None:
        raise FrostlineError(f"--from {start} brings its tokenizer: leave --tokenizer {tokenizer} out.")
    documents = read_documents(files, plan.most_bytes, progress)
    for note in unread([Path(file) for file in files]):
        say(f"note: {note}")
    given = {"kind": "text", "files": [str(file) for file in files], "from": start}
    asked = {**given, "tokenizer": None if tokenizer is None else str(tokenizer), **plan.model_dump()}
    chosen = stops or Stops()
    place = Workplace(out, {**asked, **recipe.model_dump(), **chosen.model_dump()}, resume=resume)
    with place.preparing():
        language = _language(documents, place, plan, recipe, start, tokenizer, say)
        language.module.to(pick_device(device))
        frame = frame_of(language.tokenizer)
        tokens = encode(documents, language.tokenizer, progress)
        windows = cut(tokens, plan.length - (frame.pair_room if language.pairs else frame.single_room))
        rest, held = windows.split(plan.held, numpy_generator(recipe.seed, "held-out documents"))
        place.agree("data", {"tokens": len(tokens.ids), "digest": tokens.digest(), "sequences": len(rest)})
        job = _job(language, rest, held, plan, recipe)
        steps_of(chosen, job.volume, recipe.length(job.rows))
        rehearse(job, place)
        say(_described(language, rest, tokens.count))
    return run(job, place, recipe, chosen, save_every=save_every, progress=progress, say=say)


def _described(language: _Language, rest: Windows, words: int) -> str:
    size = sum(param.numel() for param in language.module.parameters())
    tasks = "hidden words and next sentences" if language.pairs else "hidden words"
    return (
        f"{type(language.module).__name__}, {size / 1e6:.3g} million parameters, {len(language.tokenizer):,} tokens; "
        f"{len(rest):,} sequences out of {words:,} words; {tasks}"
    )


def _language(
    documents: Sequence[Sequence[str]],
    place: Workplace,
    plan: TextPlan,
    recipe: Recipe,
    start: str | None,
    tokenizer: Path | None,
    say: Say,
) -> _Language:
    if start is not None:
        module, held, window, pairs = open_language(start, next_sentence=plan.next_sentence, seed=recipe.seed)
        if plan.length > window:
            raise FrostlineError(f"sequences of {plan.length} tokens: {start} takes at most {window}; pass {window}.")
        return _Language(module, held, window, pairs)
    kept = place.out / "tokenizer"
    if tokenizer is None and not kept.exists() and ranks.rank() == 0:
        say(f"training a vocabulary of {plan.vocabulary:,} tokens on {len(documents):,} documents")
        train_vocabulary(documents, plan.vocabulary, plan.length, lowercase=plan.lowercase).save_pretrained(kept)
    ranks.add({}, {})  # the others wait until the first has written it
    chosen = read_tokenizer(tokenizer or kept)
    chosen.model_max_length = plan.length
    pairs = plan.next_sentence is not False
    module = build_bert(
        plan.shape(),
        len(chosen),
        plan.length,
        next_sentence=pairs,
        dropout=plan.dropout,
        pad=chosen.pad_token_id,
        seed=recipe.seed,
    )
    return _Language(module, chosen, plan.length, pairs)


def _job(language: _Language, rest: Windows, held: Windows, plan: TextPlan, recipe: Recipe) -> Job:
    module, tokenizer = language.module, language.tokenizer
    masking = Masking(tokenizer, plan.masked, whole_words=plan.whole_words)
    make = Pairs if language.pairs else Singles
    frame, pad = frame_of(tokenizer), int(tokenizer.pad_token_id)
    batches = make(rest, frame, pad)
    # Held-out pairs need strangers too; of a single held-out document there are none.
    other = Singles(held, frame, pad) if len(set(held.document.tolist())) < 2 else make(held, frame, pad)
    rows = numpy_generator(recipe.seed, "held-out rows").permutation(len(held))[:HELD_ROWS].tolist()
    return Job(
        module=module,
        loss=loss_of(module, batches, masking),
        rows=len(rest),
        volume=Volume(len(rest), rest.words / len(rest), recipe.batch, "words"),
        measure=partial(held_out, module, other, rows, masking, size=recipe.micro or recipe.batch, seed=recipe.seed),
        save=partial(_save, language),
        phase="pre-training",
    )


def _save(language: _Language, out: Path, facts: Mapping[str, Any]) -> str:
    """Write the model as it is; training goes on with the original."""
    whole = deepcopy(language.module).cpu().eval()
    encoder = deepcopy(whole.base_model)
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # no part of what features are read from
    backbone = from_encoder(encoder, str(out), TextPreprocessing(language.tokenizer, language.window))
    return save_backbone(backbone, out, facts, language_model=whole).usage
