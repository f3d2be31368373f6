"""Devices and native precisions; layers chosen by words."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backbones.core.errors import FrostlineError
from backbones.core.launch import is_out_of_memory, native_bf16, pick_device
from backbones.pat.layers import pick_layers

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
    monkeypatch.setattr(Path, "read_text", lambda self, *args, **kwargs: flags)
    assert native_bf16(CPU) is native


def test_bf16_is_not_claimed_where_nothing_is_known(monkeypatch):
    def unreadable(self, *args, **kwargs):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert not native_bf16(CPU)
    assert not native_bf16(torch.device("mps"))


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
