"""Every command that computes takes ``--device``, and all that it computes with goes there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import torch
import typer

import backbones.cli
import continual.cli
import zeroshot.cli
from backbones.base import Backbone
from backbones.catalog import LoadOptions, load_backbone
from backbones.core.errors import FrostlineError
from backbones.core.labelled import Labelled
from backbones.encoder import Encoder
from backbones.lifecycle.compress.measure import sample_batch
from backbones.testing import raw_batch, tiny_bert, tiny_encoder, tiny_vit
from backbones.training.tasks import grouped_features

SUPPORT = Path(__file__).resolve().parents[1] / "support"
WITHOUT = {"infuse acquire", "report", "render", "evaluate", "convert", "schema", "lint"}  # they run no model


def leaves(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*words, name))
        if not command.invoke_without_command:
            return
    yield " ".join(words), command


@pytest.mark.parametrize("module", [backbones.cli, continual.cli, zeroshot.cli])
def test_every_command_that_runs_a_model_takes_a_device(module):
    found = dict(leaves(typer.main.get_command(module.app)))
    lacking = {name for name, command in found.items() if not any("--device" in each.opts for each in command.params)}
    assert lacking <= WITHOUT | (set() if module is continual.cli else {""})  # of cil-run, the program itself is one


def test_a_device_that_is_not_there_is_refused_before_anything_is_loaded():
    with pytest.raises(FrostlineError, match="device 'nowhere' cannot be used here"):
        load_backbone("bundled:vit-micro", LoadOptions(weights=Path("/no/such/file"), device="nowhere"))


class ReachedError(Exception):
    """A batch met the weights."""


ENTRANCES = {
    "features": lambda backbone, raw: Encoder(backbone, precision="fp32").features(raw),
    "activations": lambda backbone, raw: Encoder(backbone, precision="fp32").activations(raw, 1),
    "grouped": lambda backbone, raw: grouped_features(backbone, raw),
    "timed": lambda backbone, raw: backbone.features(
        sample_batch(backbone, Labelled(raw, np.zeros(len(raw), dtype=np.int64), ("a",), backbone.modality))
    ),
}


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("make", [tiny_bert, tiny_vit, lambda: tiny_encoder("t5")])
def test_a_batch_meets_weights_where_they_are(make, entrance):
    backbone: Backbone = make()
    raw = raw_batch(backbone)
    backbone.to("meta")  # shapes alone: what is left on the CPU would meet them

    def see(module, args, kwargs):
        given = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)]
        assert given and all(each.device.type == "meta" for each in given)
        raise ReachedError

    backbone.module.register_forward_pre_hook(see, with_kwargs=True)
    backbone.module.get_submodule(backbone.sites("embed")[0].path).register_forward_pre_hook(see, with_kwargs=True)
    with pytest.raises(ReachedError):
        ENTRANCES[entrance](backbone, raw)


@pytest.mark.slow
def test_every_command_runs_on_a_second_device(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT.parents[1]), str(SUPPORT)])}
    words = [sys.executable, str(SUPPORT / "second_device_commands.py"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(found) >= 21
    assert not [(name, said) for name, code, _, said in found if code]
    assert {name for name, _, made, _ in found if not made} == {"infuse acquire"}
