"""Folders of PEFT: what is written is read again, here and by PEFT; what cannot be read says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from backbones.core.artifacts import save_tensors
from backbones.core.errors import FrostlineError
from backbones.pat.peft_files import METHODS, is_peft, read_peft, write_peft

CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["attn.qkv"]}
TENSORS = {"base_model.model.attn.qkv.lora_A.weight": torch.arange(6.0).view(2, 3)}


def _message(folder: Path) -> str:
    with pytest.raises(FrostlineError) as caught:
        read_peft(folder)
    return str(caught.value)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_peft(tmp_path / "new" / "adapter", CONFIG, TENSORS)
    config, tensors = read_peft(tmp_path / "new" / "adapter")
    assert config == CONFIG
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert is_peft(tmp_path / "new" / "adapter") and not is_peft(tmp_path)


def test_dtypes_are_kept(tmp_path: Path) -> None:
    half = {name: value.to(torch.bfloat16) for name, value in TENSORS.items()}
    write_peft(tmp_path, CONFIG, half)
    assert read_peft(tmp_path)[1]["base_model.model.attn.qkv.lora_A.weight"].dtype == torch.bfloat16


def test_the_methods_are_methods_of_peft() -> None:
    peft = pytest.importorskip("peft")
    assert METHODS.keys() <= {kind.value for kind in peft.PeftType}


def test_no_folder(tmp_path: Path) -> None:
    assert "is no folder" in _message(tmp_path / "absent")


def test_no_configuration(tmp_path: Path) -> None:
    save_tensors(tmp_path / "adapter_model.safetensors", TENSORS)
    assert "has no adapter_config.json" in _message(tmp_path)


def test_no_weights(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    assert "no adapter_model.safetensors" in _message(tmp_path)


def test_a_pickle_alone_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    torch.save(TENSORS, tmp_path / "adapter_model.bin")
    message = _message(tmp_path)
    assert "adapter_model.bin" in message and "pickle" in message
    assert "save_file(torch.load('adapter_model.bin', weights_only=True)" in message


def test_damaged_json(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": ')
    assert "not readable as JSON" in _message(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"peft_type": null}'])
def test_no_peft_type(tmp_path: Path, content: str) -> None:
    (tmp_path / "adapter_config.json").write_text(content)
    assert "states no peft_type" in _message(tmp_path)


def test_unknown_peft_type_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({**CONFIG, "peft_type": "LORRA"}))
    message = _message(tmp_path)
    assert "unknown peft_type 'LORRA'" in message and "Did you mean 'LORA'" in message


def test_damaged_weights(tmp_path: Path) -> None:
    write_peft(tmp_path, CONFIG, TENSORS)
    whole = (tmp_path / "adapter_model.safetensors").read_bytes()
    (tmp_path / "adapter_model.safetensors").write_bytes(whole[:-5])
    assert "not a readable safetensors file" in _message(tmp_path)


def test_an_empty_file_of_weights(tmp_path: Path) -> None:
    write_peft(tmp_path, CONFIG, {})
    assert "holds no tensors" in _message(tmp_path)
