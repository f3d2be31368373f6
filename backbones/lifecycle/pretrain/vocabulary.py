"""The vocabulary of a language model that begins from nothing: WordPiece, trained on the corpus itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import punctuation
from typing import Any
from unicodedata import category

from backbones.core.errors import FrostlineError

SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
LEAST = 100  # tokens: fewer cannot even spell English text
FEWEST = 40  # signs that any vocabulary keeps


def train_vocabulary(documents: Sequence[Sequence[str]], size: int, length: int, *, lowercase: bool = True) -> Any:
    """Train a WordPiece vocabulary and return its tokenizer, as BERT's: ``[CLS] A [SEP] B [SEP]``.

    The same documents give the same vocabulary.

    Args:
        documents: of sentences, to learn from.
        size: most tokens of the vocabulary, special ones included; a small corpus gives fewer.
        length: most tokens of an input, which the tokenizer states.
        lowercase: read all letters as small ones, without accents.

    Returns:
        A fast transformers tokenizer.

    Raises:
        FrostlineError: a size below 100.
    """
    from tokenizers.trainers import WordPieceTrainer

    if size < LEAST:
        raise FrostlineError(f"vocabulary of {size} tokens: it needs {LEAST} or more; BERT's has 30522.")
    model = _empty(lowercase)
    signs = _signs(documents, model.normalizer, max(FEWEST, size // 8))
    inside = [f"##{sign}" for sign in signs if not _alone(sign)]
    trainer = WordPieceTrainer(
        vocab_size=size,
        min_frequency=2,
        # The trainer numbers what it meets inside words in an order that changes from run to run, and breaks ties by
        # these numbers; what is named here has its number before.
        special_tokens=[*SPECIAL.values(), *inside],
        initial_alphabet=signs,
        limit_alphabet=len(signs),
        show_progress=False,
    )
    model.train_from_iterator((sentence for document in documents for sentence in document), trainer)
    return _wrapped(_empty(lowercase, model.get_vocab()), length)


def _empty(lowercase: bool, vocabulary: Mapping[str, int] | None = None) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    model: Any = Tokenizer(WordPiece(dict(vocabulary or {}), unk_token=SPECIAL["unk"]))
    model.normalizer = BertNormalizer(lowercase=lowercase)
    model.pre_tokenizer = BertPreTokenizer()
    return model


def _signs(documents: Sequence[Sequence[str]], normalizer: Any, most: int) -> list[str]:
    """Return the most frequent signs, in order: rare ones would take the room of words."""
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update(normalizer.normalize_str(" ".join(document)))
    kept = sorted((sign for sign in counts if not sign.isspace()), key=lambda sign: (-counts[sign], sign))
    return sorted(kept[:most])


def _alone(sign: str) -> bool:
    """Tell whether a sign is a word of its own and never a part of one."""
    return sign in punctuation or category(sign).startswith("P")


def _wrapped(model: Any, length: int) -> Any:
    from tokenizers.decoders import WordPiece
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    opening, closing = SPECIAL["cls"], SPECIAL["sep"]
    model.decoder = WordPiece()
    model.post_processor = TemplateProcessing(
        single=f"{opening} $A {closing}",
        pair=f"{opening} $A {closing} $B:1 {closing}:1",
        special_tokens=[(word, model.token_to_id(word)) for word in (opening, closing)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=model,
        model_max_length=length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{role}_token": word for role, word in SPECIAL.items()},
    )


def read_tokenizer(folder: Path) -> Any:
    """Load the fast tokenizer of a folder.

    Raises:
        FrostlineError: there is none, or it has no padding or no mask token.
    """
    from transformers import AutoTokenizer

    if not folder.is_dir():
        raise FrostlineError(f"tokenizer {folder}: there is no such folder; pass one that holds tokenizer.json.")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), use_fast=True, trust_remote_code=False)
    except Exception as error:  # damaged files make the reader fail in any way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FrostlineError(
            f"tokenizer {folder} cannot be read ({reason}); pass a folder that holds tokenizer.json."
        ) from error
    lacking = [role for role in ("pad", "mask") if getattr(tokenizer, f"{role}_token_id") is None]
    if lacking or not tokenizer.is_fast:
        what = f"no {lacking[0]} token" if lacking else "no tokenizer.json"
        raise FrostlineError(f"tokenizer {folder} has {what}, which masking needs; pass one of a masked model.")
    return tokenizer


@dataclass(frozen=True)
class Frame:
    """The special tokens around a text, or around and between two.

    Args:
        opening, closing: token ids around a single text.
        pair: token ids before, between and after two texts.
        types: whether the second text has its own token type.
    """

    opening: tuple[int, ...]
    closing: tuple[int, ...]
    pair: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    types: bool

    @property
    def single_room(self) -> int:
        """Number of special tokens around one text."""
        return len(self.opening) + len(self.closing)

    @property
    def pair_room(self) -> int:
        """Number of special tokens around two texts."""
        return sum(len(part) for part in self.pair)


def frame_of(tokenizer: Any) -> Frame:
    """Return what ``tokenizer`` puts around one text and around two."""
    wanted = {"return_special_tokens_mask": True, "return_token_type_ids": True}
    one, two = tokenizer("a", **wanted), tokenizer("a", "a", **wanted)
    single = list(_runs(one["input_ids"], one["special_tokens_mask"]))
    pair = list(_runs(two["input_ids"], two["special_tokens_mask"]))
    return Frame(single[0], single[-1], (pair[0], pair[1], pair[-1]), len(set(two["token_type_ids"])) > 1)


def _runs(ids: list[int], special: list[int]) -> Iterator[tuple[int, ...]]:
    """Yield the special tokens before, between and after the stretches of text."""
    run: list[int] = []
    for index, (token, mark) in enumerate(zip(ids, special, strict=True)):
        if mark:
            run.append(token)
        elif index == 0 or special[index - 1]:
            yield tuple(run)
            run = []
    yield tuple(run)
