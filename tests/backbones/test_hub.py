"""The real download paths of timm and transformers, against a hub on loopback."""

import json
import time

import pytest
import timm
import torch
from hub_client import run_with_hub
from loopback import Corrupt, Cut, Status
from safetensors.torch import save

from backbones.catalog import LoadOptions, load_backbone
from backbones.core.artifacts import digest_tensors
from backbones.core.errors import FrostlineError
from backbones.hub import _reachable
from backbones.testing import tiny_bert

NAME, REPO, WEIGHTS = "timm:test_vit", "timm/test_vit.r160_in1k", "model.safetensors"
TOWER = "hf:someone/tower"
DEAD = "http://127.0.0.1:9"  # nobody listens there
LOAD = """
import sys
from backbones.catalog import load_backbone
from backbones.core.artifacts import digest_tensors
for name in sys.argv[1:]:
    print("loaded", digest_tensors(load_backbone(name).module.state_dict()))
"""


@pytest.fixture(scope="module")
def files():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("test_vit", num_classes=1000)
    config = {"architecture": "test_vit", "num_classes": 1000, "pretrained_cfg": {"tag": "r160_in1k"}}
    return {"config.json": json.dumps(config).encode(), WEIGHTS: save(model.state_dict(), {"format": "pt"})}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import ViTConfig, ViTModel

    path = tmp_path_factory.mktemp("tower")
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ViTModel(ViTConfig(**sizes, image_size=16, patch_size=4)).save_pretrained(path)
    config = {"image_processor_type": "ViTImageProcessor", "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    (path / "preprocessor_config.json").write_text(json.dumps(config))
    return path


@pytest.fixture
def hub(loopback, tmp_path, monkeypatch):
    """Let this process take ``loopback`` for the hub and an empty folder for its cache."""
    from huggingface_hub import constants, hf_api

    def at(endpoint):
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        url = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setattr(hf_api.api, "endpoint", endpoint)

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    at(loopback.endpoint)
    loopback.at = at
    return loopback


def digest(name):
    return f"loaded {digest_tensors(load_backbone(name).module.state_dict())}"


def refused(name):
    began = time.perf_counter()
    with pytest.raises(FrostlineError) as caught:
        load_backbone(name)
    return str(caught.value), time.perf_counter() - began


def test_names_are_downloaded_once_and_found_without_the_hub(hub, tmp_path, files, folder):
    hub.add_repo(REPO, files)
    hub.add_repo("someone/tower", {path.name: path.read_bytes() for path in folder.iterdir()})
    done = run_with_hub(hub.endpoint, tmp_path, LOAD, NAME, TOWER)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    fresh = [line for line in done.stdout.splitlines() if line.startswith("loaded")]
    downloads = [asked for asked in hub.requests if asked.method == "GET" and asked.path.endswith(WEIGHTS)]
    assert len(downloads) == 2
    assert [digest(NAME), digest(TOWER)] == fresh  # the cache that the process filled is this one's too
    hub.at(DEAD)
    began, asked = time.perf_counter(), len(hub.requests)
    assert [digest(NAME), digest(TOWER)] == fresh
    assert time.perf_counter() - began < 10 and len(hub.requests) == asked
    assert len([asked for asked in hub.requests if asked.method == "GET" and asked.path.endswith(WEIGHTS)]) == 2
    same = load_backbone(str(folder))
    assert digest(TOWER) == f"loaded {digest_tensors(same.module.state_dict())}"
    assert load_backbone(TOWER).preprocessing == same.preprocessing and same.preprocessing.mean == (0.4, 0.5, 0.6)


def test_loading_from_the_hub_touches_no_global_generator(hub, files):
    hub.add_repo(REPO, files)
    before = torch.get_rng_state()
    load_backbone(NAME)
    assert torch.equal(torch.get_rng_state(), before)


def test_downloaded_weights_are_those_of_the_file(hub, tmp_path, files):
    hub.add_repo(REPO, files)
    (tmp_path / "w.safetensors").write_bytes(files[WEIGHTS])
    local = load_backbone(NAME, LoadOptions(tmp_path / "w.safetensors"))
    found = load_backbone(NAME)
    assert found.fingerprint() == local.fingerprint() and found.preprocessing == local.preprocessing


def test_without_network_or_cache_the_error_says_what_to_pass_and_comes_soon(hub):
    hub.at(DEAD)
    for name in (NAME, TOWER):
        text, took = refused(name)
        assert text.startswith(f"cannot load the weights of {name!r}")
        for words in ("--weights FILE.safetensors", "bundled:vit-micro", "HF_ENDPOINT", "HF_HOME"):
            assert words in text
        assert took < 10
    assert not hub.requests


def test_names_that_the_hub_does_not_know_are_told(hub):
    text, _ = refused("hf:someone/nothing")
    assert "cannot load the weights of 'hf:someone/nothing'" in text and "someone/nothing is not" in text


def test_a_cut_connection_is_mended(hub, files):
    hub.add_repo(REPO, files)
    path = hub.repo_path(REPO, WEIGHTS)
    hub.fault(path, Cut(after=50_000))
    local = digest(NAME)
    assert len(hub.ranges(path)) == 2
    hub.at(DEAD)
    assert digest(NAME) == local


def test_a_hub_that_refuses_is_told_and_the_next_call_succeeds(hub, files):
    hub.add_repo(REPO, files)
    hub.fault(hub.repo_path(REPO, WEIGHTS), Status(403))
    text, took = refused(NAME)
    assert "cannot load the weights of 'timm:test_vit'" in text and "--weights" in text and took < 10
    assert digest(NAME).startswith("loaded")


@pytest.mark.parametrize("at", [3, -40], ids=["header", "numbers"])
def test_bytes_with_another_checksum_are_refused_removed_and_loaded_anew(hub, files, at):
    hub.add_repo(REPO, files)
    path = hub.repo_path(REPO, WEIGHTS)
    hub.fault(path, Corrupt(at=at % len(files[WEIGHTS])))
    text, _ = refused(NAME)
    assert "the download of 'timm:test_vit' is damaged: model.safetensors has another SHA-256" in text
    assert "removed" in text and "again" in text
    assert digest(NAME).startswith("loaded")
    assert len(hub.ranges(path)) == 2


def test_a_cached_file_that_rotted_is_noticed_without_the_hub(hub, tmp_path, files):
    hub.add_repo(REPO, files)
    load_backbone(NAME)
    (link,) = (tmp_path / "hub").rglob(WEIGHTS)
    content = bytearray(link.read_bytes())
    content[-1] ^= 1
    link.resolve().write_bytes(content)
    hub.at(DEAD)
    assert "the download of 'timm:test_vit' is damaged" in refused(NAME)[0]
    assert not list((tmp_path / "hub").rglob(WEIGHTS))


def test_a_proxy_that_answers_counts_as_reachable(loopback, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    began = time.perf_counter()
    assert _reachable(loopback.endpoint)
    assert not _reachable("http://127.0.0.1:9")
    assert not _reachable("http://127.0.0.1:nine")
    monkeypatch.setenv("http_proxy", loopback.endpoint)
    assert _reachable("http://hub.invalid")
    monkeypatch.setenv("http_proxy", "127.0.0.1:9")
    assert not _reachable("http://hub.invalid")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert _reachable(loopback.endpoint)
    assert time.perf_counter() - began < 5


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """A tiny sentence encoder that states its pooling as sentence-transformers does."""
    path = tmp_path_factory.mktemp("sentences")
    backbone = tiny_bert()
    backbone.module.save_pretrained(path)
    backbone.preprocessing.tokenizer.save_pretrained(path)
    steps = [{"type": "x.Transformer", "path": ""}, {"type": "x.Pooling", "path": "1_Pooling"}, {"type": "x.Normalize"}]
    (path / "modules.json").write_text(json.dumps(steps))
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    return path


FEATURES = """
import sys
from backbones.catalog import load_backbone
backbone = load_backbone(sys.argv[1])
print(backbone.features(backbone.preprocessing(["the cat", "my card now"])).tolist())
"""


@pytest.mark.slow  # a fresh process, as in the first test of this file
def test_a_text_encoder_comes_with_the_pooling_that_its_repository_states(loopback, tmp_path, sentences):
    files = {str(p.relative_to(sentences)): p.read_bytes() for p in sentences.rglob("*") if p.is_file()}
    loopback.add_repo("someone/sentences", files)
    done = run_with_hub(loopback.endpoint, tmp_path, FEATURES, "hf:someone/sentences")
    assert done.returncode == 0, done.stderr
    here = load_backbone(str(sentences))
    batch = here.preprocessing(["the cat", "my card now"])
    found = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    torch.testing.assert_close(found, here.features(batch).detach())
    assert torch.allclose(found.norm(dim=1), torch.ones(2))  # divided by their length, as it states
    mean = load_backbone(str(sentences), LoadOptions(pooling="mean")).features(batch)
    assert not torch.allclose(mean.norm(dim=1), torch.ones(2))
