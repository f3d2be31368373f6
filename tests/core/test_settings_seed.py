"""Settings refuse what they do not know; seeds are independent and touch no global generator."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from backbones.core.errors import FrostlineError
from backbones.core.seed import derive, lent_generator, numpy_generator, torch_generator
from backbones.core.settings import Settings, parse_pairs


class Inner(Settings):
    rate: float = Field(default=0.1, gt=0)


class Some(Settings):
    length: int = Field(default=10, ge=0, le=100)
    dropout: float = 0.0
    inner: Inner = Field(default_factory=Inner)

    @model_validator(mode="after")
    def _fits(self):
        if self.length == 13:
            raise ValueError("Thirteen is unlucky; take 12")
        return self


def refused(values):
    with pytest.raises(FrostlineError) as caught:
        Some.parse(values, "PAT 'some'")
    return str(caught.value)


def test_strings_are_converted_and_the_object_is_frozen():
    some = Some.parse({"length": "7", "dropout": "0.5", "inner": {"rate": "2"}}, "it")
    assert (some.length, some.dropout, some.inner.rate) == (7, 0.5, 2.0)
    with pytest.raises(ValidationError):
        some.length = 8


def test_an_unknown_key_is_named_with_the_nearest_and_all_known():
    said = refused({"lenght": 3})
    assert said.startswith("settings of PAT 'some': unknown key 'lenght'")
    assert "Did you mean 'length'?" in said and "Known keys: length, dropout, inner" in said
    assert "Did you mean" not in refused({"zzzzz": 3})


def test_an_unknown_inner_key_is_answered_with_the_inner_keys():
    said = refused({"inner": {"rat": 3}})
    assert "'inner.rat'" in said and "'inner.rate'" in said
    assert "length" not in said


def test_a_value_out_of_range_or_of_another_type_is_named_with_the_rule():
    assert "length = 101: input should be less than or equal to 100" in refused({"length": 101})
    assert "length = 'many'" in refused({"length": "many"}) and "integer" in refused({"length": "many"})
    assert "inner.rate = 0" in refused({"inner": {"rate": 0}})
    assert "dropout = inf" in refused({"dropout": float("inf")})
    assert "dropout = nan" in refused({"dropout": float("nan")})


def test_a_rule_over_several_keys_reads_as_a_sentence():
    said = refused({"length": 13})
    assert "thirteen is unlucky; take 12." in said and "Value error" not in said


def test_every_mistake_is_listed():
    said = refused({"length": -1, "drop": 1, "dropout": "x"})
    assert all(word in said for word in ("length = -1", "'drop'", "dropout = 'x'"))


def test_pairs_are_split_at_the_first_sign_and_dashes_are_underscores():
    assert parse_pairs(["head-lr=0.1", "words=a=b", " k = v "], "--set") == {"head_lr": "0.1", "words": "a=b", "k": "v"}
    assert parse_pairs([], "--set") == {}


@pytest.mark.parametrize("word", ["length", "=3", " =3", ""])
def test_a_word_that_is_no_pair_is_refused(word):
    with pytest.raises(FrostlineError, match=r"--pat-set: .*not of the form key=value"):
        parse_pairs([word], "--pat-set")


def test_a_key_given_twice_is_refused():
    with pytest.raises(FrostlineError, match=r"'head_lr' is given twice \('1' and '2'\)"):
        parse_pairs(["head-lr=1", "head_lr=2"], "--tune-set")


WORDS = st.lists(st.text(alphabet="ab1", min_size=0, max_size=3), max_size=3).map(tuple)


@given(st.integers(0, 2**40), WORDS, st.integers(0, 2**40), WORDS)
def test_a_seed_depends_on_every_word_and_on_nothing_else(seed, words, other_seed, other):
    assert derive(seed, *words) == derive(seed, *words)
    assert 0 <= derive(seed, *words) < 2**63
    assert (derive(seed, *words) == derive(other_seed, *other)) == ((seed, words) == (other_seed, other))


def test_purposes_are_independent_and_a_purpose_repeats():
    draws = {word: torch.rand(500, generator=torch_generator(5, word)) for word in ("vpt", "head")}
    assert torch.equal(draws["vpt"], torch.rand(500, generator=torch_generator(5, "vpt")))
    correlation = torch.corrcoef(torch.stack(list(draws.values())))[0, 1]
    assert abs(correlation) < 0.15
    neighbours = [numpy_generator(seed, "order").random(500) for seed in (1993, 1994)]
    assert abs(np.corrcoef(neighbours)[0, 1]) < 0.15
    assert np.array_equal(neighbours[0], numpy_generator(1993, "order").random(500))


def test_global_generators_are_neither_read_nor_moved():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first = torch.rand(3, generator=torch_generator(1, "a")), numpy_generator(1, "a").random(3)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert torch.equal(first[0], torch.rand(3, generator=torch_generator(1, "a")))


def test_dropout_draws_from_a_lent_seed_and_the_old_state_comes_back():
    ones, before = torch.ones(50), torch.get_rng_state()
    found = []
    for seed in (1, 1, 2):
        with lent_generator(seed):
            found.append(torch.nn.functional.dropout(ones, 0.5))
    with pytest.raises(KeyError), lent_generator(1):
        torch.rand(1)
        raise KeyError
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


@pytest.mark.parametrize(("name", "lent"), [("cpu", None), ("cuda", 1), ("cuda:0", 0)])
def test_a_lent_seed_reaches_one_cuda_generator_and_no_other(monkeypatch, name, lent):
    both = tuple(torch.Generator().manual_seed(index) for index in (10, 11))  # stand for those of two devices
    monkeypatch.setattr(torch.cuda, "default_generators", both)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    before = [generator.get_state() for generator in both]
    with lent_generator(5, torch.device(name)):
        assert [generator.initial_seed() for generator in both] == [5 if at == lent else 10 + at for at in (0, 1)]
        torch.rand(3, generator=both[0]), torch.rand(3, generator=both[1])
    after = [generator.get_state() for generator in both]
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [at == lent for at in (0, 1)]


def test_no_other_module_seeds_what_is_global():
    root = Path(__file__).resolve().parents[2]
    seeding = re.compile(r"(torch|cuda|random)\.(manual_)?seed\w*\(|fork_rng|default_generators?|set_(rng_)?state\(")
    found = {
        str(path.relative_to(root))
        for package in ("backbones", "benchmarks", "continual", "zeroshot")
        for path in (root / package).rglob("*.py")
        if seeding.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"backbones/core/seed.py"}
