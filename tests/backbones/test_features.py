"""The feature store: hits by content, never stale, sound after corruption, shared by processes."""

import hashlib
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from backbones.core.preprocess import Preprocessing
from backbones.encoder import Encoder
from backbones.features import FeatureStore
from backbones.pat.vpt import Vpt
from backbones.testing import tiny_vit


class Images:
    modality = "image"

    def __init__(self, count=10, seed=0):
        self.pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        return self.pixels[index]

    def digests(self):
        rows = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in self.pixels]
        return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, 16)


@pytest.fixture
def encoder():
    return Encoder(tiny_vit(), precision="fp32", chunk=4)


def shards(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def test_second_time_runs_no_forward_and_gives_the_same_bits(tmp_path, encoder):
    images = Images()
    first = FeatureStore(tmp_path).features(encoder, images)
    spent = encoder.forwards
    again = FeatureStore(tmp_path)
    assert torch.equal(again.features(encoder, images), first)
    assert encoder.forwards == spent == len(images)
    assert (again.hits, again.misses) == (len(images), 0)


def test_rows_follow_the_order_asked_for_and_repeats_are_encoded_once(encoder):
    images = Images()
    store = FeatureStore(None)
    whole = store.features(encoder, images)
    order = [7, 0, 0, 3]
    images.pixels = images.pixels[order]
    assert torch.equal(store.features(encoder, images), whole[order])
    fresh = Encoder(encoder.backbone, precision="fp32", chunk=4)
    assert torch.equal(FeatureStore(None).features(fresh, images), whole[order])
    assert fresh.forwards == 3


def test_only_new_samples_are_encoded(tmp_path, encoder):
    some, more = Images(6), Images(6)
    more.pixels = np.concatenate([some.pixels, Images(3, seed=1).pixels])
    FeatureStore(tmp_path).features(encoder, some)
    before = encoder.forwards
    store = FeatureStore(tmp_path)
    assert store.missing(encoder, more) == 3
    assert torch.equal(store.features(encoder, more), FeatureStore(None).features(encoder, more))
    assert encoder.forwards - before == 3 + 9


def test_a_changed_weight_delta_transform_precision_or_file_is_never_served_stale(tmp_path, encoder):
    images, store, seen = Images(), FeatureStore(tmp_path), []

    def fresh(encoder):
        before = encoder.forwards
        rows = store.features(encoder, images)
        assert encoder.forwards > before, "a stale entry was served"
        assert all(not torch.equal(rows, other) for other in seen)
        seen.append(rows)

    fresh(encoder)
    with torch.no_grad():
        encoder.backbone.module.get_submodule("blocks.1.mlp.fc1").bias[0] += 0.5
    fresh(encoder)
    delta = Vpt(length=2).grow(encoder.backbone, 0)
    prompted = Encoder(encoder.backbone, delta, precision="fp32", chunk=4)
    fresh(prompted)
    with torch.no_grad():
        delta.prompts[0, 0, 0] += 0.5
    fresh(prompted)
    delta.detach()
    encoder.backbone.preprocessing = Preprocessing(16, mode="crop", crop_share=0.5)
    fresh(encoder)
    images.pixels[3, 2:6, 2:6] ^= 255
    before = encoder.forwards
    assert not torch.equal(store.features(encoder, images)[3], seen[-1][3])
    assert encoder.forwards == before + 1
    assert encoder.key() != Encoder(encoder.backbone, precision="bf16", chunk=4).key()


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-40], lambda b: b[:100] + bytes([b[100] ^ 1]) + b[101:], lambda b: b""]
)
def test_a_truncated_or_corrupt_entry_is_removed_and_computed_again(tmp_path, encoder, damage):
    images = Images()
    first = FeatureStore(tmp_path).features(encoder, images)
    (path,) = shards(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    store, before = FeatureStore(tmp_path), encoder.forwards
    assert torch.equal(store.features(encoder, images), first)
    assert encoder.forwards == before + len(images)
    assert "corrupt entry" in store.notes[0]
    assert FeatureStore(tmp_path).missing(encoder, images) == 0


@pytest.mark.parametrize("layer", [None, 2])
def test_an_entry_that_lies_in_the_folder_of_another_key_is_never_served(tmp_path, encoder, layer):
    images, other = Images(), Encoder(encoder.backbone, precision="fp32", chunk=2)

    def ask(store: FeatureStore, by: Encoder) -> torch.Tensor:
        if layer is None:
            return store.features(by, images)
        return store.activations(by, images, layer)[range(len(images))]

    ask(FeatureStore(tmp_path), encoder)
    (path,) = shards(tmp_path)
    encoder.backbone.module.norm.weight.data.mul_(2.0)
    encoder.backbone.module.blocks[0].norm1.weight.data.mul_(2.0)
    encoder.backbone.module.requires_grad_(False)
    wanted = ask(FeatureStore(None if layer is None else tmp_path / "fresh"), other)
    key = other.key(layer)
    place = tmp_path / key[:2] / key / path.name
    place.parent.mkdir(parents=True)
    place.write_bytes(path.read_bytes())
    store = FeatureStore(tmp_path)
    assert torch.equal(ask(store, other), wanted)
    assert "an entry of other weights" in store.notes[0] and not place.exists() and path.exists()


def test_activations_continue_to_the_same_bits(tmp_path, encoder):
    images, layer = Images(), 2
    delta = Vpt(layers="2", length=3).grow(encoder.backbone, 0)
    prompted = Encoder(encoder.backbone, delta, precision="fp32", chunk=4)
    direct = FeatureStore(None).features(prompted, images)
    store = FeatureStore(tmp_path)
    stored = store.activations(prompted, images, layer)
    assert stored[[0, 3]].shape == (2, encoder.backbone.tokens, encoder.backbone.width)
    before = prompted.forwards
    assert torch.equal(store.features(prompted, images), direct)
    depth = encoder.backbone.depth
    assert prompted.forwards - before == pytest.approx(len(images) * (1 - layer / depth))
    # Below the delta the activations are those of the bare backbone: another delta finds them too.
    delta.detach()
    other = Vpt(layers="2", length=1).grow(encoder.backbone, 1)
    assert store.stored(Encoder(encoder.backbone, other, precision="fp32", chunk=4), images, layer) is not None
    other.detach()


def test_an_interrupted_extraction_keeps_what_it_computed(tmp_path, encoder):
    def stop(_phase, done, _total):
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FeatureStore(tmp_path).features(encoder, Images(), progress=stop)
    assert FeatureStore(tmp_path).missing(encoder, Images()) == 2


def test_when_memory_runs_out_the_chunk_is_halved_and_said(tmp_path, encoder, monkeypatch):
    images, real = Images(), encoder.backbone.features

    def small_memory(batch):
        if len(batch) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return real(batch)

    monkeypatch.setattr(encoder.backbone, "features", small_memory)
    rows = FeatureStore(tmp_path).features(encoder, images)
    assert encoder.chunk == 2
    assert "halved to 2" in encoder.notes[0]
    monkeypatch.undo()
    assert torch.equal(rows, Encoder(encoder.backbone, precision="fp32", chunk=2).features(list(images.pixels)))


def _work(folder, seed, waits=False):
    torch.set_num_threads(1)
    if waits:  # so that both are at it at the same time
        (Path(folder) / "ready").touch()
        while not (Path(folder) / "go").exists():
            time.sleep(0.001)
    FeatureStore(Path(folder)).features(Encoder(tiny_vit(), precision="fp32", chunk=4), Images(30, seed))


def test_two_processes_share_one_store(tmp_path, encoder):
    spawn = multiprocessing.get_context("spawn")
    other = spawn.Process(target=_work, args=(str(tmp_path), 5, True))
    other.start()
    while not (tmp_path / "ready").exists():
        assert other.is_alive()
        time.sleep(0.02)
    (tmp_path / "go").touch()
    _work(str(tmp_path), 5)  # this process is the second
    other.join(120)
    assert other.exitcode == 0
    store = FeatureStore(tmp_path)
    assert store.missing(encoder, Images(30, 5)) == 0
    assert torch.equal(store.features(encoder, Images(30, 5)), FeatureStore(None).features(encoder, Images(30, 5)))
    assert store.notes == []
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_that_takes_nothing_slows_the_work_and_says_so(tmp_path, encoder):
    wanted = FeatureStore(None).features(encoder, Images())
    (tmp_path / "file").write_text("")
    store = FeatureStore(tmp_path / "file")
    assert torch.equal(store.features(encoder, Images()), wanted)
    assert torch.equal(store.features(encoder, Images()), wanted)
    rows = store.activations(encoder, Images(), 1)
    assert torch.equal(rows[[2, 0]], encoder.activations([Images()[2], Images()[0]], 1))
    assert all("the feature store keeps nothing more, the run goes on without it" in note for note in store.notes)


def test_a_store_that_vanishes_or_may_only_be_read_is_computed_around(tmp_path, encoder, monkeypatch):
    store = FeatureStore(tmp_path)
    wanted = store.features(encoder, Images())
    rows = store.activations(encoder, Images(), 1)
    kept = rows[[0, 1, 2]]
    again = FeatureStore(tmp_path).activations(encoder, Images(), 1)
    for shard in tmp_path.rglob("*.safetensors"):
        shard.unlink()
    assert torch.equal(again[[2, 0]], kept[[2, 0]]), "activations that are gone are computed, to the same bits"
    assert torch.equal(FeatureStore(tmp_path).features(encoder, Images()), wanted)

    def refuse(method):
        def refused(path, *args, **named):
            if path.suffix == ".safetensors":
                raise PermissionError(13, "Permission denied")
            return method(path, *args, **named)

        return refused

    (shard,) = tmp_path.rglob("*.safetensors")
    shard.write_bytes(b"damaged")
    monkeypatch.setattr(Path, "unlink", refuse(Path.unlink))
    bound = FeatureStore(tmp_path)
    assert torch.equal(bound.features(encoder, Images()), wanted)
    assert "a corrupt entry of the feature store was passed over" in bound.notes[0]
    monkeypatch.setattr(Path, "read_bytes", refuse(Path.read_bytes))
    blind = FeatureStore(tmp_path)
    assert torch.equal(blind.features(encoder, Images()), wanted)
    assert "cannot be read (Permission denied)" in blind.notes[0]
