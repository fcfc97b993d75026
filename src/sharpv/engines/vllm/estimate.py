"""The pixels under each token, which stand for its features, and how well they do."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, unfold

from sharpv.engines.vllm.select import adaptive_number
from sharpv.errors import InputError

__all__ = ["Calibration", "Sample", "image_patches", "video_patches"]

PATCH = 14
"""Pixels of a token's side in what the estimate looks at of an image, about as many as it covers."""


def image_patches(frames: Tensor, f: int) -> Tensor:
    """Cuts frames `[n, channels, height, width]` into the squares under f tokens each, `[n, f, pixels]`."""
    pixels = adaptive_avg_pool2d(frames.float(), round(f**0.5) * PATCH)
    return unfold(pixels, PATCH, stride=PATCH).transpose(1, 2)


def video_patches(pixels: Tensor, n: int, f: int) -> Tensor:
    """Returns `[n, f, pixels]` of one video, as the processor of a supported family returned it.

    Args:
        pixels: `pixel_values_videos`: `[1, n, channels, height, width]`, or packed, `[patches, pixels]` with
            those of a token in a row.
        n: frames as the LLM sees them.
        f: tokens per frame.

    Raises:
        InputError: another layout.
    """
    if pixels.ndim == 5 and len(pixels) == 1 and pixels.shape[1] == n and round(f**0.5) ** 2 == f:
        return image_patches(pixels[0], f)
    if pixels.ndim == 2 and len(pixels) % (n * f) == 0:
        return pixels.reshape(n, f, -1)
    raise InputError(
        f"got pixel_values_videos {list(pixels.shape)} for {n} frames of {f} tokens: SharpV in vLLM prunes "
        "LLaVA-OneVision and the Qwen-VL line"
    )


@dataclass(frozen=True)
class Sample:
    """A clip as its pixels and its features show it.

    Attributes:
        pixel_ratios: float `[n]`, r of the pixels.
        feature_ratios: float `[n]`, r of the features.
        f: tokens per frame.
    """

    pixel_ratios: Tensor
    feature_ratios: Tensor
    f: int

    @property
    def tokens(self) -> int:
        """What the adaptive mode keeps of it."""
        return adaptive_number(self.feature_ratios, self.f)

    def estimate(self, gain: float) -> int:
        """What `"auto"` keeps of it."""
        return adaptive_number(self.pixel_ratios, self.f, gain)


@dataclass(frozen=True)
class Calibration:
    """The gain that fits some clips of one model.

    Attributes:
        samples: the clips, at least two.
    """

    samples: Sequence[Sample]

    def __post_init__(self) -> None:
        if len(self.samples) < 2:
            raise InputError(
                f"got {len(self.samples)} clips: give at least 2, since the error is that of clips left out"
            )

    @cached_property
    def gain(self) -> float:
        """The sum of r over all frames by the features, over that by the pixels."""
        return _gain(self.samples)

    @cached_property
    def left_out(self) -> list[int]:
        """What would be kept of each clip with the gain that fits the others."""
        return [
            sample.estimate(_gain([other for other in self.samples if other is not sample]))
            for sample in self.samples
        ]

    @cached_property
    def errors(self) -> list[float]:
        """How far that is from what the adaptive mode keeps, as a share of it; above 0 is too many."""
        pairs = zip(self.left_out, self.samples, strict=True)
        return [estimated / sample.tokens - 1 for estimated, sample in pairs]


def _gain(samples: Sequence[Sample]) -> float:
    features = sum(float(sample.feature_ratios.sum()) for sample in samples)
    pixels = sum(float(sample.pixel_ratios.sum()) for sample in samples)
    if not pixels or not features:
        raise InputError("got clips of one colour that never change: give clips like those you will serve")
    return features / pixels
