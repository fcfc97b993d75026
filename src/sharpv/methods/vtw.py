"""VTW, visual tokens withdrawal (arXiv 2405.05803): from some layer on the LLM reads text only."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from sharpv.methods.base import OF_SHARPV_ONLY, Budgeted, refuse_idle, require_count, require_layer

__all__ = ["VTW"]


@dataclass(frozen=True, slots=True)
class VTW(Budgeted):
    """Takes all visual tokens out of the LLM before one decoder layer; text keeps its position ids.

    With a `layer` K (counted from 0), they leave before it, and the configuration gives no retention; 1 is
    "off", as everywhere. Without, K follows from `retention`, the share of visual tokens that a layer reads,
    in the mean over the L layers: `K = max(1, round(retention L))`, which makes the share `K / L`.

    Differs: the paper finds K on a calibration set, as the first layer whose hidden states give nearly the
    answer of the last (KL divergence below a bound), plus 5; that is left to the caller. Its LLaVA-1.5 of 32
    layers withdraws before layer 15, a retention of 0.47. Separators leave with the tokens of their video.

    Attributes:
        layer: K, the first decoder layer, counted from 0, without visual tokens; at least 1. None: it follows
            from `retention`.

    Raises:
        ValueError: a layer that is no whole number of at least 1.
    """

    layer: int | None = None
    name: ClassVar[str] = "vtw"
    reads_attention: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.layer is not None:
            require_count(self, "layer")

    def check(self, config: SharpVConfig) -> None:
        """Asks for one of `layer` and a float `retention`, and for no setting that would have no effect.

        Raises:
            InputError: both or none of them, a threshold, a bucket, a setting of SharpV's rule, or compact
                positions.
        """
        if self.layer is None:
            Budgeted.check(self, config)
        elif isinstance(config.retention, float) and config.retention != 1:
            raise InputError(
                f"got VTW(layer={self.layer}) and retention={config.retention!r}, from which another layer "
                "would follow: leave one of the two out"
            )
        refuse_idle(self.name, config, (*OF_SHARPV_ONLY, "threshold", "bucket", "positions"))

    def leave_before(self, layers: int, config: SharpVConfig) -> int:
        """Returns K.

        Raises:
            InputError: `layer` is none of the LLM's.
        """
        if self.layer is not None:
            return require_layer(self.name, self.layer, layers)
        return max(1, round(float(config.retention) * layers))

    def stay(self, tokens: int, attention: Tensor | None, config: SharpVConfig) -> Tensor:
        """Keeps none."""
        return torch.zeros(tokens, dtype=torch.bool)
