"""Every registered head keeps the public contract."""

import pytest
import torch

from continual.heads import HEADS
from continual.testing import check_head


@pytest.mark.parametrize("name", HEADS.names())
@pytest.mark.parametrize("width", [16, 40])
def test_head_keeps_the_contract(name: str, width: int) -> None:
    torch.set_num_threads(1)
    smaller = {"ranpac": {"units": 200}}.get(name, {})
    check_head(HEADS.load(name).parse(smaller, f"head {name!r}"), width=width, seed=3)


@pytest.mark.parametrize("name", HEADS.names())
def test_registered_name_is_the_settings_name(name: str) -> None:
    assert HEADS.load(name).name == name
