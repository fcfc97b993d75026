"""Clips made through PyAV."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sharpv.video.rgb import SMOOTH_COLOURS


@pytest.fixture(scope="session")
def pictures() -> Callable[..., np.ndarray]:
    """n different pictures: a pattern that moves, [n, h, w, 3]."""

    def draw(n: int, height: int = 48, width: int = 64) -> np.ndarray:
        rng = np.random.default_rng(0)
        blocks = rng.integers(0, 256, (height // 8 + 1, (width + 2 * n) // 8 + 1, 3), dtype=np.uint8)
        scene = np.kron(blocks, np.ones((8, 8, 1), dtype=np.uint8))
        return np.stack([scene[:height, 2 * i : 2 * i + width] for i in range(n)])

    return draw


@pytest.fixture(scope="session")
def encode(
    pictures: Callable[..., np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., bytes]:
    """Encodes pictures (or n made ones) to the bytes of a file; `times` are milliseconds."""

    def encode(
        frames: np.ndarray | int = 120,
        codec: str = "libx264",
        container: str = "mp4",
        pix_fmt: str = "yuv420p",
        options: dict[str, str] | None = None,
        times: list[int] | None = None,
        muxing: dict[str, str] | None = None,
    ) -> bytes:
        if codec not in av.codecs_available:
            pytest.skip(f"this FFmpeg has no {codec}")
        frames = pictures(frames) if isinstance(frames, int) else frames
        path = tmp_path_factory.mktemp("clip") / "clip"
        with av.open(path, "w", format=container, options=muxing or {}) as out:
            stream = out.add_stream(codec, rate=25, options=options or {})
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
            if times is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            for i, picture in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                if times is not None:
                    frame.pts, frame.time_base = times[i], Fraction(1, 1000)
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
        return path.read_bytes()

    return encode


@pytest.fixture(scope="session")
def decode_all() -> Callable[..., np.ndarray]:
    """The ground truth: the first frames of a stream (all by default), decoded in order."""

    def decode_all(source: Path | bytes, stream: int = 0, limit: int = 1 << 30) -> np.ndarray:
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else source) as container:
            frames = []
            for packet in container.demux(container.streams.video[stream]):
                if len(frames) >= limit:
                    break
                try:
                    frames += packet.decode()
                except av.FFmpegError:
                    continue
            how = {"width": frames[0].width, "height": frames[0].height, "interpolation": SMOOTH_COLOURS}
            return np.stack([f.to_ndarray(format="rgb24", **how) for f in frames])

    return decode_all
