"""Public contracts: ``check_backbone`` and ``check_pat`` are a guest's whole test; tiny models to run them on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from backbones.base import ROLES, Backbone
from backbones.core.artifacts import digest_tensors
from backbones.core.seed import numpy_generator, torch_generator
from backbones.core.settings import Settings
from backbones.delta import Delta
from backbones.encoder import Encoder, entering
from backbones.pat.base import Pat
from backbones.testing_models import (
    image_batch,
    raw_batch,
    text_batch,
    tiny_bert,
    tiny_clip,
    tiny_distilbert,
    tiny_encoder,
    tiny_roberta,
    tiny_transformers_vit,
    tiny_vit,
)

__all__ = [
    "check_backbone",
    "check_batch_invariance",
    "check_pat",
    "image_batch",
    "raw_batch",
    "text_batch",
    "tiny_bert",
    "tiny_clip",
    "tiny_distilbert",
    "tiny_encoder",
    "tiny_roberta",
    "tiny_transformers_vit",
    "tiny_vit",
]


def check_backbone(backbone: Backbone, raw: list[Any]) -> None:
    """Raise AssertionError where ``backbone`` breaks the contract.

    Checked: frozen and in evaluation mode, known roles with one block per layer, features of the stated width that are
    finite and do not depend on the batch, activations that continue to the same features, a fingerprint that changes
    with any weight and touches no global generator.

    Args:
        backbone: what to check.
        raw: at least three raw inputs.
    """
    before = torch.get_rng_state()
    assert not any(p.requires_grad for p in backbone.module.parameters()), "a parameter of the backbone is not frozen"
    assert not backbone.module.training, "the backbone is not in evaluation mode"
    assert {site.role for role in ROLES for site in _try_sites(backbone, role)} >= {"block"}, "no site 'block'"
    assert [site.layer for site in backbone.sites("block")] == list(range(backbone.depth)), "blocks are not 0, 1, ..."
    whole = check_batch_invariance(backbone, None, raw)
    assert whole.shape == (len(raw), backbone.width), f"features have shape {tuple(whole.shape)}"
    assert torch.isfinite(whole).all(), "features are not finite"
    encoder = Encoder(backbone, precision="fp32")
    for layer in range(backbone.depth):
        assert torch.equal(encoder.features_from(encoder.activations(raw, layer), layer), whole), (
            f"entering at block {layer} gives other features than the whole backbone"
        )
    fingerprint = backbone.fingerprint()
    weight = next(backbone.module.parameters())
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.view(-1)[0] += 1.0
        assert backbone.fingerprint() != fingerprint, "a changed weight does not change the fingerprint"
        weight.copy_(kept)
    assert backbone.fingerprint() == fingerprint, "the fingerprint is not a function of the weights"
    assert torch.equal(before, torch.get_rng_state()), "the global generator was touched"


def _try_sites(backbone: Backbone, role: str) -> list[Any]:
    return [site for site in backbone._sites if site.role == role]


def _features(backbone: Backbone, delta: Delta | None, raw: list[Any]) -> Tensor:
    return Encoder(backbone, delta, precision="fp32", chunk=4).features(raw)


def check_batch_invariance(backbone: Backbone, delta: Delta | None, raw: list[Any]) -> Tensor:
    """Raise AssertionError unless every batch size and order gives the same bits; return the features."""
    whole = _features(backbone, delta, raw)
    encoder = Encoder(backbone, delta, precision="fp32", chunk=4)
    alone = torch.cat([encoder.features([item]) for item in raw])
    order = torch.from_numpy(numpy_generator(0, "shuffle").permutation(len(raw)))
    shuffled = encoder.features([raw[i] for i in order.tolist()])
    assert torch.equal(whole, alone), "batch size 1 gives other features than the whole batch"
    assert torch.equal(whole[order], shuffled), "shuffling the batch changes features"
    return whole


def check_pat(pat: Pat, backbone: Backbone, raw: list[Any], seed: int = 0) -> None:
    """Raise AssertionError where ``pat`` breaks the contract on ``backbone``.

    Checked: settings that reject unknown keys, the parameter count by formula, identity at the start where claimed,
    gradients that reach every trainable parameter and no frozen one, batch invariance, the same seed gives the same
    delta, saving and rebuilding, a fingerprint that follows the state, detaching that restores outputs, weights,
    modules and hooks bit for bit, growing that leaves nothing behind where it fails, following the backbone to another
    device, and no touch of a global generator.

    Args:
        pat: a frozen settings object with ``grow``.
        backbone: with no delta on it.
        raw: at least three raw inputs.
        seed: for growing.
    """
    before = torch.get_rng_state()
    _check_settings(pat)
    base = _features(backbone, None, raw)
    weights, modules = _frozen_state(backbone)
    _check_failing(pat, backbone, seed)
    delta = pat.grow(backbone, seed)
    assert not delta.attached or any(part in backbone.deltas for part in delta.modules()), (
        "the delta would stay behind when the backbone goes to another device: use the verbs of Delta"
    )
    assert delta.parameter_count == pat.parameter_count(backbone), (
        f"{delta.parameter_count} parameters were grown, the formula says {pat.parameter_count(backbone)}"
    )
    start = _features(backbone, delta, raw)
    if pat.starts_as_identity:
        assert torch.equal(start, base), "the PAT claims to start as the identity and does not"
    _check_gradients(backbone, delta, raw)
    _nudge(delta)
    moved = check_batch_invariance(backbone, delta, raw)
    fingerprint = delta.fingerprint()
    state = {name: value.clone() for name, value in delta.state_dict().items()}
    _check_entering(backbone, delta, raw, moved)
    merged = delta.merged() if delta.mergeable else None
    delta.detach()
    after, places = _frozen_state(backbone)
    assert places == modules and after == weights, "detaching does not restore the weights, modules or hooks"
    assert torch.equal(_features(backbone, None, raw), base), "detaching does not restore the outputs"
    if merged is not None:
        _check_merged(backbone, merged, raw, moved)
    again = pat.grow(backbone, seed)
    assert torch.equal(_features(backbone, again, raw), start), "the same seed grows another delta"
    again.load_state_dict(state)
    assert torch.equal(_features(backbone, again, raw), moved), "saved and rebuilt, the delta differs"
    assert again.fingerprint() == fingerprint, "the fingerprint is not a function of settings and state"
    again.detach()
    assert torch.equal(before, torch.get_rng_state()), "the global generator was touched"


def _check_merged(backbone: Backbone, merged: dict[str, Tensor], raw: list[Any], moved: Tensor) -> None:
    kept = {name: tensor.clone() for name, tensor in backbone.module.state_dict().items()}
    try:
        backbone.module.load_state_dict(merged)
        found = Encoder(backbone, precision="fp32", chunk=4).features(raw)
    finally:
        backbone.module.load_state_dict(kept)
    assert torch.allclose(found, moved, atol=1e-4, rtol=1e-4), "folded into the weights, the delta gives other features"


def _check_settings(pat: Pat) -> None:
    assert isinstance(pat, Settings), "a PAT is a subclass of backbones.core.settings.Settings"
    assert isinstance(pat.mergeable, bool), "a PAT says whether it is mergeable"  # type: ignore[attr-defined]
    assert pat.touches, "a PAT says in a few words what it touches"  # type: ignore[attr-defined]
    from backbones.core.errors import FrostlineError

    try:
        type(pat).parse({"no_such_setting": 1}, "PAT")
    except FrostlineError:
        return
    raise AssertionError("the PAT accepts an unknown setting")


def _frozen_state(backbone: Backbone) -> tuple[str, list[tuple[Any, ...]]]:
    """Return what a delta may change and must change back: weights, modules, hooks, forwards and inserted tokens."""
    found: list[tuple[Any, ...]] = [tuple(backbone._inserted)]
    for name, module in backbone.module.named_modules():
        hooks = (*module._forward_hooks, *module._forward_pre_hooks)
        found.append((name, type(module).__qualname__, hooks, vars(module).get("forward")))
    return digest_tensors(backbone.module.state_dict()), found


class _StoppedError(Exception):
    """Growing that is made to fail."""


def _check_failing(pat: Pat, backbone: Backbone, seed: int) -> None:
    """Let growing fail after ever more changes to the backbone: what has been done must be undone."""
    wanted, note, left = _frozen_state(backbone), Delta._note, 0

    def failing(self: Delta, *args: Any, **named: Any) -> None:
        nonlocal left
        note(self, *args, **named)
        left -= 1
        if not left:
            raise _StoppedError

    for place in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89):
        left = place
        Delta._note = failing  # type: ignore[method-assign]
        try:
            pat.grow(backbone, seed).detach()
        except _StoppedError:
            pass
        finally:
            Delta._note = note  # type: ignore[method-assign]
        assert _frozen_state(backbone) == wanted, "growing that fails leaves changes on the backbone"
        if left > 0:
            return


def _check_gradients(backbone: Backbone, delta: Delta, raw: list[Any]) -> None:
    if not delta.parameter_count:
        return
    _nudge(delta)
    features = backbone.features(backbone.preprocessing(raw).to(backbone.device))
    # A random projection: a plain sum of squares has no gradient after a LayerNorm.
    probe = torch.randn(features.shape, generator=torch_generator(0, "probe")).to(features)
    (features * probe).sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in delta.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, f"no gradient reaches {name}"
        parameter.grad = None
    own = {id(p) for p in delta.parameters()}
    frozen = [p for p in backbone.module.parameters() if id(p) not in own]
    assert all(p.grad is None for p in frozen), "a frozen weight received a gradient"


def _nudge(delta: Delta) -> None:
    """Move away from the start, where zero-initialised factors block gradients."""
    generator = torch_generator(1, "nudge")
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator).to(parameter))


def _check_entering(backbone: Backbone, delta: Delta, raw: list[Any], whole: Tensor) -> None:
    layer = delta.first_layer
    if not 0 < layer < backbone.depth:
        return
    encoder = Encoder(backbone, delta, precision="fp32", chunk=4)
    tokens = encoder.activations(raw, layer)
    assert torch.equal(encoder.features_from(tokens, layer), whole), (
        "features from stored activations below the delta differ"
    )
    with torch.no_grad(), entering(backbone, layer) as enter:
        assert torch.allclose(enter(tokens), whole, atol=1e-5), "training from stored activations sees other features"
