"""What a method of choosing visual tokens is."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.errors import InputError

__all__ = ["Selection", "TokenPruner", "budget", "keep_places", "require_budget"]

INFORMED_ONLY = ("spatial_weight", "coverage", "min_tokens_per_frame")


class Selection(NamedTuple):
    """The tokens of one video that stay.

    Attributes:
        mask: bool `[n, f]` on the device of the features, true for kept tokens.
        ratios: r_t per frame, in [0, 1]; empty for a method that has none.
    """

    mask: Tensor
    ratios: tuple[float, ...] = ()


class TokenPruner(Protocol):
    """Chooses the tokens of a video from their features, before the LLM.

    It decides on each video for itself, so that a row alone and the row in a batch keep the same tokens.
    """

    @property
    def name(self) -> str:
        """The name in the registry, in reports and on the command line."""

    def check(self, config: SharpVConfig) -> None:
        """Looks at a configuration before any request.

        Raises:
            InputError: the method cannot follow it.
        """

    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Picks the tokens to keep.

        Args:
            features: `[n frames, f tokens, d]` of one video, after the projector, before the LLM.
            config: what to keep; `check` has accepted it.
            grid: (rows, cols) of a frame's tokens in raster order, or None where it is not known.

        Returns:
            The tokens to keep, at least one of them.

        Raises:
            InputError: features that the method cannot use.
        """


def require_budget(name: str, config: SharpVConfig) -> None:
    """Checks the configuration of a method that does not look at the features.

    Raises:
        InputError: no retention as a number, or a setting that would have no effect.
    """
    if not isinstance(config.retention, float):
        raise InputError(
            f"method {name!r} needs to know how many tokens to keep, got retention={config.retention!r}: "
            "give a number in (0, 1], such as SharpVConfig(retention=0.25)"
        )
    default = SharpVConfig()
    idle = [field for field in INFORMED_ONLY if getattr(config, field) != getattr(default, field)]
    if idle:
        raise InputError(
            f"method {name!r} does not look at what a video shows, so {', '.join(idle)} would have no "
            "effect: leave it at its default"
        )


def budget(config: SharpVConfig, n: int, f: int) -> int:
    """Returns how many tokens of a video a float retention keeps.

    `round(retention n f)`, at least 1, rounded up to a multiple of `bucket`, at most n f.
    """
    return config.rounded_up(max(round(float(config.retention) * n * f), 1), n * f)


def keep_places(places: Tensor, features: Tensor) -> Selection:
    """Returns the selection of some tokens of a video.

    Args:
        places: int64 `[k]` on the CPU, numbers of tokens in raster order of (frame, token).
        features: `[n frames, f tokens, d]` of the video; only shape and device matter.
    """
    n, f = features.shape[:2]
    mask = torch.zeros(n * f, dtype=torch.bool)
    mask[places] = True
    return Selection(mask.view(n, f).to(features.device))
