"""Reading takes memory for the frames asked, however long the clip and however large its pictures."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")

# VmHWM begins anew with the program. ru_maxrss does not: a child starts at the size of the process that
# started it, and under pytest that hides whatever the child does.
MEASURE = """
import json, sys
from sharpv.video import Sampling, read_video
assert "torch" not in sys.modules and "transformers" not in sys.modules
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
warm_up, clip, frames, max_side = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
read_video(warm_up, Sampling(frames=2), max_side=max_side)
before = peak()
video = read_video(clip, Sampling(frames=frames), max_side=max_side)
print(peak() - before, video.frames.nbytes, video.duration)
"""


def growth(warm_up: Path, clip: Path, frames: int, max_side: int | None = None) -> tuple[int, int, float]:
    """Bytes by which the peak grew, bytes of the frames, and the clip's seconds, in a process of its own."""
    command = [sys.executable, "-c", MEASURE, warm_up, clip, str(frames), str(max_side or "null")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    grown, held, seconds = done.stdout.split()
    return int(grown), int(held), float(seconds)


def black(count: int, height: int, width: int) -> np.ndarray:
    return np.broadcast_to(np.zeros((1, height, width, 3), dtype=np.uint8), (count, height, width, 3))


@pytest.mark.parametrize("container", ["mp4", "h264"])
def test_a_long_group_of_pictures_is_not_held(encode, tmp_path, container):
    # 'mp4' takes the fast route with one long GOP, 'h264' has no timestamps and is decoded in order. Holding
    # the long clip's frames would take 120 x 1.4 MB = 165 MB.
    paths = []
    for count in (8, 120):
        paths.append(tmp_path / f"{count}.{container}")
        options = {"preset": "ultrafast", "g": "1000"}
        paths[-1].write_bytes(encode(black(count, 720, 1280), container=container, options=options))
    assert growth(*paths, frames=2)[0] < 60e6


def test_an_hour_takes_the_memory_of_its_sampled_frames(encode, tmp_path):
    height, width, second = 180, 320, 1000
    paths = []
    for count in (8, 3600):
        times = [number * second for number in range(count)]
        paths.append(tmp_path / f"{count}.mp4")
        options = {"preset": "ultrafast"}
        paths[-1].write_bytes(encode(black(count, height, width), options=options, times=times))
    grown, held, seconds = growth(*paths, frames=32)
    assert seconds == pytest.approx(3600, abs=1)
    assert held == 32 * height * width * 3
    # Beside the frames: one line of numbers for each of the clip's, and slack of the allocator. All frames
    # would take 622 MB.
    assert grown < held + 3600 * 500 + 8e6


def test_frames_scaled_down_are_never_held_whole(encode, tmp_path):
    # 32 frames of this size take 88 MB.
    paths = []
    for count in (2, 64):
        paths.append(tmp_path / f"{count}.mp4")
        paths[-1].write_bytes(encode(black(count, 720, 1280), options={"preset": "ultrafast"}))
    grown, held, _ = growth(*paths, frames=32, max_side=160)
    assert held == 32 * 90 * 160 * 3
    assert grown < held + 40e6
