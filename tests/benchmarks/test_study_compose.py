"""The study of composed differences: what is hidden, what is learned from, what is left alone."""

import json
import math

import torch

from backbones.pat.sparse import Sparse
from backbones.testing import text_batch, tiny_bert
from benchmarks.studies.compose import read_domains
from benchmarks.studies.words import IGNORED, domain_difference, masked


def test_hides_fifteen_percent_of_words_and_no_special_token():
    length, words = 400, 1000
    ids = torch.randint(5, words, (50, length), generator=torch.Generator().manual_seed(0))
    batch = torch.stack([ids, torch.ones_like(ids), torch.zeros_like(ids)], dim=1)
    batch[:, 1, 300:], batch[:, 2, 0], batch[:, 0, 0] = 0, 1, 2
    hidden, wanted = masked(batch, 3, words, torch.Generator().manual_seed(1))
    chosen = wanted != IGNORED
    assert not chosen[:, 0].any() and not chosen[:, 300:].any()
    assert abs(chosen[:, 1:300].float().mean().item() - 0.15) < 0.01
    assert torch.equal(wanted[chosen], batch[:, 0][chosen]) and torch.equal(hidden[:, 0][~chosen], batch[:, 0][~chosen])
    assert abs((hidden[:, 0][chosen] == 3).float().mean().item() - 0.8) < 0.03
    assert abs((hidden[:, 0][chosen] == wanted[chosen]).float().mean().item() - 0.1) < 0.03
    assert torch.equal(hidden[:, 1:], batch[:, 1:])


def test_a_domain_difference_changes_k_weights_and_leaves_the_backbone_as_it_was():
    backbone = tiny_bert()
    backbone.preprocessing.tokenizer.mask_token = "[UNK]"
    before = backbone.fingerprint()
    texts = text_batch(backbone, 40)
    found = domain_difference(backbone, Sparse(k=30), texts, texts[:8], 2, 1e-2, 1)
    assert backbone.fingerprint() == before and found.k == 30 and found.values.any()
    assert found.settings["loss_after"] != found.settings["loss_without"]
    assert all(math.isfinite(found.settings[key]) for key in ("loss_before", "loss_after", "loss_without"))


def test_no_test_sentence_is_learned_from(tmp_path):
    rows = [[f"a film {n}", str(n % 2)] for n in range(30)]
    products = [[f"a phone {n % 25}", str(n % 2)] for n in range(30)]
    path = tmp_path / "sets.json"
    path.write_text(json.dumps({"stsa.binary.train": rows[:20], "stsa.binary.dev": rows[15:], "custrev.all": products}))
    found = read_domains(path, 6)
    for own, test in ((found.films, found.films_test), (found.products, found.products_test)):
        assert len(test.texts) == 6 == len(test.labels) and not set(own.texts) & set(test.texts)
        assert len(set(own.texts)) == len(own.texts)
