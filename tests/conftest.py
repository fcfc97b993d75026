"""What all tests share: the real clips, a browser, and a deaf ear to no deprecation."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import chromium, open_page

__all__ = ["chromium", "open_page"]

FRAME_COUNTS = {
    "bottle-detection.mp4": 1189,
    "car-detection.mp4": 377,
    "asl-walk.mkv": 89,
    "flower.mp4": 150,
    "nasa_13013.mp4": 325,
    "big_buck_bunny_0_30.webm": 720,
}


def pytest_configure() -> None:
    # What a shell starts in the background is deaf to Ctrl-C, and so would be the commands that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


class _Deprecations(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "deprecat" in message.lower() or "will be removed" in message:
            self.messages.append(message)


@pytest.fixture(autouse=True)
def no_deprecations() -> Iterator[None]:
    """Transformers logs most deprecations instead of warning: such a message fails the test that drew it."""
    heard, logger = _Deprecations(), logging.getLogger("transformers")
    logger.addHandler(heard)
    yield
    logger.removeHandler(heard)
    assert not heard.messages
