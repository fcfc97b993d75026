"""Which common video codecs this installation of FFmpeg can decode."""

import av

__all__ = ["decoders"]

COMMON = ("h264", "hevc", "av1", "vp9", "vp8", "mpeg4")


def decoders() -> list[str]:
    """Returns the names of the common codecs that can be decoded."""
    return [name for name in COMMON if name in av.codecs_available]
