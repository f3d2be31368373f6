"""Devices and native precisions; layers chosen by words."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from backbones.core.launch import autocast, is_out_of_memory, native_bf16, pick_device, pick_precision
from backbones.encoder import Encoder
from backbones.pat.layers import pick_layers
from backbones.testing_models import tiny_vit

CPU = torch.device("cpu")


def test_devices_by_name():
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x", "", "meta"])
def test_an_unusable_device_is_named(name):
    with pytest.raises(FrostlineError) as caught:
        pick_device(name)
    assert f"device {name!r} cannot be used here" in str(caught.value) and "pass cpu or auto" in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "native"),
    [
        ("flags : fpu sse2 avx2 avx512f avx512_bf16", True),
        ("flags : fpu amx_bf16 amx_tile", True),
        ("flags : fpu sse2 avx2 fma", False),
        ("flags : avx512f avx512_vnni", False),
        ("", False),
    ],
)
def test_bf16_is_claimed_by_the_processors_flags_alone(monkeypatch, flags, native):
    monkeypatch.delenv("FROSTLINE_NATIVE_BF16", raising=False)
    monkeypatch.setattr(Path, "read_text", lambda self, *args, **kwargs: flags)
    assert native_bf16(CPU) is native
    assert pick_precision("auto", CPU) == ("bf16" if native else "fp32")
    assert [pick_precision(name, CPU) for name in ("fp32", "bf16")] == ["fp32", "bf16"]


def test_bf16_is_not_claimed_where_nothing_is_known(monkeypatch):
    def unreadable(self, *args, **kwargs):
        raise FileNotFoundError

    monkeypatch.delenv("FROSTLINE_NATIVE_BF16", raising=False)

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert not native_bf16(CPU)
    assert not native_bf16(torch.device("mps"))


@pytest.mark.parametrize("native", [True, False])
def test_whether_bf16_is_native_can_be_said(monkeypatch, native):
    monkeypatch.setenv("FROSTLINE_NATIVE_BF16", str(int(native)))
    assert native_bf16(CPU) is native_bf16(torch.device("cuda")) is native
    assert Encoder(tiny_vit()).precision == ("bf16" if native else "fp32")


def test_another_word_for_it_is_refused(monkeypatch):
    monkeypatch.setenv("FROSTLINE_NATIVE_BF16", "yes")
    with pytest.raises(FrostlineError, match=r"FROSTLINE_NATIVE_BF16='yes': it is 1 .* 0 .* or not set"):
        pick_precision("auto", CPU)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("around", [False, True])
def test_autocast_computes_what_it_is_told_inside_another_too(precision, around):
    rows = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16, enabled=around), autocast(CPU, precision):
        assert (rows @ rows).dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)


def test_fp32_needs_no_autocast_of_the_device():
    with autocast(torch.device("meta"), "fp32"):
        assert (torch.ones(2, 2, device="meta") @ torch.ones(2, 2, device="meta")).dtype == torch.float32


def test_out_of_memory_is_told_from_other_errors():
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55, dtype=torch.float64)
    assert is_out_of_memory(caught.value)


@given(st.sets(st.integers(0, 30), min_size=1), st.randoms(use_true_random=False))
def test_layers_written_in_any_way_are_read_back(layers, shuffler):
    words, rest = [], sorted(layers)
    while rest:
        run = 1
        while run < len(rest) and rest[run] == rest[0] + run and shuffler.random() < 0.7:
            run += 1
        words.append(f"{rest[0]}-{rest[run - 1]}" if run > 1 else shuffler.choice([f"{rest[0]}", f" {rest[0]} "]))
        rest = rest[run:]
    words.append(words[0])
    shuffler.shuffle(words)
    assert pick_layers(",".join(words), 31) == sorted(layers)


def test_all_layers():
    assert pick_layers(" all ", 3) == [0, 1, 2]
    assert pick_layers("0", 1) == pick_layers("0-0", 1) == [0]


@pytest.mark.parametrize("words", ["", "a", "1,,2", "1-", "-1", "1-2-3", "1.5", "1;2", "All"])
def test_words_of_another_form_are_refused(words):
    with pytest.raises(FrostlineError, match=r"is neither a layer nor a range; write 6-11, 0,2,4 or all"):
        pick_layers(words, 12)


@pytest.mark.parametrize("words", ["12", "0-12", "3,99", "5-4"])
def test_layers_out_of_range_or_backwards_are_refused(words):
    with pytest.raises(FrostlineError, match=r"does not fit; layers run from 0 to 11, lower end first"):
        pick_layers(words, 12)
