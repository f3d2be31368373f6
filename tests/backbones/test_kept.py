"""Activations kept in memory: the same rows whether kept or computed, and the blocks below run once."""

import pytest
import torch

from backbones.encoder import Encoder, entering
from backbones.pat.stack import make_pat
from backbones.stored import Kept
from backbones.testing import raw_batch, tiny_bert, tiny_vit
from benchmarks.images import ArrayImages
from benchmarks.texts import ArrayTexts

LAYER = 2


def samples_for(backbone, count=11):
    if backbone.modality == "text":
        return ArrayTexts(raw_batch(backbone, count), [0] * count)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 16, 16, 3), dtype=torch.uint8, generator=generator)
    return ArrayImages(images.numpy(), [0] * count)


@pytest.fixture(params=["image", "text"])
def encoder(request):
    backbone = {"image": tiny_vit, "text": tiny_bert}[request.param]()
    delta = make_pat("lora", {}, str(LAYER)).grow(backbone, 0)
    with torch.no_grad():
        for tensor in delta.parameters():
            tensor.fill_(0.1)
    return Encoder(backbone, delta, "fp32", chunk=4)


def features(encoder, rows):
    with torch.no_grad(), entering(encoder.backbone, LAYER) as enter:
        return enter(rows)


def test_kept_rows_are_those_of_the_encoder_to_the_bit(encoder):
    samples = samples_for(encoder.backbone)
    kept = Kept(encoder, samples, LAYER)
    kept.fill()
    order = [7, 0, 3, 10, 3]
    expected = encoder.activations([samples[i] for i in range(len(samples))], LAYER)[order]
    found = kept[order]
    assert kept.kept == len(kept) == len(samples)
    assert torch.equal(found, expected[:, : found.shape[1]])  # texts: padded to the longest of these
    assert not found.is_inference()


@pytest.mark.parametrize("room", [0, 1500, 10_000])
def test_what_has_no_room_is_computed_when_asked_for_also_while_the_backbone_is_entered(encoder, room):
    samples = samples_for(encoder.backbone)
    kept = Kept(encoder, samples, LAYER, room)
    kept.fill()
    assert kept.kept < len(samples)
    whole = encoder.features([samples[i] for i in range(len(samples))])
    order = [10, 1, 0, 9, 5, 4]
    with torch.no_grad(), entering(encoder.backbone, LAYER) as enter:
        found = enter(kept[order])
        assert torch.allclose(found, whole[order], atol=1e-5)
        assert torch.equal(encoder.features([samples[i] for i in range(len(samples))]), whole)


def test_the_blocks_below_run_once_for_each_kept_sample(encoder):
    samples = samples_for(encoder.backbone)
    kept = Kept(encoder, samples, LAYER)
    ran = []
    inside = encoder.backbone.module.get_submodule(encoder.backbone.sites("fc1", 0)[0].path)
    handle = inside.register_forward_hook(lambda *_: ran.append(1))
    told = []
    kept.fill(progress=lambda phase, done, total: told.append((phase, done, total)), phase="below")
    before = len(ran)
    for _ in range(3):
        features(encoder, kept[[0, 5, 2]])
    handle.remove()
    assert before and len(ran) == before
    assert told[-1] == ("below", len(samples), len(samples))
    assert encoder.forwards == pytest.approx(len(samples) * LAYER / encoder.backbone.depth)


def test_memory_that_runs_out_halves_chunk_and_room(encoder, monkeypatch):
    samples = samples_for(encoder.backbone)
    run = Encoder._run

    def tight(self, batch, work):
        if self.chunk > 2:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return run(self, batch, work)

    monkeypatch.setattr(Encoder, "_run", tight)
    kept = Kept(encoder, samples, LAYER)
    kept.fill()
    assert encoder.chunk == 2 and encoder.notes
    assert torch.equal(kept[[4]], encoder.activations([samples[4]], LAYER)[:, : kept[[4]].shape[1]])
