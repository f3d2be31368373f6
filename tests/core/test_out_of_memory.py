"""When memory runs out, the failed pass is freed before a smaller one is tried."""

import weakref

import pytest
import torch

from backbones.core.launch import fitting
from backbones.encoder import Encoder
from backbones.testing import image_batch, tiny_vit


class Greedy:
    """A pass that fails for more than ``most`` rows, and says whether the tensors of the one that failed still live."""

    def __init__(self, most, run):
        self.most, self.run, self.failed, self.seen = most, run, [], []

    def __call__(self, batch):
        self.seen.append(any(ref() is not None for ref in self.failed))
        if len(batch) > self.most:
            held = torch.zeros(1000)
            self.failed.append(weakref.ref(held))
            raise torch.OutOfMemoryError("out of memory")
        return self.run(batch)


def test_a_failed_pass_of_an_encoder_is_freed_before_the_next(monkeypatch):
    backbone = tiny_vit()
    encoder = Encoder(backbone, precision="fp32", chunk=8)
    raw = image_batch(backbone, 8)
    whole = Encoder(backbone, precision="fp32", chunk=2).features(raw)
    greedy = Greedy(2, backbone.features)
    monkeypatch.setattr(backbone, "features", greedy)
    assert torch.equal(encoder.features(raw), whole)
    assert encoder.chunk == 2 and len(greedy.failed) == 2
    assert not any(greedy.seen), "the tensors of a failed pass are alive while the next one runs"


def test_what_is_no_lack_of_memory_is_raised_and_so_is_the_smallest_pass():
    def fail(error):
        raise error

    assert fitting(lambda: fail(MemoryError()), smallest=False) is None
    assert fitting(lambda: 3, smallest=False) == 3
    with pytest.raises(MemoryError):
        fitting(lambda: fail(MemoryError()), smallest=True)
    with pytest.raises(RuntimeError, match="other"):
        fitting(lambda: fail(RuntimeError("other")), smallest=False)
