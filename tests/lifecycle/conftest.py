"""Finished runs of pre-training, which several files look at."""

from __future__ import annotations

import pytest
from run_makers import run_of_images, run_of_text


@pytest.fixture(scope="module")
def text_run(tmp_path_factory):
    return run_of_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def image_run(tmp_path_factory):
    return run_of_images(tmp_path_factory.mktemp("images"))
