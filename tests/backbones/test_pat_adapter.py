"""The laws of adapters, against forward passes written out over the blocks of timm and of BERT."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pat_checks import MINIATURES, batch_of, check_refused, features, nudged, vit_base

from backbones.core.errors import FrostlineError
from backbones.pat.adapter import Adapter
from backbones.pat.sites import UnfitError
from backbones.testing import check_pat, raw_batch, tiny_bert, tiny_vit

KINDS = ["vit with registers", "transformers vit", "bert", "distilbert"]
VARIANTS = [
    {"where": "proj"},
    {"where": ("proj", "fc2"), "bottleneck": 8, "layers": "1-2", "activation": "relu"},
    {"kind": "parallel", "scale": 0.1},
    {"kind": "parallel", "where": "proj,fc2", "activation": "tanh", "layers": "2"},
    {"scale": -2.0, "activation": "silu"},
]


@pytest.mark.parametrize("values", VARIANTS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_adapter_meets_the_contract(kind, values):
    backbone = MINIATURES[kind]()
    check_pat(Adapter.parse(values, "PAT 'adapter'"), backbone, raw_batch(backbone))


def formula(state, slot, entering, scale, act):
    inside = act(entering @ state[f"downs.{slot}.weight"].T + state[f"downs.{slot}.bias"])
    return scale * (inside @ state[f"ups.{slot}.weight"].T + state[f"ups.{slot}.bias"])


@pytest.mark.parametrize("kind", ["sequential", "parallel"])
@pytest.mark.parametrize("where", [("proj",), ("fc2",), ("proj", "fc2")], ids=str)
def test_on_timm_features_are_those_of_the_written_out_forward_pass(kind, where):
    backbone = tiny_vit()
    batch, model = batch_of(backbone), backbone.module
    delta = nudged(Adapter(kind=kind, where=where, scale=0.7, layers="0,2", activation="relu").grow(backbone, 0), 0.3)
    found, state = features(backbone, batch), delta.state_dict()
    delta.detach()
    slots = iter(range(len(delta.downs)))
    with torch.no_grad():
        tokens = model._pos_embed(model.patch_embed(batch))
        for index, block in enumerate(model.blocks):
            for role, norm, layer in (("proj", block.norm1, block.attn), ("fc2", block.norm2, block.mlp)):
                entering = norm(tokens)
                leaving = layer(entering)
                if role in where and index != 1:
                    through = leaving if kind == "sequential" else entering
                    leaving = leaving + formula(state, next(slots), through, 0.7, torch.relu)
                tokens = tokens + leaving
        wanted = model.norm(tokens)[:, 0]
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["sequential", "parallel"])
def test_on_bert_an_adapter_acts_before_the_residual_connection_and_its_norm(kind):
    backbone = tiny_bert(pooling="cls")
    batch, model = batch_of(backbone), backbone.module
    delta = nudged(Adapter(kind=kind, where=("proj", "fc2"), layers="1").grow(backbone, 0), 0.3)
    found, state = features(backbone, batch), delta.state_dict()
    delta.detach()
    mask = batch[:, 1].bool()[:, None, None, :].expand(-1, 1, batch.shape[2], -1)
    with torch.no_grad():
        tokens = model.embeddings(input_ids=batch[:, 0])
        for index, block in enumerate(model.encoder.layer):

            def changed(slot, leaving, entering, index=index):
                if index != 1:
                    return leaving
                through = leaving if kind == "sequential" else entering
                return leaving + formula(state, slot, through, 1.0, torch.nn.functional.gelu)

            end = block.attention.output
            middle = block.attention.self(tokens, mask)[0]
            attended = end.LayerNorm(changed(0, end.dense(middle), tokens) + tokens)
            inside = block.intermediate(attended)
            tokens = block.output.LayerNorm(changed(1, block.output.dense(inside), attended) + attended)
    assert torch.allclose(found, tokens[:, 0], rtol=1e-5, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["sequential", "parallel"]),
    st.integers(1, 40),
    st.sampled_from(["all", "1", "0,2"]),
    st.sampled_from(["proj", "fc2", "proj,fc2"]),
)
def test_the_formula_counts_what_is_grown(kind, bottleneck, layers, where):
    backbone = tiny_vit()
    pat = Adapter(kind=kind, bottleneck=bottleneck, layers=layers, where=where)
    delta = pat.grow(backbone, 0)
    places = {"all": 3, "1": 1, "0,2": 2}[layers] * len(pat.where)
    # a width of m and vectors of d numbers make 2 m d + d + m parameters (Houlsby et al., section 2.1)
    assert delta.parameter_count == pat.parameter_count(backbone) == places * (2 * bottleneck * 24 + 24 + bottleneck)
    assert delta.first_layer == (1 if layers == "1" else 0)


def test_the_count_is_the_one_published_for_adaptformer_64_on_vit_b():
    backbone = vit_base()
    pat = Adapter(kind="parallel", bottleneck=64, scale=0.1, activation="relu")
    assert pat.parameter_count(backbone) == 1_189_632  # 1.19 million in the paper's tables
    assert pat.grow(backbone, 0).parameter_count == 1_189_632


def test_nothing_of_a_forward_pass_is_kept():
    backbone = tiny_vit()
    delta = Adapter(kind="parallel", where=("proj", "fc2")).grow(backbone, 0)
    batch = batch_of(backbone)
    features(backbone, batch)
    assert not delta._entered

    def fail(*_):
        raise KeyboardInterrupt

    handle = backbone.module.blocks[1].mlp.fc2.register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        features(backbone, batch)
    assert not delta._entered
    handle.remove()
    assert torch.isfinite(features(backbone, batch)).all()


def test_the_seed_decides_the_start_alone():
    backbone = tiny_vit()
    grown = [Adapter().grow(backbone, seed).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(grown[0][name], grown[1][name]) for name in grown[0])
    assert not torch.equal(grown[0]["downs.0.weight"], grown[2]["downs.0.weight"])


def test_an_adapter_cannot_be_folded_in():
    with pytest.raises(FrostlineError, match="Adapter cannot be folded into weights"):
        Adapter().grow(tiny_vit(), 0).merged()


def test_a_backbone_without_the_sublayer_is_refused():
    backbone = tiny_vit()
    backbone._sites = tuple(site for site in backbone._sites if site.role != "fc1")
    assert Adapter(where="proj,fc2").parameter_count(backbone) > 0
    words = "PAT 'adapter' needs the site 'fc1', which backbone 'tiny-vit' does not"
    check_refused(Adapter(kind="parallel"), backbone, words, UnfitError)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"where": "fc1"}, "unknown sublayer of an adapter 'fc1'. Did you mean 'fc2'"),
        ({"where": ("proj", "qkv")}, "unknown sublayer of an adapter 'qkv'"),
        ({"where": ""}, "where"),
        ({"scale": 0}, "an adapter of scale 0 changes nothing"),
        ({"scale": float("inf")}, "scale = inf"),
        ({"bottleneck": 0}, "bottleneck = 0"),
        ({"kind": "serial"}, "kind = 'serial'"),
        ({"activation": "swish"}, "activation = 'swish'"),
        ({"botleneck": 4}, "Did you mean 'bottleneck'"),
    ],
)
def test_wrong_settings_are_named(values, words):
    with pytest.raises(FrostlineError) as caught:
        Adapter.parse(values, "PAT 'adapter'")
    assert words in str(caught.value)


def test_layers_that_the_backbone_does_not_have_are_refused():
    check_refused(Adapter(layers="2-3"), tiny_vit(), "layers '2-3': '2-3' does not fit")
