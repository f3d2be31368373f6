"""Families of text encoders: sites, the model's own features, PATs, folders, and what is said where there are none."""

import json

import pytest
import torch
import transformers

from backbones import load_backbone
from backbones.catalog import LoadOptions
from backbones.core.errors import FrostlineError
from backbones.deltas import save_delta
from backbones.encoder import Encoder
from backbones.lifecycle.distill.student import Shape, build_student
from backbones.lifecycle.offsite.restack import restack
from backbones.lm import load_language_model
from backbones.merging import merge
from backbones.pat import PATS
from backbones.pat.sites import UnfitError
from backbones.testing import check_backbone, check_pat, text_batch, tiny_bert, tiny_encoder
from backbones.testing_models import ENCODERS
from backbones.training.saving import save_backbone
from zeroshot.scorers.vectors import Vectors

TEXTS = text_batch(tiny_bert(), 6)
ROLES = ["attn", "block", "embed", "fc1", "fc2", "norm", "proj", "qkv"]


@pytest.fixture(scope="module", params=ENCODERS)
def backbone(request):
    return tiny_encoder(request.param)


def own_means(backbone, texts):
    """What the model itself says, on a batch with ordinary padding, averaged over tokens."""
    batch = backbone.preprocessing.tokenizer(texts, padding=True, return_tensors="pt")
    mask = batch["attention_mask"]
    with torch.no_grad():
        states = backbone.module(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def test_a_family_meets_the_contract_and_has_every_role(backbone):
    check_backbone(backbone, TEXTS)
    assert backbone.roles() == ROLES and (backbone.depth, backbone.width) == (3, 24)


def test_features_are_the_means_of_the_models_own_states(backbone):
    wanted = own_means(backbone, TEXTS)
    assert torch.allclose(Encoder(backbone, precision="fp32").features(TEXTS), wanted, atol=1e-6)
    assert torch.allclose(backbone.features(backbone.preprocessing(TEXTS[:1])), wanted[:1], atol=1e-6)


@pytest.mark.parametrize(
    "name, settings",
    [
        ("lora", {"roles": "qkv,proj,fc1,fc2"}),
        ("adapter", {"kind": "parallel", "where": "proj,fc2"}),
        ("ssf", {}),
        ("prefix", {"length": 3}),
        ("vpt", {"length": 2}),
        ("bitfit", {}),
    ],
)
def test_a_pat_works_or_says_before_anything_what_the_family_lacks(backbone, name, settings):
    pat = PATS.load(name).parse(settings, f"PAT {name!r}")
    try:
        pat.parameter_count(backbone)
    except UnfitError as refused:
        assert name in ("prefix", "vpt", "bitfit") and backbone.name in str(refused)
    else:
        check_pat(pat, backbone, TEXTS[:4])


def test_blocks_that_are_left_out_hand_on_what_others_need(backbone):
    whole = restack(backbone, [0, 1, 2])
    batch = backbone.preprocessing(TEXTS)
    assert torch.equal(whole.features(batch), backbone.features(batch))
    shelled = restack(backbone, [0, None, 2])
    with torch.no_grad():
        assert torch.allclose(shelled.features(batch), restack(backbone, [0, 2]).features(batch), atol=1e-6)


@pytest.mark.parametrize("family", ENCODERS)
def test_a_folder_is_a_backbone_an_embedder_and_can_be_saved_again(tmp_path, family):
    backbone = tiny_encoder(family)
    for part in (backbone.module, backbone.preprocessing.tokenizer):
        part.save_pretrained(tmp_path / "one")
    loaded = load_backbone(str(tmp_path / "one"))
    features = Encoder(loaded, precision="fp32").features(TEXTS)
    assert torch.allclose(features, own_means(backbone, TEXTS), atol=1e-6)
    saved = save_backbone(loaded, tmp_path / "two", {})
    assert saved.difference == 0.0 and type(load_backbone(str(saved.folder)).module) is type(loaded.module)
    vectors = Vectors(load_language_model(str(tmp_path / "one"), "encoder", device="cpu")).of(
        [(t, None) for t in TEXTS]
    )
    assert torch.allclose(torch.from_numpy(vectors), torch.nn.functional.normalize(features, dim=1), atol=1e-5)


def test_a_text_as_long_as_the_positions_is_cut_where_one_place_stays_free():
    backbone = tiny_encoder("deberta-v2")
    longest = 64 - 1  # of the table of positions
    assert backbone.preprocessing.padded(64).padded(12).window == 11
    prepare = type(backbone.preprocessing)(backbone.preprocessing.tokenizer, 64).padded(64)
    assert prepare(["cat " * 100]).shape == (1, 3, 64) and int(prepare(["cat " * 100])[0, 1].sum()) == longest
    assert torch.isfinite(backbone.features(prepare(["cat " * 100]))).all()


def test_layers_that_share_a_block_get_their_own_and_it_is_said(tmp_path):
    import copy

    config = transformers.AlbertConfig(vocab_size=30, hidden_size=24, num_hidden_layers=4, num_attention_heads=2,
                                       intermediate_size=48, num_hidden_groups=2, embedding_size=16)  # fmt: skip
    with torch.random.fork_rng():
        shared = transformers.AlbertModel(config, add_pooling_layer=False).eval()
    tokenizer = tiny_bert().preprocessing.tokenizer
    shared.save_pretrained(tmp_path), tokenizer.save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path))
    assert "its 4 layers share 2 blocks; each got a copy of its own" in backbone.notes and backbone.depth == 4
    batch = backbone.preprocessing(TEXTS)
    ids, mask = batch[:, 0], batch[:, 1]
    with torch.no_grad():
        states = copy.deepcopy(shared)(input_ids=ids, attention_mask=mask).last_hidden_state
        assert torch.allclose(
            (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), backbone.features(batch), atol=1e-6
        )


def test_the_encoder_of_a_whole_t5_is_taken(tmp_path):
    backbone = tiny_encoder("t5")
    with torch.random.fork_rng():
        whole = transformers.T5ForConditionalGeneration(backbone.module.config)
    whole.save_pretrained(tmp_path), backbone.preprocessing.tokenizer.save_pretrained(tmp_path)
    assert type(load_backbone(str(tmp_path)).module).__name__ == "T5EncoderModel"


OTHERS = {
    "GPT2Model": {"n_embd": 24, "n_layer": 1, "n_head": 2},
    "BartModel": {
        "d_model": 24,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    },
    "LongformerModel": {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "attention_window": 4},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_for_a_text_model_without_sites_text_encoders_are_named(tmp_path, kind):
    config = getattr(transformers, kind.replace("Model", "Config"))(vocab_size=30, **OTHERS[kind])
    with torch.random.fork_rng():
        getattr(transformers, kind)(config).save_pretrained(tmp_path)
    tiny_bert().preprocessing.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(
        FrostlineError, match=rf"is a {kind}, whose sites are not known\. Text encoders that are: Albert"
    ):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize("family", ENCODERS)
def test_a_smaller_student_of_a_family_can_be_built_and_saved(tmp_path, family):
    teacher = tiny_encoder(family)
    found = build_student(teacher, Shape(layers=2, width=16, heads=2, inner=20), [1, 3]).backbone
    assert (found.depth, found.width) == (2, 16)
    inner = found.module.get_submodule(found.sites("fc2", 0)[0].path).in_features
    assert inner == 20 and save_backbone(found, tmp_path / "student", {}).difference < 1e-6


def test_a_delta_is_folded_into_copied_blocks_and_loads_without_us(tmp_path):
    config = transformers.AlbertConfig(vocab_size=30, num_hidden_layers=3, embedding_size=16, hidden_size=24,
                                       num_attention_heads=2, intermediate_size=48)  # fmt: skip
    with torch.random.fork_rng():
        transformers.AlbertModel(config).save_pretrained(tmp_path / "base")
    tiny_bert().preprocessing.tokenizer.save_pretrained(tmp_path / "base")
    backbone = load_backbone(str(tmp_path / "base"))
    delta = PATS.load("lora")(layers="1").grow(backbone, 0)
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter += 0.1
    wanted = Encoder(backbone, delta, precision="fp32").features(TEXTS)
    save_delta(delta, tmp_path / "delta", str(tmp_path / "base"), 0)
    merge(str(tmp_path / "base"), tmp_path / "delta", tmp_path / "merged")
    found = load_backbone(str(tmp_path / "merged"))
    assert torch.allclose(Encoder(found, precision="fp32").features(TEXTS), wanted, atol=1e-5)
    assert transformers.AlbertModel.from_pretrained(tmp_path / "merged").config.num_hidden_groups == 3


def write_sentence_t5(folder, *, width=24, out=24, activation="torch.nn.modules.linear.Identity", bias=False):
    """A folder as sentence-T5 is published: encoder, mean, dense layer, division by the length."""
    backbone = tiny_encoder("t5")
    for part in (backbone.module, backbone.preprocessing.tokenizer):
        part.save_pretrained(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense", "3_Normalize": "Normalize"}
    steps = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(steps))
    stated = {"in_features": width, "out_features": out, "bias": bias, "activation_function": activation}
    for name, values in (("1_Pooling", {"pooling_mode_mean_tokens": True}), ("2_Dense", stated)):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(values))
    weight = torch.linspace(-1, 1, width * out).view(out, width)
    made = {"linear.weight": weight, **({"linear.bias": torch.linspace(0, 1, out)} if bias else {})}
    torch.save(made, folder / "2_Dense" / "pytorch_model.bin")
    return backbone, made


@pytest.mark.parametrize("bias, activation", [(False, "torch.nn.modules.linear.Identity"), (True, "torch.nn.Tanh")])
def test_a_dense_layer_behind_the_pooling_is_part_of_the_feature(tmp_path, bias, activation):
    plain, made = write_sentence_t5(tmp_path / "one", bias=bias, activation=activation)
    wanted = own_means(plain, TEXTS) @ made["linear.weight"].T + made.get("linear.bias", 0)
    wanted = torch.nn.functional.normalize(torch.tanh(wanted) if "Tanh" in activation else wanted, dim=1)
    backbone = load_backbone(str(tmp_path / "one"))
    assert torch.allclose(Encoder(backbone, precision="fp32").features(TEXTS), wanted, atol=1e-6)
    assert save_backbone(backbone, tmp_path / "two", {}).difference == 0.0
    delta = PATS.load("lora")().grow(backbone, 0)
    save_delta(delta, tmp_path / "delta", str(tmp_path / "one"), 0)
    assert merge(str(tmp_path / "one"), tmp_path / "delta", tmp_path / "merged").difference < 1e-5


def test_a_dense_layer_that_changes_the_width_is_named(tmp_path):
    write_sentence_t5(tmp_path / "one", out=12)
    with pytest.raises(FrostlineError, match="has the module Dense, which is not done here; pass a pooling"):
        load_backbone(str(tmp_path / "one"))
    assert load_backbone(str(tmp_path / "one"), LoadOptions(pooling="mean")).width == 24


def test_features_read_in_another_way_have_another_key():
    one, two = (Encoder(tiny_bert(pooling=pooling), precision="fp32") for pooling in ("mean", "cls"))
    assert one.key() != two.key() and one.key(1) == two.key(1)  # what enters a block is the same for both
