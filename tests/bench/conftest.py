"""The toy in the box, and a run small enough to be a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from sharpv.bench.accuracy import run
from sharpv.bench.conditions import ALL, choose_conditions
from sharpv.bench.spec import AccuracySpec
from sharpv.hf.ask import VideoModel, load_model

SMALL = {
    "frames": 4,
    "per_family": 1,
    "control_per_family": 1,
    "families": ("recog", "scene_change", "direction", "caption"),
    "max_new_tokens": 3,
}
EVERY = choose_conditions((ALL,))
FEW = choose_conditions(["sharpv", "random", "blind"])


@contextmanager
def on_one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with on_one_thread():
        yield


@pytest.fixture(scope="session")
def toy() -> VideoModel:
    return load_model(dtype="float32")


def small(**given) -> AccuracySpec:
    return AccuracySpec(**SMALL | given)


@pytest.fixture(scope="session")
def finished(toy, tmp_path_factory) -> tuple[Path, dict]:
    """A run under all conditions: its folder and its summary."""
    folder = tmp_path_factory.mktemp("run")
    # Fixtures of the session come before those of a module.
    with on_one_thread():
        return folder, run(toy, small(conditions=EVERY), folder)
