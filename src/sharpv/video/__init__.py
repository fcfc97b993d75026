"""Clips in and out: read a video's sampled frames as RGB, and write frames to a file."""

from sharpv.video.read import Video, read_video
from sharpv.video.sample import Sampling, sample_indices
from sharpv.video.write import write_video

__all__ = ["Sampling", "Video", "read_video", "sample_indices", "write_video"]
