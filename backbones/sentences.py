"""What a folder of sentence-transformers states of how texts are read: done, or refused by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backbones.core.artifacts import save_tensors, write_json
from backbones.core.errors import FrostlineError
from backbones.core.reading import read_json
from backbones.core.tokens import TextPreprocessing
from backbones.text import ACTIVATIONS, POOLINGS, Dense, Reading
from backbones.weightfiles import NAMES, read_weights, weights_in

MODES = {  # as sentence-transformers calls them
    "cls_token": "cls",
    "mean_tokens": "mean",
    "max_tokens": "max",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean_tokens": "weightedmean",
    "lasttoken": "lasttoken",
}
STEPS, PROMPTS = "modules.json", "config_sentence_transformers.json"
LENGTHS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
FILES = (STEPS, PROMPTS, *LENGTHS)
DENSE = tuple(f"2_Dense/{name}" for name in ("config.json", *NAMES))  # where a hub keeps it
_WITH_DENSE = (["Transformer", "Pooling", "Dense"], ["Transformer", "Pooling", "Dense", "Normalize"])
_HARMLESS = ("Transformer", "Pooling", "Normalize", "Dropout")  # the last does nothing once training is over


@dataclass(frozen=True)
class Sentences:
    """How texts are read.

    Args:
        pooling: see ``POOLINGS``, None where the folder states none.
        normalised: whether the feature is divided by its length.
        window: most tokens of a text, None where the folder states no number.
        lower: whether texts are written in small letters first.
        prompt: what every text opens with.
        dense: a layer between pooling and division, None for none.
    """

    pooling: str | None = None
    normalised: bool = False
    window: int | None = None
    lower: bool = False
    prompt: str = ""
    dense: Dense | None = None

    def notes(self, most: int | None) -> tuple[str, ...]:
        """Return what a user must know; ``most``: tokens that the model itself takes."""
        found = []
        if self.prompt:
            found.append(f"every text opens with the default prompt of its folder, {self.prompt!r}")
        if self.lower:
            found.append("texts are written in small letters, as its folder states")
        if self.window is not None and most is not None and self.window < most:
            found.append(f"texts are cut at {self.window} tokens, as its folder states; max_tokens allows up to {most}")
        return tuple(found)


def read_sentences(folder: Path, pooling: str | None = None) -> Sentences:
    """Return what a folder states, nothing of a folder that sentence-transformers has not written.

    Args:
        folder: of the model.
        pooling: what the user asks for: then no step behind the transformer is asked for.

    Raises:
        FrostlineError: a step, a pooling or a prompt that is not done here, by name; a file that cannot be read.
    """
    if not (folder / STEPS).is_file():
        return Sentences(pooling=pooling)
    steps = _read(folder / STEPS)
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise FrostlineError(f"{folder / STEPS} is no list of modules; save the model again.")
    paths = {str(step.get("type", "")).rpartition(".")[2]: str(step.get("path", "")) for step in steps}
    stated = next((held for name in LENGTHS if (held := _table(folder / paths.get("Transformer", "") / name))), {})
    said = _table(folder / PROMPTS)
    prompt = _prompt(folder, said)
    window = int(stated["max_seq_length"]) if stated.get("max_seq_length") else None
    plain = Sentences(pooling, False, window, bool(stated.get("do_lower_case")), prompt)
    if pooling is not None or "Pooling" not in paths:
        return plain
    order = [str(step.get("type", "")).rpartition(".")[2] for step in steps]
    dense = _dense(folder / paths["Dense"]) if order in _WITH_DENSE else None
    further = [kind for kind in paths if kind not in _HARMLESS and not (kind == "Dense" and dense is not None)]
    if further or said.get("truncate_dim"):
        asked = f"has the module {further[0]}" if further else f"cuts features to {said['truncate_dim']} numbers"
        raise _unfit(folder, asked)
    held = _table(folder / paths["Pooling"] / "config.json")
    if prompt and held.get("include_prompt") is False:
        raise _unfit(folder, f"leaves its default prompt {prompt!r} out of the pooling (include_prompt = false)")
    return replace(plain, pooling=_pooling(folder, held), normalised="Normalize" in paths, dense=dense)


def write_sentences(folder: Path, reading: Reading, prepare: TextPreprocessing, width: int) -> None:
    """State pooling, length and prompt as sentence-transformers does, so that it reads the folder too."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    if reading.dense is not None:
        kinds.append(("2_Dense", "Dense"))
        stated = {"in_features": width, "out_features": width, "bias": reading.dense.bias is not None}
        kind = f"torch.nn.modules.{'linear' if reading.dense.activation == 'Identity' else 'activation'}"
        facts = {**stated, "activation_function": f"{kind}.{reading.dense.activation}"}
        write_json(folder / "2_Dense" / "config.json", facts)
        save_tensors(folder / "2_Dense" / "model.safetensors", reading.dense.tensors())
    kinds += [(f"{len(kinds)}_Normalize", "Normalize")] * reading.normalised
    steps = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds)
    ]
    write_json(folder / STEPS, steps)
    modes = {f"pooling_mode_{mode}": own == reading.pooling for mode, own in MODES.items()}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **modes})
    write_json(folder / LENGTHS[0], {"max_seq_length": prepare.window, "do_lower_case": prepare.lower})
    if prepare.prompt:
        write_json(folder / PROMPTS, {"prompts": {"default": prepare.prompt}, "default_prompt_name": "default"})


def _pooling(folder: Path, held: dict[str, Any]) -> str:
    if isinstance(held.get("pooling_mode"), str):
        modes = [str(held["pooling_mode"])]
    else:
        modes = [key.removeprefix("pooling_mode_") for key, value in held.items() if value is True and "mode_" in key]
    found = MODES.get(modes[0], modes[0]) if len(modes) == 1 else None
    if found not in POOLINGS:
        raise _unfit(folder, f"pools by {' and '.join(modes) or 'unknown means'}")
    return str(found)


def _dense(folder: Path) -> Dense | None:
    """Return a dense layer from a width to itself, None for one that changes the width.

    Raises:
        FrostlineError: an unknown activation, or weights that are missing or of another shape.
    """
    stated = _table(folder / "config.json")
    width, out = stated.get("in_features"), stated.get("out_features")
    if width is None or width != out:
        return None
    activation = str(stated.get("activation_function", "")).rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise _unfit(folder, f"has the activation {activation or 'nothing'}")
    tensors = read_weights(weights_in(folder))
    weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    if weight is None or tuple(weight.shape) != (out, width) or (bias is None) == bool(stated.get("bias", True)):
        raise FrostlineError(f"{folder} holds no linear layer from {width} to {out}; copy the model again.")
    return Dense(weight.float(), None if bias is None else bias.float(), activation)


def _prompt(folder: Path, said: dict[str, Any]) -> str:
    name, prompts = said.get("default_prompt_name"), said.get("prompts") or {}
    if name is None:
        return ""
    if not isinstance(prompts, dict) or not isinstance(prompts.get(name), str):
        raise FrostlineError(f"{folder / PROMPTS} has the default prompt {name!r} but no such prompt; add it.")
    return str(prompts[name])


def _unfit(folder: Path, what: str) -> FrostlineError:
    return FrostlineError(
        f"{folder} {what}, which is not done here; pass a pooling to have that alone: {', '.join(POOLINGS)}."
    )


def _table(path: Path) -> dict[str, Any]:
    held = _read(path) if path.is_file() else {}
    if not isinstance(held, dict):
        raise FrostlineError(f"{path} is no JSON object; save the model again.")
    return held


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise FrostlineError(f"{path} is not readable as JSON ({error}); save the model again.") from error
