"""Everything that SharpV raises on purpose. Each message says what we got, what we accept and what to do next."""

__all__ = ["AttachError", "InputError", "SharpVError", "UnsupportedModelError", "VideoError"]


class SharpVError(Exception):
    """Base of all errors raised by SharpV. Catch it to handle them together."""


class InputError(SharpVError, ValueError):
    """Features, prompts or generation options that SharpV cannot use: wrong shape, NaN, a layout that does not add up."""


class UnsupportedModelError(SharpVError):
    """A model, or a part of one, that SharpV does not know how to prune."""


class AttachError(SharpVError, RuntimeError):
    """A session used in the wrong order: a second attach, a pruned cache without its session, two requests at once."""


class VideoError(SharpVError):
    """A video that cannot be opened, or that holds no decodable frame."""
