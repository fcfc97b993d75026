"""Everything that SharpV raises on purpose.

Each message says what we got, what we accept and what to do next.
"""

__all__ = ["AttachError", "InputError", "SharpVError", "UnsupportedModelError", "VideoError"]


class SharpVError(Exception):
    """Base of all errors raised by SharpV. Catch it to handle them together."""


class InputError(SharpVError, ValueError):
    """Features, prompts or options that cannot be pruned: a wrong shape, NaN, counts that do not add up."""


class UnsupportedModelError(SharpVError):
    """A model, or a part of one, that SharpV does not know how to prune."""


class AttachError(SharpVError, RuntimeError):
    """A session in the wrong state: a second attach, two requests at once, a pruned cache without it."""


class VideoError(SharpVError):
    """A video that cannot be opened, or that holds no decodable frame."""
