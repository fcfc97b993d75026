"""The toy in the box, and a run small enough to be a test."""

from collections.abc import Iterator

import pytest
import torch

from sharpv.bench.spec import AccuracySpec
from sharpv.hf.ask import VideoModel, load_model

SMALL = {
    "frames": 4,
    "per_family": 1,
    "control_per_family": 1,
    "families": ("recog", "scene_change", "direction", "caption"),
    "max_new_tokens": 3,
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def toy() -> VideoModel:
    return load_model(dtype="float32")


def small(**given) -> AccuracySpec:
    return AccuracySpec(**SMALL | given)
