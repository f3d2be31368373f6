"""Modules that an adapter of PEFT speaks of: how names choose them, and which part of the user's model is ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from backbones.base import Backbone
from backbones.core.errors import FrostlineError
from backbones.core.settings import Settings

PREFIX = "base_model.model."  # before the path of every module that PEFT wraps
WRAPPER = "base_model."  # before the paths of a model whose modules PEFT leaves as they are
ADAPTED = re.compile(rf"{re.escape(PREFIX)}(.+)\.(?:lora_[AB]|ln_tuning_layers)\.\w+")
EVERY = "all-linear"  # target_modules that need not be looked at

# modality -> how models that have several towers call the others'
OTHERS = {"image": r"(^|_)(text|lang)", "text": r"(^|_)(vis|image|img|pixel)"}


class Choice(Settings):
    """The fields of PEFT's configuration that speak of modules by their paths in the user's model.

    Args:
        target_modules: ends of paths, or an expression for whole ones; None: what has tensors.
        exclude_modules: the same of modules that are not adapted.
        layers_to_transform: layers by the first number in a path, with ``target_modules`` as a list.
        layers_pattern: what stands in front of that number.
        rank_pattern: expression for the end of a path -> rank; alpha_pattern: -> alpha. The first that matches holds.
    """

    target_modules: str | list[str] | None = None
    exclude_modules: str | list[str] | None = None
    layers_to_transform: int | list[int] | None = None
    layers_pattern: str | list[str] | None = None
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None

    def takes(self, path: str) -> bool:
        """Return whether PEFT adapts the module at ``path``; it passes over tensors of others."""
        targets, without = self.target_modules, self.exclude_modules or []
        if re.fullmatch(without, path) if isinstance(without, str) else any(named_by(path, one) for one in without):
            return False
        if not targets:
            return True
        if isinstance(targets, str):
            return targets.lower() == EVERY or re.fullmatch(targets, path) is not None
        layers = [self.layers_to_transform] if isinstance(self.layers_to_transform, int) else self.layers_to_transform
        return any(named_by(path, name) for name in targets) and (not layers or self._layer(path) in layers)

    def _layer(self, path: str) -> int | None:
        patterns = [self.layers_pattern] if isinstance(self.layers_pattern, str) else self.layers_pattern
        fronts = [rf"(?:^|.*?\.){one}" for one in patterns or [] if one] or [r".*?\.[^.]*"]
        return next((int(found[1]) for front in fronts if (found := re.match(rf"{front}\.(\d+)\.", path))), None)

    def patterns(self, around: str, paths: Iterable[str]) -> dict[str, Any]:
        """Return both tables for the ``paths`` of the backbone, which has ``around`` in front in the user's model."""
        return {
            name: {
                f"^{re.escape(path)}": value for path in paths if (value := _first(table, around + path)) is not None
            }
            for name, table in (("rank_pattern", self.rank_pattern), ("alpha_pattern", self.alpha_pattern))
            if table
        }


def _first(table: Mapping[str, float], path: str) -> float | None:
    return next((value for pattern, value in table.items() if re.match(rf"(.*\.)?({pattern})$", path)), None)


def named_by(path: str, name: str) -> bool:
    """Return whether ``path`` is ``name`` or ends with it after a dot: how PEFT understands names of modules."""
    return path == name or path.endswith(f".{name}")


def targets_of(backbone: Backbone, paths: Sequence[str]) -> list[str] | str:
    """Return ``target_modules`` that choose exactly the modules at ``paths`` in the plain model.

    Args:
        backbone: whose modules they are.
        paths: such as ``blocks.0.attn.qkv``.

    Returns:
        Ends of paths such as ``attn.qkv`` where they do, else whole paths, else a regular expression.
    """
    modules = [name for name, _ in backbone.module.named_modules()]
    blocks = [f"{site.path}." for site in backbone.sites("block")]
    ends = {next((path.removeprefix(block) for block in blocks if path.startswith(block)), path) for path in paths}
    for names in (sorted(ends), list(paths)):
        if {module for module in modules if any(named_by(module, name) for name in names)} == set(paths):
            return names
    return "|".join(re.escape(path) for path in paths)


def unwrapped(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], backbone: Backbone
) -> tuple[dict[str, Any], dict[str, Tensor], list[str]]:
    """Take off what PEFT's user had around the backbone, such as ``bert.`` of a classifier.

    Args:
        config: PEFT's configuration, whose names and patterns are of the user's model.
        tensors: by their names in PEFT's file.
        backbone: the bare model.

    Returns:
        The configuration with patterns that match the backbone's own paths; the tensors that belong to the backbone,
        named as if PEFT had wrapped it alone; and the names of those that are left out, since they belong to heads and
        other towers, or to modules that the configuration does not choose.

    Raises:
        FrostlineError: two parts of the user's model fit the backbone equally well, a field of another type, or a
            pattern that is none.
    """
    choice = Choice.parse({key: config[key] for key in Choice.model_fields if key in config}, "the adapter")
    try:
        return _unwrapped(config, choice, tensors, backbone)
    except re.error as error:
        raise FrostlineError(f"the adapter's configuration has the pattern {error.pattern!r}: {error.msg}.") from error


def _unwrapped(
    config: Mapping[str, Any], choice: Choice, tensors: Mapping[str, Tensor], backbone: Backbone
) -> tuple[dict[str, Any], dict[str, Tensor], list[str]]:
    modules = {name: module for name, module in backbone.module.named_modules() if not isinstance(module, nn.Identity)}
    inside = {name for name in tensors if name.startswith(PREFIX)}
    around = _around({name: tensors[name] for name in inside}, modules, backbone)
    start = PREFIX + around
    kept = [name for name in tensors if name.startswith(start) and _module_of(name.removeprefix(start), modules)]
    kept = [name for name in kept if not (found := ADAPTED.fullmatch(name)) or choice.takes(found[1])]
    heads = {
        name
        for name in set(tensors) - inside
        if name.startswith(WRAPPER) and not _module_of(name.removeprefix(WRAPPER), modules)
    }
    found_here = {PREFIX + name.removeprefix(start): tensors[name] for name in kept}
    found_here |= {name: tensors[name] for name in set(tensors) - inside - heads}
    return {**config, **choice.patterns(around, modules)}, found_here, sorted(heads | (inside - set(kept)))


def _around(tensors: Mapping[str, Tensor], modules: Mapping[str, nn.Module], backbone: Backbone) -> str:
    """Return what stands in front of the backbone's paths in the names of an adapter, such as ``bert.`` or nothing.

    The part of the user's model that has most modules of the backbone is meant, of the right sizes where there are
    several, and never one that is called a tower of another modality.
    """
    words = {name: name.removeprefix(PREFIX).split(".") for name in tensors}
    starts = {tuple(parts[:depth]) for parts in words.values() for depth in range(min(4, len(parts)))}
    fits: dict[str, tuple[int, int]] = {}
    for start in sorted(starts):
        paths = {name: _module_of(".".join(parts[len(start) :]), modules) for name, parts in words.items()
                 if tuple(parts[: len(start)]) == start}  # fmt: skip
        hits = [name for name, path in paths.items() if path]
        sized = sum(_same_size(tensors[name], modules[paths[name]]) for name in hits)
        if hits and not _of_others(start, backbone.modality):
            fits["".join(f"{word}." for word in start)] = (sized, len(hits))
    best = [start for start, fit in fits.items() if fit == max(fits.values())]
    if len(best) > 1:
        raise FrostlineError(
            f"the adapter acts on {len(best)} parts of a model, {' and '.join(best)}, and each fits backbone "
            f"{backbone.name!r}; which one is meant is not said. Keep the tensors of one of them in its file."
        )
    return best[0] if best else ""


def _of_others(start: tuple[str, ...], modality: str) -> bool:
    """Return whether the innermost word that names a modality names another one."""
    for word in reversed(start):
        if any(re.search(names, word) for kind, names in OTHERS.items() if kind != modality):
            return False
        if modality in OTHERS and re.search(OTHERS[modality], word):
            return True
    return False


def _same_size(tensor: Tensor, module: nn.Module) -> bool:
    """Return whether a side of a trained tensor is a side of a tensor of the module that it belongs to."""
    return any(set(tensor.shape) & set(own.shape) for own in module.parameters(recurse=False))


def _module_of(name: str, modules: Mapping[str, nn.Module]) -> str:
    """Return the longest path of a module that the name of a tensor begins with, empty where there is none."""
    parts = name.split(".")
    paths = (".".join(parts[:size]) for size in range(len(parts) - 1, 0, -1))
    return next((path for path in paths if path in modules), "")
