"""Models and clips to ask about."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from sharpv.tiny.clip import moving_square
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.tiny.shapes import SHAPES
from sharpv.video import write_video

SMALL_TEXT = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 96,
    "vocab_size": 400,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SMALL_TOWER = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Callable[[str], Path]:
    """Gives a folder with a saved tiny model of a family, with small frames."""

    @cache
    def folder(family: str) -> Path:
        path = tmp_path_factory.mktemp(family)
        model, processor = RANDOM_MODELS[family](image_size=112)
        model.save_pretrained(path)
        processor.save_pretrained(path)
        return path

    return folder


@pytest.fixture(scope="session")
def model(model_folder) -> str:
    return str(model_folder("llava_onevision"))


@pytest.fixture
def clip(tmp_path) -> Path:
    path = tmp_path / "clip.mp4"
    write_video(moving_square(frames=12, height=96, width=128), path, fps=6)
    return path


@pytest.fixture
def small_shape(monkeypatch) -> str:
    """Adds a shape of two decoder layers, and frames of the usual size."""
    whole = SHAPES["llava-onevision-0.5b"]
    small = replace(whole, text={**whole.text, **SMALL_TEXT}, vision={**whole.vision, **SMALL_TOWER})
    monkeypatch.setitem(SHAPES, "small", small)
    return "small"
