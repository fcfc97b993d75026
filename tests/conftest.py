"""The real clips, where their folder is present."""

import os
from pathlib import Path

import pytest

FRAME_COUNTS = {
    "bottle-detection.mp4": 1189,
    "car-detection.mp4": 377,
    "asl-walk.mkv": 89,
    "flower.mp4": 150,
    "nasa_13013.mp4": 325,
    "big_buck_bunny_0_30.webm": 720,
}


@pytest.fixture(scope="session")
def videos() -> Path:
    default = Path(__file__).parents[1].parent / "shared" / "videos"
    folder = Path(os.environ.get("SHARPV_VIDEOS", default))
    if not folder.is_dir():
        pytest.skip(f"no real clips in {folder}; set SHARPV_VIDEOS to their folder")
    return folder


@pytest.fixture(params=FRAME_COUNTS.items(), ids=FRAME_COUNTS)
def real_clip(request: pytest.FixtureRequest, videos: Path) -> tuple[Path, int]:
    """Path and decoded frame count of one real clip."""
    name, count = request.param
    return videos / name, count
