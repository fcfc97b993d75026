"""What a method of choosing visual tokens is."""

from collections.abc import Sequence
from math import inf
from numbers import Real
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.select import RATIO_UNITS, share_tokens
from sharpv.errors import InputError

__all__ = [
    "OF_SHARPV_ONLY",
    "Budgeted",
    "InLLMPruner",
    "Selection",
    "TokenPruner",
    "budget",
    "frame_budgets",
    "is_positive",
    "keep_places",
    "level",
    "refuse_idle",
    "require_count",
    "require_layer",
    "require_within",
    "stride",
]

OF_SHARPV_ONLY = ("threshold", "spatial_weight", "coverage", "diversity", "min_tokens_per_frame")


class Selection(NamedTuple):
    """The tokens of one video that stay.

    Attributes:
        mask: bool `[n, f]` on the device of the features, true for kept tokens.
        ratios: r_t per frame, in [0, 1]; empty for a method that has none.
        merged: `[kept, d]` on the device of the features, the values that the kept tokens, in raster order,
            take in place of their own; rounded to the model's dtype, and constant for gradients. None: their
            own.
    """

    mask: Tensor
    ratios: tuple[float, ...] = ()
    merged: Tensor | None = None


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


@runtime_checkable
class InLLMPruner(Protocol):
    """Chooses which visual tokens stay in the LLM from one of its decoder layers on; all of them enter it.

    It decides on each row of a batch for itself, over all its videos.
    """

    @property
    def name(self) -> str:
        """The name in the registry, in reports and on the command line."""

    @property
    def reads_attention(self) -> bool:
        """Whether `stay` is to be given attention."""

    def check(self, config: SharpVConfig) -> None:
        """Looks at a configuration before any request.

        Raises:
            InputError: the method cannot follow it.
        """

    def leave_before(self, layers: int, config: SharpVConfig) -> int:
        """Returns the decoder layer, in 1..layers, that is the first to read only the tokens that stay.

        Args:
            layers: decoder layers of the LLM; returned where none leaves.
            config: what to keep; `check` has accepted it.

        Raises:
            InputError: the method is set to a layer that the LLM does not have.
        """

    def stay(self, tokens: int, attention: Tensor | None, config: SharpVConfig) -> Tensor:
        """Says which visual tokens of a row stay.

        Args:
            tokens: visual tokens of the row, at least 1, separators not counted.
            attention: float32 `[tokens]` on the CPU, the share of its attention that the prompt's last token
                pays to each in the layer before they leave, mean over the heads (float64 for a float64
                model); None unless `reads_attention`.
            config: what to keep; `check` has accepted it.

        Returns:
            bool `[tokens]` on the CPU, true for those that stay.

        Raises:
            InputError: attention that is not finite.
        """


class Budgeted:
    """What methods with a rule of their own have in common: they need to know how many tokens to keep."""

    __slots__ = ()
    name: ClassVar[str]
    adaptive: ClassVar[bool] = False
    """Whether the rule can also let the video decide, with `retention="adaptive"`."""

    def check(self, config: SharpVConfig) -> None:
        """Asks for a float `retention`, unless the rule is adaptive, and for no setting of SharpV's rule.

        Raises:
            InputError: no retention that the rule can follow, or a setting that would have no effect.
        """
        if not isinstance(config.retention, float) and not self.adaptive:
            raise InputError(
                f"method {self.name!r} needs to know how many tokens to keep, got "
                f"retention={config.retention!r}: give a number in (0, 1], such as "
                "SharpVConfig(retention=0.25)"
            )
        refuse_idle(self.name, config, OF_SHARPV_ONLY)


def refuse_idle(name: str, config: SharpVConfig, settings: Sequence[str]) -> None:
    """Refuses settings that a method does not look at.

    Raises:
        InputError: one of them is not at its default.
    """
    default = SharpVConfig()
    idle = [field for field in settings if getattr(config, field) != getattr(default, field)]
    if idle:
        raise InputError(
            f"method {name!r} has a rule of its own, so {', '.join(idle)} would have no effect: "
            "leave it at its default"
        )


def budget(config: SharpVConfig, n: int, f: int) -> int:
    """Returns how many tokens of a video a float retention keeps.

    `round(retention n f)`, at least 1, rounded up to a multiple of `bucket`, at most n f.
    """
    return config.rounded_up(max(round(float(config.retention) * n * f), 1), n * f)


def frame_budgets(total: int, weights: Tensor, f: int) -> Tensor:
    """Shares the tokens of a video over its frames in proportion to weights.

    What rounding down leaves goes to the largest remainders, what a full frame cannot take to the others. A
    frame gets at least 1 where `total` allows it.

    Args:
        total: tokens to keep, in 1..n f.
        weights: float `[n]`, at least 0, of the order of 1, known to 1e-6.
        f: tokens per frame.

    Returns:
        int64 `[n]` on the CPU, with the sum `total`.
    """
    units = (weights.double() * RATIO_UNITS).round().long().tolist()
    return torch.tensor(share_tokens(total, units, int(total >= len(units)), f))


def level(total: int, sizes: list[int]) -> list[int]:
    """Shares `total` equally, nobody getting more than its size; the earlier ones get what is left over."""
    counts = [0] * len(sizes)
    order = sorted(range(len(sizes)), key=lambda t: (sizes[t], -t))
    for left, t in zip(range(len(sizes), 0, -1), order, strict=True):
        counts[t] = min(sizes[t], total // left)
        total -= counts[t]
    return counts


def stride(count: int, total: int) -> Tensor:
    """Returns int64 `[count]`: places in `range(total)` at an even stride, from the first to the last.

    Place j = 0, ..., count - 1 is `j (total - 1) / (count - 1)`, rounded half up.
    """
    gaps = max(count - 1, 1)
    return (2 * torch.arange(count) * (total - 1) + gaps) // (2 * gaps)


def is_positive(value: object) -> bool:
    """Says whether a setting of a method is a finite number above 0."""
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < inf


def require_within(
    pruner: object, name: str, low: float, high: float = 1.0, *, open_below: bool = False
) -> None:
    """Checks that a setting of a method is a number in [low, high].

    Raises:
        ValueError: it is not, or it is `low` where the range is open there.
    """
    value = getattr(pruner, name)
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not low <= value <= high or (open_below and value == low):
        raise ValueError(
            f"{type(pruner).__name__}.{name} is {value!r}: it must be a number in "
            f"{'(' if open_below else '['}{low:g}, {high:g}]"
        )


def require_count(pruner: object, name: str) -> None:
    """Checks that a setting of a method is a whole number, at least 1.

    Raises:
        ValueError: it is not.
    """
    value = getattr(pruner, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"{type(pruner).__name__}.{name} is {value!r}: it must be a whole number, at least 1"
        )


def require_layer(name: str, layer: int, layers: int) -> int:
    """Returns a decoder layer that a method is set to.

    Raises:
        InputError: the LLM does not have it.
    """
    if layer >= layers:
        raise InputError(
            f"got method {name!r} with layer={layer} for an LLM of {layers} decoder layers, counted from 0: "
            f"give a layer in 1..{layers - 1}"
        )
    return layer


def keep_places(places: Tensor, features: Tensor, merged: Tensor | None = None) -> Selection:
    """Returns the selection of some tokens of a video.

    Args:
        places: int64 `[k]` on the CPU, numbers of tokens in raster order of (frame, token), each once.
        features: `[n frames, f tokens, d]` of the video; only shape, dtype and device matter.
        merged: `[k, d]`, the values that these tokens take; None: their own.
    """
    n, f = features.shape[:2]
    mask = torch.zeros(n * f, dtype=torch.bool)
    mask[places] = True
    if merged is not None:
        merged = merged[places.argsort().to(merged.device)].to(features.dtype)
    return Selection(mask.view(n, f).to(features.device), merged=merged)
