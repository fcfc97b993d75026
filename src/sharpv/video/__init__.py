"""Clips in and out: read a video's frames as RGB, sampled or all in turn, and write frames to a file."""

from sharpv.video.read import Video, read_video
from sharpv.video.sample import Sampling, sample_indices
from sharpv.video.source import open_source
from sharpv.video.stream import VideoStream, stream_video
from sharpv.video.write import write_video

__all__ = [
    "Sampling",
    "Video",
    "VideoStream",
    "open_source",
    "read_video",
    "sample_indices",
    "stream_video",
    "write_video",
]
