"""Pictures of a page: their size in pixels, what is lost, and that they fit."""

from io import BytesIO

import numpy as np
from PIL import Image

from sharpv.viz.webp import webp_pictures


def opened(picture: bytes) -> np.ndarray:
    image = Image.open(BytesIO(picture))
    assert image.format == "WEBP"
    return np.asarray(image.convert("RGB"))


def noise(m: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (m, height, width, 3), dtype=np.uint8)


def test_small_frames_lose_nothing():
    frames = noise(3, 96, 128)
    assert [opened(picture).tolist() for picture in webp_pictures(frames, 10**6)] == frames.tolist()


def test_large_frames_are_scaled_down_and_keep_their_shape():
    pictures = webp_pictures(np.full((2, 720, 1280, 3), (200, 60, 90), dtype=np.uint8), 10**6)
    for picture in pictures:
        assert opened(picture).shape == (360, 640, 3)
        assert np.abs(opened(picture).astype(int) - (200, 60, 90)).max() <= 6


def test_quality_goes_before_size_and_all_pictures_are_alike():
    frames = noise(4, 360, 640)
    best = webp_pictures(frames, 10**7)
    for share, shape in [
        (0.7, (360, 640, 3)),
        (0.3, (270, 480, 3)),
        (0.1, (180, 320, 3)),
        (0, (90, 160, 3)),
    ]:
        budget = int(share * sum(map(len, best)))
        pictures = webp_pictures(frames, budget)
        assert {opened(picture).shape for picture in pictures} == {shape}
        assert sum(map(len, pictures)) <= budget or share == 0
