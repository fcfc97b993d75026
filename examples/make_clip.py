"""Writes a clip of a square that crosses a still background: `python examples/make_clip.py clip.mp4`."""

import sys
from pathlib import Path

from sharpv.tiny.clip import moving_square
from sharpv.video import write_video

path = Path(sys.argv[1])
path.parent.mkdir(parents=True, exist_ok=True)
write_video(moving_square(frames=64), path, fps=8)
