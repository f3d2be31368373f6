"""Every registered PAT leaves nothing behind however often it comes and goes, and spends no gradient below itself."""

import gc
import tracemalloc
import types
from contextlib import contextmanager

import pytest
import torch
from torch.utils.hooks import RemovableHandle

from backbones.core.artifacts import digest_tensors
from backbones.core.errors import FrostlineError
from backbones.pat import PATS
from backbones.testing import raw_batch, tiny_bert, tiny_vit

BACKBONES = {"ViT": tiny_vit, "BERT": tiny_bert}
COUNTED = (torch.nn.Module, torch.Tensor, RemovableHandle, types.FunctionType, types.CellType, type)
TOP = 2  # the last of the three blocks
LAYERED = [name for name in PATS.names() if "layers" in PATS.load(name).model_fields]


def outputs(backbone):
    with torch.no_grad():
        return backbone.features(backbone.preprocessing(raw_batch(backbone)))


def snapshot(backbone):
    """All that may not change: modules and what they hold, identity and order of tensors, weights, hooks."""
    held = [(name, type(each), id(each), sorted(vars(each))) for name, each in backbone.module.named_modules()]
    hooks = [len(value) for each in backbone.module.modules() for key, value in vars(each).items() if "hooks" in key]
    tensors = [(name, id(each), each.requires_grad) for name, each in backbone.module.named_parameters()]
    return held, hooks, tensors, digest_tensors(backbone.module.state_dict()), backbone.fingerprint()


def fresh():
    found = []
    for each in gc.get_objects():  # a comprehension would be a function, and find itself
        if isinstance(each, COUNTED):
            found.append(type(each))
    return found


def come_and_go(name, backbone, cycles):
    pat = PATS.load(name)()
    for seed in range(cycles):
        pat.grow(backbone, seed).detach()


def check(name, kind, cycles):
    backbone = BACKBONES[kind]()
    base = outputs(backbone)
    come_and_go(name, backbone, 2)  # what is made once: lazy imports, the trial of attention
    before = snapshot(backbone)
    gc.collect()
    gc.freeze()  # from here on the collector knows what is new only
    try:
        come_and_go(name, backbone, cycles)
        gc.collect()
        assert not fresh()
    finally:
        gc.unfreeze()
    assert snapshot(backbone) == before
    assert torch.equal(outputs(backbone), base)


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("name", PATS.names())
def test_pats_come_and_go_and_leave_nothing(name, kind):
    check(name, kind, 4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("name", PATS.names())
def test_pats_come_and_go_1000_times_and_leave_nothing(name, kind):
    check(name, kind, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("name", PATS.names())
def test_memory_does_not_grow_with_the_rounds(name, kind):
    backbone = BACKBONES[kind]()
    tracemalloc.start()
    try:
        come_and_go(name, backbone, 300)  # free lists and dictionaries fill up at first
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        come_and_go(name, backbone, 1000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 100 * 1000, f"{grown} bytes more after 1,000 rounds"  # one kept closure takes more than 100


@contextmanager
def watching(backbone, layers):
    """Collect the modules in these blocks that gave something with a gradient, or saved a tensor for backward."""
    found, running = [], []

    def enters(module, _args):
        running.append(module)

    def leaves(module, _args, output):
        running.pop()
        first = output[0] if isinstance(output, tuple) else output
        if first.requires_grad:
            found.append(module)

    def save(tensor):
        found.extend(running[-1:])
        return tensor

    handles = []
    for layer in layers:
        block = backbone.module.get_submodule(backbone.sites("block", layer)[0].path)
        for module in block.modules():
            handles.append(module.register_forward_pre_hook(enters))
            handles.append(module.register_forward_hook(leaves))
    try:
        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            yield found
    finally:
        for handle in handles:
            handle.remove()


def graph(tensor):
    """Return the names of all operations that a backward pass from ``tensor`` runs."""
    seen, waiting = set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(following for following, _ in node.next_functions)
    return [node.name() for node in seen]


def run(name, backbone, layers):
    delta = PATS.load(name).parse({"layers": layers}, name).grow(backbone, 0)
    delta.enter(0, 0)
    batch = backbone.preprocessing(raw_batch(backbone))
    try:
        with watching(backbone, range(delta.first_layer or TOP)) as found:
            features = backbone.features(batch)
            operations = graph(features)
            features.sum().backward()
        return delta.first_layer, found, operations
    finally:
        delta.detach()


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("name", LAYERED)
def test_nothing_below_the_lowest_touched_block_has_a_gradient(name, kind):
    backbone = BACKBONES[kind]()
    layers = str(TOP)
    try:
        PATS.load(name)(layers=layers).parameter_count(backbone)
    except FrostlineError:  # a mean of one block is refused
        layers = f"{TOP - 1}-{TOP}"
    first, found, operations = run(name, backbone, layers)
    assert first == int(layers[0]) > 0
    assert not found
    _, _, whole = run(name, backbone, "all")
    assert len(operations) < len(whole)


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_watch_sees_gradients_in_the_blocks_below(kind):
    first, found, operations = run("lora", BACKBONES[kind](), "all")
    assert first == 0 and found
    _, _, upper = run("lora", BACKBONES[kind](), str(TOP))
    assert len(upper) < 0.5 * len(operations)
