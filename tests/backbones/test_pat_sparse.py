"""The laws of sparse fine-tuning: k weights move and no other bit does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from backbones.core.errors import FrostlineError
from backbones.encoder import Encoder
from backbones.pat.sparse import Sparse, largest
from backbones.pat.stack import make_pat
from backbones.testing import (
    check_pat,
    raw_batch,
    tiny_bert,
    tiny_clip,
    tiny_distilbert,
    tiny_roberta,
    tiny_transformers_vit,
    tiny_vit,
)
from continual.settings import Tuning
from continual.training import batches_of, tune

BACKBONES = {
    "class token": lambda: tiny_vit(),
    "registers and average pooling": lambda: tiny_vit(registers=2, average=True),
    "transformers ViT": tiny_transformers_vit,
    "CLIP's vision tower": tiny_clip,
    "BERT": tiny_bert,
    "BERT, [CLS]": lambda: tiny_bert(pooling="cls"),
    "RoBERTa": tiny_roberta,
    "DistilBERT": tiny_distilbert,
}


def changed(before, after):
    """How many entries of a state have other bits."""
    return sum(int((after[name] != tensor).sum()) for name, tensor in before.items())


def copied(backbone):
    return {name: tensor.clone() for name, tensor in backbone.frozen_state().items()}


def trained(backbone, pat, epochs=2, seed=0, saver=None, tuning=None):
    delta = pat.grow(backbone, seed)
    raw = raw_batch(backbone, 8)
    encoder = Encoder(backbone, delta, precision="fp32")
    tuning = tuning or Tuning(epochs=epochs, batch=4, lr=0.01, weight_decay=0.1, flip=False)
    labels = torch.arange(8) % 2
    tune(encoder, batches_of(encoder, raw), backbone.features, labels, tuning, seed, saver=saver)
    return delta


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("values", [{"k": 37, "layers": "1-2", "roles": "norm, fc2", "biases": False}], ids=str)
def test_contract_on_every_miniature(kind, values):
    backbone = BACKBONES[kind]()
    check_pat(Sparse.parse(values, "PAT 'sparse'"), backbone, raw_batch(backbone))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.data())
@settings(max_examples=60, deadline=None)
def test_exactly_k_whatever_the_ties_and_the_first_of_equals(moved, data):
    count = data.draw(st.integers(1, len(moved)))
    found = largest(torch.tensor(moved, dtype=torch.float32), count).tolist()
    wanted = sorted(sorted(range(len(moved)), key=lambda place: (-abs(moved[place]), place))[:count])
    assert found == wanted


@given(st.integers(1, 60), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_places_before_training_are_different_and_ascending(count, seed):
    backbone = tiny_vit(depth=1)
    delta = Sparse(k=count, roles=("proj",), biases=False).grow(backbone, seed)
    assert len(delta.indices.unique()) == count and torch.equal(delta.indices, delta.indices.sort().values)
    assert int(delta.indices[0]) >= 0 and int(delta.indices[-1]) < delta.spots[-1].stop
    delta.detach()


@pytest.mark.parametrize("kind", ["class token", "BERT", "DistilBERT"])
def test_training_changes_k_weights_and_no_other_bit(kind):
    backbone = BACKBONES[kind]()
    before = copied(backbone)
    delta = trained(backbone, Sparse(k=50, roles=("qkv", "fc2")))
    after = delta.merged()
    assert 0 < changed(before, after) <= 50 and int((delta.values != 0).sum()) == changed(before, after)
    touched = {spot.key for spot in delta.spots}
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items() if name not in touched)
    for spot in delta.spots:
        mine = delta.indices[(delta.indices >= spot.start) & (delta.indices < spot.stop)] - spot.start
        rest = torch.ones(spot.shape.numel(), dtype=torch.bool)
        rest[mine] = False
        assert torch.equal(before[spot.key].flatten()[rest], after[spot.key].flatten()[rest])
    delta.detach()
    assert changed(before, copied(backbone)) == 0


def test_selects_what_full_training_moved_most_and_rewinds():
    backbone = tiny_vit()
    delta = Sparse(k=9).grow(backbone, 0)
    assert delta.stages(0) == 2
    delta.enter(0, 0)
    generator = torch.Generator().manual_seed(0)
    assert [p.shape for p in delta.dense] == [spot.shape for spot in delta.spots]
    with torch.no_grad():
        for change in delta.dense:
            change.copy_(torch.randn(change.shape, generator=generator))
    moved = torch.cat([change.detach().flatten() for change in delta.dense])
    delta.enter(0, 1)
    assert set(delta.indices.tolist()) == set(moved.abs().argsort(descending=True)[:9].tolist())
    assert not delta.values.any() and delta.values.requires_grad and not len(delta.dense)
    assert delta.stages(1) == 1, "the selection stays"
    kept = delta.indices.clone()
    delta.enter(1, 0)
    assert torch.equal(delta.indices, kept)
    delta.detach()


def test_the_first_stage_trains_every_chosen_weight_and_nothing_else():
    backbone = tiny_bert()
    delta = Sparse(roles=("fc1",)).grow(backbone, 0)
    delta.enter(0, 0)
    backbone.features(backbone.preprocessing(raw_batch(backbone))).square().sum().backward()
    assert all(change.grad is not None and change.grad.abs().sum() > 0 for change in delta.dense)
    assert delta.values.grad is None
    delta.detach()


def test_gradient_is_that_of_the_weights_themselves():
    backbone = tiny_bert()
    batch = backbone.preprocessing(raw_batch(backbone))
    delta = Sparse(k=200).grow(backbone, 3)
    for _ in range(2):  # a second pass in the same step meets used pieces
        backbone.features(batch)[:, :5].square().sum().backward()
    sparse = delta.values.grad / 2
    spots, indices = delta.spots, delta.indices
    delta.detach()
    weights = dict(backbone.module.named_parameters())
    for spot in spots:
        weights[spot.key].requires_grad_(True)
    backbone.features(batch)[:, :5].square().sum().backward()
    dense = torch.cat([weights[spot.key].grad.flatten() for spot in spots])
    torch.testing.assert_close(sparse, dense[indices], rtol=1e-4, atol=1e-6)


def test_merged_weights_give_the_same_bits():
    backbone = tiny_roberta()
    raw = raw_batch(backbone)
    delta = trained(backbone, Sparse(k=80))
    with_delta = Encoder(backbone, delta, precision="fp32").features(raw)
    merged = delta.merged()
    delta.detach()
    backbone.module.load_state_dict(merged)
    assert torch.equal(Encoder(backbone, precision="fp32").features(raw), with_delta)


def test_state_after_training_loads_into_a_fresh_delta():
    backbone = tiny_vit()
    delta = trained(backbone, Sparse(k=20))
    state = {name: value.clone() for name, value in delta.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "indices": (20,),
        "values": (20,),
        "chosen": (),
    }
    merged = delta.merged()
    delta.detach()
    again = Sparse(k=20).grow(backbone, 5)
    backbone.features(backbone.preprocessing(raw_batch(backbone)))  # its own places are known by now
    again.load_state_dict(state)
    assert again.stages(1) == 1
    assert changed(merged, again.merged()) == 0
    again.detach()


class KilledError(Exception):
    pass


class Memory:
    """Keeps states, and stops the training after some epochs."""

    def __init__(self, stop=None):
        self.stop, self.kept = stop, None

    def save(self, epoch, state):
        self.kept = (epoch, {name: value.clone() for name, value in state.items()})
        if epoch == self.stop:
            raise KilledError

    def load(self):
        return (self.kept[0], dict(self.kept[1])) if self.kept is not None else None


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_killed_training_goes_on_to_the_same_bits(stop):
    pat = Sparse(k=30, roles=("fc1", "fc2"))
    whole = trained(tiny_vit(), pat, saver=Memory())
    memory = Memory(stop)
    with pytest.raises(KilledError):
        trained(tiny_vit(), pat, saver=memory)
    memory.stop = None
    again = trained(tiny_vit(), pat, saver=memory)
    assert torch.equal(whole.indices, again.indices) and torch.equal(whole.values, again.values)


def test_composes_with_other_rules_on_the_same_weights():
    backbone = tiny_bert()
    raw = raw_batch(backbone)
    base = Encoder(backbone, precision="fp32").features(raw)
    delta = make_pat("sparse+lora", {"sparse.k": "40"}).grow(backbone, 0)
    assert torch.equal(Encoder(backbone, delta, precision="fp32").features(raw), base)
    assert delta.stages(0) == 2
    delta.enter(0, 0)
    delta.enter(0, 1)
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter.add_(0.05)
    assert changed(copied(backbone), delta.merged()) > 40
    delta.detach()
    assert torch.equal(Encoder(backbone, precision="fp32").features(raw), base)


def test_count_by_formula_without_weights():
    with torch.device("meta"):
        from timm.models.vision_transformer import VisionTransformer

        module = VisionTransformer(num_classes=0)  # ViT-B/16
    from backbones.core.preprocess import Preprocessing
    from backbones.vit import from_timm

    backbone = from_timm(module, "vit-b", Preprocessing(224))
    weights, biases = 12 * 12 * 768**2, 12 * 9 * 768
    assert Sparse().parameter_count(backbone) == round(0.05 * (weights + biases))
    assert Sparse(biases=False, density=1.0).parameter_count(backbone) == weights
    assert Sparse(k=123).parameter_count(backbone) == 123


@pytest.mark.parametrize("act", [lambda pat, b: pat.grow(b, 0), lambda pat, b: pat.parameter_count(b)])
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"roles": "qkv,fc3"}, ["'fc3'", "Did you mean", "fc1"]),
        ({"roles": "attn"}, ["'attn'", "role of a site with weights"]),
        ({"k": 10**6}, ["k = 1000000", "tiny-vit", "weights; pass at most"]),
        ({"layers": "2-9"}, ["9"]),
    ],
    ids=str,
)
def test_refusals_name_value_and_rule_and_leave_nothing_behind(values, words, act):
    backbone = tiny_vit()
    modules = [name for name, _ in backbone.module.named_modules()]
    with pytest.raises(FrostlineError) as error:
        act(Sparse.parse(values, "PAT 'sparse'"), backbone)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert [name for name, _ in backbone.module.named_modules()] == modules


def test_no_parameter_enters_the_backbone():
    backbone = tiny_vit()
    names = [name for name, _ in backbone.module.named_parameters()]
    delta = Sparse(k=5).grow(backbone, 0)
    assert sum(p.numel() for p in backbone.module.parameters() if p.requires_grad) == 0
    delta.detach()
    assert [name for name, _ in backbone.module.named_parameters()] == names
    assert all(isinstance(p, nn.Parameter) for p in backbone.module.parameters())
