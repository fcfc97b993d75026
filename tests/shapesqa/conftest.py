"""Clips of the test split, drawn once."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from sharpv.shapesqa import Sample, iterate, render

CLIPS = 80


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    return list(islice(iterate("test", seed=7), CLIPS))


@pytest.fixture(scope="session")
def drawn(samples) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each sample: its frames `[n, 64, 64, 3]` and, for each shape drawn alone, its pixels
    `[shapes, n, 64, 64]`."""
    found = []
    for sample in samples:
        frames = render([sample.scene]).frames[0].permute(0, 2, 3, 1).numpy()
        alone = [replace(sample.scene, shapes=(shape,), noise=0.0) for shape in sample.scene.shapes]
        found.append((frames, render(alone).owner.numpy() == 1))
    return found
