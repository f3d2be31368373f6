"""LoRAFusion: its algebra against weights built by brute force, pools from folders and from the run, the ledger."""

from functools import partial

import pytest
import torch
from fusion_makers import paths_of, write_pool
from hypothesis import given, settings
from hypothesis import strategies as st
from pat_checks import features, nudged, plain_features

from backbones.core.artifacts import digest_tensors
from backbones.core.seed import torch_generator
from backbones.pat.ledger import MEANING, ledger
from backbones.pat.lora import Lora
from backbones.pat.lora_fusion import LoraFusion
from backbones.pat.stack import make_pat
from backbones.testing import check_pat, raw_batch, tiny_bert, tiny_transformers_vit, tiny_vit
from backbones.text import from_encoder

MAKERS = {"vit": tiny_vit, "bert": tiny_bert}


@pytest.fixture
def pool(tmp_path):
    return partial(write_pool, tmp_path)


def change(delta, path, group):
    """The change of a weight by the definition, from the factors of the pool."""
    w = delta.mix.w[:, group].detach()
    parts = [delta.lora(i)[path] for i in range(len(delta.pool))]
    if delta.settings.mode == "delta":
        return sum(w[i] * s * (B @ A) for i, (A, B, s) in enumerate(parts))
    rank = max(len(A) for A, _, _ in parts)
    A, B = torch.zeros(rank, parts[0][0].shape[1]), torch.zeros(parts[0][1].shape[0], rank)
    for i, (one, other, s) in enumerate(parts):
        A[: len(one)] += w[i] * s**0.5 * one
        B[:, : len(one)] += w[i] * s**0.5 * other
    return B @ A


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("mode", ["param", "delta"])
@pytest.mark.parametrize("ranks", [(3, 3), (2, 5, 3)], ids=str)
def test_features_are_those_of_the_weights_built_by_definition(kind, mode, ranks, pool):
    backbone = MAKERS[kind]()
    delta = nudged(LoraFusion(pool=pool(backbone, ranks), mode=mode).grow(backbone, 0), 0.3)
    state = {name: value.clone() for name, value in backbone.frozen_state().items()}
    for site in backbone.sites("qkv") + backbone.sites("proj"):
        weight = state[f"{site.path}.weight"] + change(delta, site.path, site.layer)
        magnitude = delta.mix.m[site.path.replace(".", "/")].detach()
        state[f"{site.path}.weight"] = magnitude[:, None] * weight / weight.norm(dim=1, keepdim=True)
    attached, merged = features(backbone), delta.merged()
    delta.detach()
    torch.testing.assert_close(attached, plain_features(backbone, state), atol=1e-5, rtol=0)
    torch.testing.assert_close(attached, plain_features(backbone, merged), atol=1e-5, rtol=0)
    assert not torch.allclose(attached, features(backbone), atol=1e-2)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("mode", ["param", "delta"])
@pytest.mark.parametrize("magnitude", [True, False])
def test_one_hot_coefficients_are_that_lora(kind, mode, magnitude, pool):
    peft = pytest.importorskip("peft")
    backbone, other = MAKERS[kind](), MAKERS[kind]()
    folders = pool(backbone, (3, 4), target_modules=list(paths_of(backbone)))
    delta = LoraFusion(pool=folders, mode=mode, magnitude=magnitude).grow(backbone, 0)
    with torch.no_grad():
        delta.mix.w.zero_()
        delta.mix.w[1] = 1.0
        for key, m in delta.mix.m.items():
            path = key.replace("/", ".")
            A, B, s = delta.lora(1)[path]
            m.copy_((backbone.module.get_submodule(path).weight + s * B @ A).norm(dim=1))
    other.module = peft.PeftModel.from_pretrained(other.module, folders[1]).base_model.model.eval()
    torch.testing.assert_close(features(backbone), features(other), atol=2e-6, rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), times=st.sampled_from([2.0, 0.5, 3.0, -1.0]))
@pytest.mark.parametrize("mode, power", [("param", 2), ("delta", 1)])
def test_scaled_coefficients_change_weights_by_a_power(mode, power, seed, times):
    backbone = tiny_vit(depth=1)
    delta = nudged(LoraFusion(mode=mode, magnitude=False, warm=3, r=2).grow(backbone, seed), 0.3, seed)
    frozen = backbone.frozen_state()
    before = delta.merged()
    with torch.no_grad():
        delta.mix.w.mul_(times)
    after = delta.merged()
    name = "blocks.0.attn.qkv.weight"
    torch.testing.assert_close(
        after[name] - frozen[name], times**power * (before[name] - frozen[name]), atol=1e-5, rtol=1e-4
    )


def test_the_norm_and_its_gradient_are_exact():
    from backbones.pat.lowrank import row_norms

    generator = torch_generator(0, "norms")
    W, A, B = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in [(6, 5), (2, 5), (6, 2)])
    torch.testing.assert_close(row_norms(W, A, B), (W + B @ A).norm(dim=1))
    assert torch.autograd.gradcheck(lambda a, b: row_norms(W, a, b), (A.requires_grad_(), B.requires_grad_()))


def test_the_fusion_starts_as_the_plain_mixture_of_the_pool(pool):
    backbone = tiny_vit()
    folders = pool(backbone)
    delta = LoraFusion(pool=folders).grow(backbone, 0)
    start = features(backbone)
    delta.detach()
    plain = LoraFusion(pool=folders, magnitude=False).grow(backbone, 0)
    torch.testing.assert_close(start, features(backbone), atol=1e-5, rtol=0)
    plain.detach()


@pytest.mark.parametrize(
    "values",
    [
        {"mode": "delta"},
        {"magnitude": False, "warm": 1},
        {"groups": "site", "roles": "fc1,fc2"},
        {"groups": "all", "layers": "1-2", "rslora": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", MAKERS)
def test_every_setting_meets_the_contract(kind, values):
    backbone = MAKERS[kind]()
    check_pat(LoraFusion.parse(values, "PAT 'lora_fusion'"), backbone, raw_batch(backbone)[:3])


def test_a_loaded_pool_meets_the_contract(pool):
    backbone = tiny_transformers_vit()
    pat = LoraFusion(pool=pool(backbone, (2, 3)), warm=1)
    check_pat(pat, backbone, raw_batch(backbone)[:3])
    assert pat.parameter_count(backbone) == 3 * 3 + 3 * 4 * 24


def test_counts_of_the_published_t5_large():
    """A stand-in with its matrices: 48 blocks, 1024 wide, 144 matrices (72 attentions, queries and values of each)."""
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=1024, num_hidden_layers=48, num_attention_heads=16, vocab_size=8)
    with torch.device("meta"):
        module = BertModel(config, add_pooling_layer=False)
    backbone = from_encoder(module, "as wide as T5-large", tiny_bert().preprocessing)
    assert len(backbone.sites("qkv")) == 144
    assert LoraFusion(warm=20, r=16, roles=("qkv",)).parameter_count(backbone) == 148_416


@pytest.mark.parametrize("groups, count", [("block", 3), ("site", 6), ("all", 1)])
def test_groups_share_coefficients(groups, count):
    backbone = tiny_vit()
    delta = LoraFusion(groups=groups, warm=4).grow(backbone, 0)
    assert delta.mix.w.shape == (4, count)
    assert delta.parameter_count == 4 * count + 3 * (72 + 24)


def test_training_the_fusion_leaves_base_and_pool_alone(pool):
    backbone = tiny_bert()
    before = backbone.fingerprint()
    delta = LoraFusion(pool=pool(backbone)).grow(backbone, 0).train()
    delta.enter(0, 0)
    frozen, start = digest_tensors(delta.pool.state_dict()), delta.mix.w.clone()
    optimizer = torch.optim.AdamW(delta.parameters(), lr=0.1, weight_decay=0.1)
    assert sum(p.numel() for p in delta.parameters()) == delta.parameter_count
    for _ in range(3):
        optimizer.zero_grad()
        backbone.features(backbone.preprocessing(raw_batch(backbone)))[:, :3].sum().backward()
        optimizer.step()
    assert not torch.allclose(delta.mix.w, start)
    assert digest_tensors(delta.pool.state_dict()) == frozen
    delta.detach()
    assert backbone.fingerprint() == before


@pytest.mark.parametrize("train", ["stages", "experiences"])
def test_warm_loras_are_trained_alone_then_frozen(train):
    backbone = tiny_vit()
    delta = LoraFusion(train=train, r=2).grow(backbone, 0)
    shapes = {name: value.shape for name, value in delta.state_dict().items()}
    steps = [(0, 0), (0, 1), (0, 2)] if train == "stages" else [(0, 0), (1, 0), (2, 0)]
    assert [delta.stages(e) for e in (0, 1, 2)] == ([3, 1, 1] if train == "stages" else [1, 1, 1])
    plain = features(tiny_vit())
    kept = []
    for number, step in enumerate(steps[:2]):
        delta.enter(*step)
        assert sum(p.numel() for p in delta.parameters()) == Lora(r=2).parameter_count(backbone)
        assert {name: value.shape for name, value in delta.state_dict().items()} == shapes
        assert torch.equal(features(backbone), plain), "a LoRA starts as the identity, whatever the pool holds"
        nudged(delta, 0.3, number)
        kept.append(digest_tensors(delta.pool[number].state_dict()))
        alone = features(backbone)
        torch.testing.assert_close(plain_features_of_copy(delta.merged()), alone, atol=1e-5, rtol=0)
    delta.enter(*steps[2])
    assert delta.alone is None and delta.filled == 2
    assert [digest_tensors(part.state_dict()) for part in delta.pool] == kept
    assert {name for name, _ in delta.named_parameters()} == {n for n in shapes if n.startswith("mix.")}
    assert torch.equal(delta.mix.w, torch.full((2, 3), 0.5))
    nudged(delta, 0.3)
    after = delta.mix.w.clone()
    delta.enter(steps[2][0] + 1, 0)
    assert torch.equal(delta.mix.w, after), "later experiences go on from there"


def plain_features_of_copy(state):
    return plain_features(tiny_vit(), state)


def test_state_moves_between_phases():
    """A delta that trains a LoRA and one that trains coefficients exchange their states."""
    backbone, other = tiny_vit(), tiny_vit()
    delta = LoraFusion().grow(backbone, 0)
    delta.enter(0, 1)
    nudged(delta, 0.3)
    copy = LoraFusion().grow(other, 5)
    copy.load_state_dict(delta.state_dict())
    assert (copy.alone, copy.filled) == (1, 2)
    assert torch.equal(features(backbone), features(other))
    assert copy.fingerprint() == delta.fingerprint()


def test_the_ledger_counts_cells(pool):
    backbone = tiny_vit()
    delta = LoraFusion(pool=pool(backbone, (3, 3)), energy_per_cell=2.5).grow(backbone, 0)
    found = ledger(delta)
    lora = Lora(r=3).parameter_count(backbone)
    assert set(found) == set(MEANING)
    assert found["cells_written"] == 0 and found["energy_nj"] == 0
    assert found["cells_written_lora"] == lora and found["energy_lora_nj"] == 2.5 * lora
    assert found["cells_programmed"] == 2 * lora and found["cells_programmed_here"] == 0
    assert found["digital_numbers"] == 2 * 3 + 3 * (72 + 24)
    delta.detach()


def test_the_ledger_counts_what_the_run_programmed_and_stacks():
    backbone = tiny_vit()
    delta = make_pat("layernorm+lora_fusion", {"lora_fusion.r": 2}).grow(backbone, 0)
    lora = Lora(r=2).parameter_count(backbone)
    assert ledger(delta)["cells_programmed_here"] == 0
    delta.enter(0, 0)
    assert ledger(delta)["cells_programmed_here"] == lora
    delta.enter(0, 1)
    assert ledger(delta)["cells_programmed_here"] == 2 * lora
    assert ledger(delta)["cells_written_lora"] == lora
    delta.detach()
    assert ledger(make_pat("layernorm", {}).grow(backbone, 0)) == {}
