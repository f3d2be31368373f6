"""Infusion on miniatures: nothing changes at the start, the frozen weights never, and relations are learned."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from backbones.core.seed import torch_generator
from backbones.deltas import load_delta, save_delta
from backbones.encoder import Encoder
from backbones.lifecycle.infuse.asking import ask
from backbones.lifecycle.infuse.distilling import distil_infused, draw_sentences
from backbones.lifecycle.infuse.examples import Examples, split_heads
from backbones.lifecycle.infuse.pairs import Pair
from backbones.lifecycle.infuse.settings import KaidStyle
from backbones.lifecycle.infuse.states import tapped
from backbones.lifecycle.infuse.training import infuse, mention_features, turned
from backbones.pat.side import Side
from backbones.testing_models import WORDS, raw_batch, tiny_bert, tiny_distilbert, tiny_roberta, tiny_vit
from backbones.training.loop import Recipe

TEXT = [tiny_bert, tiny_roberta, tiny_distilbert]
HEADS, TAILS = WORDS[:14], {"book": "warm", "flight": "warm", "to": "cold", "rome": "cold"}


def pair(head, tail, relation, between="please"):
    return Pair(head=head, relation=relation, tail=tail, example=f"{head} {between} {tail} now", cue=between)


def pairs():
    """Two relations that the tails tell apart, whatever the head is."""
    return [
        pair(head, tail, relation, between)
        for number, head in enumerate(HEADS)
        for place, (tail, relation) in enumerate(sorted(TAILS.items(), key=lambda item: item[1]))
        if (number + place) % 4
        for between in ("please", "tomorrow please")
    ]


def even_bert(**options):
    """A miniature whose norms let tokens differ as much as they do in a trained model."""
    backbone = tiny_bert(**options)
    for module in backbone.module.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.ones_(module.weight)
            torch.nn.init.zeros_(module.bias)
    return backbone


def quick(**changes):
    values = {"side": {"bottleneck": 8}, "recipe": {"steps": 20, "batch": 32, "lr": 1e-2, "warmup": 0}, "window": 12}
    return KaidStyle.parse({**values, **changes}, "the test")


@pytest.mark.parametrize("make", TEXT)
@pytest.mark.parametrize("layers", ["all", "0,2", "1"])
def test_a_new_side_network_changes_no_bit(make, layers):
    backbone = make()
    raw = raw_batch(backbone)
    before = Encoder(backbone, precision="fp32").features(raw)
    delta = Side(layers=layers).grow(backbone, 3)
    assert torch.equal(Encoder(backbone, delta, precision="fp32").features(raw), before)
    with tapped(backbone) as states:
        frozen, _, left = states(backbone.preprocessing(raw))
    assert torch.equal(frozen, left)


def test_the_side_network_is_what_it_says():
    backbone = tiny_bert(pooling="cls")
    batch = backbone.preprocessing(raw_batch(backbone, 4))
    delta = Side(bottleneck=5, layers="0,2").grow(backbone, 0)
    with torch.no_grad():
        delta.up.weight.normal_(generator=torch_generator(0, "up"))
        with tapped(backbone) as run:
            frozen, blocks, upper = run(batch)
        plain = tiny_bert().module(input_ids=batch[:, 0], attention_mask=batch[:, 1], output_hidden_states=True)
        lower, real = plain.hidden_states[1], batch[:, 1].bool()
        norm, gelu = torch.nn.functional.layer_norm, torch.nn.functional.gelu
        state = gelu(delta.downs[0](norm(lower, (24,))))
        state = state + gelu(delta.downs[1](norm(frozen, (24,))) + delta.across[0](state))
        torch.testing.assert_close(upper[real], (frozen + delta.up(state))[real], atol=1e-4, rtol=1e-4)
        mean = torch.stack(plain.hidden_states[1:]).mean(dim=0)
        torch.testing.assert_close(blocks[real], mean[real], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(frozen[real], plain.last_hidden_state[real], atol=1e-4, rtol=1e-4)


@given(st.integers(1, 9), st.sampled_from(["all", "0", "1-2", "0,2"]))
@settings(max_examples=12, deadline=None)
def test_its_parameters_are_counted_by_formula(bottleneck, layers):
    backbone = tiny_bert()
    pat = Side(bottleneck=bottleneck, layers=layers)
    assert pat.grow(backbone, 0).parameter_count == pat.parameter_count(backbone)


@pytest.mark.parametrize("make", TEXT)
def test_infusing_leaves_the_frozen_model_as_it_was(make, tmp_path):
    backbone = make()
    raw = raw_batch(backbone)
    fingerprint, before = backbone.fingerprint(), Encoder(backbone, precision="fp32").features(raw)
    done = infuse(backbone, pairs(), quick(recipe={"steps": 3, "batch": 8, "lr": 1e-2, "warmup": 0}))
    assert backbone.fingerprint() == fingerprint == done.fingerprint
    infused = Encoder(backbone, done.delta, precision="fp32").features(raw)
    assert not torch.allclose(infused, before)
    save_delta(done.delta, tmp_path / "delta")
    done.delta.detach()
    assert torch.equal(Encoder(backbone, precision="fp32").features(raw), before)
    again = load_delta(tmp_path / "delta", make())
    assert not again.notes
    assert torch.equal(Encoder(again.backbone, again, precision="fp32").features(raw), infused)


@pytest.mark.usefixtures("native_bf16")
def test_relations_of_unseen_heads_are_learned():
    backbone = even_bert()
    style = quick(held_out=0.4)
    done = infuse(backbone, pairs(), style)
    first, last = done.course.history[0]["relation"], done.course.history[-1]["relation"]
    assert last < 0.8 * first
    which, whether = ask(backbone, done, style)
    assert {which.question, whether.question} == {"which", "whether"}
    assert len(which.wanted) == len(done.split.held_out) and set(which.wanted) == {0, 1}
    assert which.accuracy("own") > 0.8 > which.accuracy("commonest")
    gain, low, high = which.gain()
    assert low <= gain <= high
    assert gain == pytest.approx(which.accuracy("infused") - which.accuracy("frozen"))


@pytest.mark.usefixtures("native_bf16")
def test_the_same_seed_infuses_the_same():
    states = []
    for seed in (0, 0, 1):
        recipe = {"steps": 3, "batch": 8, "lr": 1e-2, "seed": seed}
        states.append(infuse(tiny_bert(), pairs(), quick(recipe=recipe)).delta.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 0.8), st.integers(0, 50))
def test_held_out_heads_and_their_sentences_are_seen_nowhere_else(share, seed):
    split = split_heads(pairs(), share, seed)
    heads = {each.head for each in split.held_out}
    assert not heads & {word for each in split.train for word in (each.head, each.tail)}
    assert not {each.example for each in split.held_out} & {each.example for each in split.train}
    assert split_heads(pairs()[::-1], share, seed).held_out[::-1] == split.held_out


def test_mentions_stand_where_the_example_has_them_and_the_cue_is_hidden():
    backbone = tiny_bert()
    prepare = backbone.preprocessing
    texts = [pair("red", "flight", "cold", "runs to"), pair("bank", "my card", "warm", "is")]
    (batch,) = Examples(backbone, texts, ("none", "cold", "warm")).batches([0, 1])
    words = prepare.tokenizer.convert_ids_to_tokens
    assert words(batch.tokens[0, 0][batch.heads[0]]) == ["red"] and words(batch.tokens[0, 0][batch.tails[0]]) == [
        "flight"
    ]
    assert words(batch.tokens[1, 0][batch.tails[1]]) == ["my", "card"] and batch.labels.tolist() == [1, 2]
    assert words(batch.tokens[0, 0][:6]) == ["[CLS]", "red", "[UNK]", "[UNK]", "flight", "now"]
    (shown,) = Examples(backbone, texts, ("none", "cold", "warm"), hide=False).batches([0, 1])
    assert torch.equal(shown.tokens, prepare([each.example for each in texts]))


def test_negatives_are_no_known_pairs_and_differ_in_the_tail_alone():
    backbone, known = tiny_bert(), [each for each in pairs() if each.relation == "warm"]
    examples = Examples(backbone, known, ("none", "warm"))
    stated = {(each.head, each.tail) for each in known}
    words, seen = backbone.preprocessing.tokenizer.convert_ids_to_tokens, 0
    for batch in examples.batches(list(range(len(known))), torch_generator(0, "negatives"), 1.0):
        for row in range(len(batch.labels)):
            head, tail = (" ".join(words(batch.tokens[row, 0][mask[row]])) for mask in (batch.heads, batch.tails))
            assert ((head, tail) in stated) == (batch.labels[row] == 1)
            seen += int(batch.labels[row] == 0)
    assert seen > 5


def test_long_examples_are_cut_around_the_mentions():
    backbone = tiny_bert()
    long = Pair(head="cat", relation="warm", tail="dog", example=f"{'now ' * 20}cat is dog{' now' * 20}", cue="is")
    (batch,) = Examples(backbone, [long], ("none", "warm"), window=10).batches([0])
    ids = batch.tokens[0, 0][batch.tokens[0, 1].bool()]
    words = backbone.preprocessing.tokenizer.convert_ids_to_tokens(ids)
    assert len(words) == 10 and words[0] == "[CLS]" and words[-1] == "[SEP]" and {"cat", "dog"} <= set(words)
    far = Pair(head="cat", relation="warm", tail="dog", example=f"cat {'now ' * 20}dog")
    with pytest.raises(FrostlineError, match=r"'cat' and 'dog' do not fit into 10 tokens"):
        Examples(backbone, [far], ("none", "warm"), window=10).batches([0])


def test_features_of_mentions_do_not_depend_on_padding_or_scale():
    backbone = tiny_bert()
    texts = [pair("cat", "dog", "warm", words) for words in ("is", "is now", "runs to", "where")]
    (batch,) = Examples(backbone, texts, ("none", "warm")).batches(range(4))
    states = torch.randn(*batch.heads.shape, 24, generator=torch_generator(0, "states"))
    noisy = torch.where(batch.tokens[:, 1].bool()[..., None], 3.0 * states, torch.full_like(states, 9.0))
    wanted = mention_features(states, batch)
    assert wanted.shape == (4, 96)
    torch.testing.assert_close(mention_features(noisy, batch), wanted, atol=1e-3, rtol=1e-3)
    assert float(turned(states, 2.0 * states, batch)) == pytest.approx(0.0, abs=1e-6)
    assert float(turned(states, -states, batch)) == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize(
    "make, given, words",
    [
        (tiny_vit, pairs, "takes images; relation pairs are infused into a text encoder"),
        (
            tiny_bert,
            lambda: [each for each in pairs() if each.relation == "warm"],
            r"1 relation\(s\): warm .*needs 2 or more",
        ),
        (tiny_bert, lambda: [*pairs()[:60], pair("rome", "now", "odd")], None),
    ],
)
def test_what_cannot_be_infused_is_refused_and_leaves_nothing(make, given, words):
    backbone = make()
    fingerprint = backbone.fingerprint()
    style = quick(held_out=0.85) if words is None else quick()
    with pytest.raises(FrostlineError, match=words or "no pair is left to learn .*held_out=0"):
        infuse(backbone, given(), style)
    assert backbone.fingerprint() == fingerprint
    assert not any(module._forward_hooks for module in backbone.module.modules())


def test_without_held_out_heads_there_is_nothing_to_ask():
    backbone, style = tiny_bert(), quick(held_out=0.0, recipe={"steps": 1})
    done = infuse(backbone, pairs(), style)
    assert not done.split.held_out and len(done.split.train) == len(pairs())
    with pytest.raises(FrostlineError, match="no head was held out"):
        ask(backbone, done, style)


def test_a_student_learns_what_the_side_network_adds():
    backbone = tiny_bert()
    texts = raw_batch(backbone, 40)
    plain = Encoder(backbone, precision="fp32").features(texts)
    delta = Side(bottleneck=4).grow(backbone, 0)
    with torch.no_grad():
        delta.up.bias.copy_(torch.linspace(-0.2, 0.2, 24))
    infused = Encoder(backbone, delta, precision="fp32").features(texts)
    recipe = Recipe(steps=40, batch=20, lr=1e-2)
    done = distil_infused(backbone, texts, 3, recipe)
    student = Encoder(done.student.backbone, precision="fp32").features(texts)
    assert (student - infused).square().mean() < 0.1 * (plain - infused).square().mean()
    with pytest.raises(FrostlineError, match="2 layers do not divide"):
        distil_infused(backbone, texts, 2, recipe)
    with pytest.raises(FrostlineError, match="corpus is empty"):
        distil_infused(backbone, [], 3, recipe)


def test_sentences_are_drawn_once_each():
    documents = [["short", "a sentence that is long enough", "a sentence that is long enough"], ["x" * 30, "y" * 300]]
    assert draw_sentences(documents, 9, 0) == ["a sentence that is long enough", "x" * 30]
    assert len(draw_sentences(documents, 1, 0)) == 1
    with pytest.raises(FrostlineError, match="no sentence of 20 to 200 characters in 1 documents"):
        draw_sentences([["short"]], 9, 0)
