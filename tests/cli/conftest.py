"""Models and clips to ask about."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from sharpv.tiny.clip import moving_square
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.video import write_video


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
