"""FastV (arXiv 2403.06764): visual tokens that the prompt's last token does not look at leave early."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from sharpv.methods.base import (
    OF_SHARPV_ONLY,
    Budgeted,
    budget,
    refuse_idle,
    require_count,
    require_layer,
)

__all__ = ["FastV"]


@dataclass(frozen=True, slots=True)
class FastV(Budgeted):
    """Keeps the visual tokens with the most attention of the prompt's last token, from one layer on.

    All N visual tokens of a row enter the LLM. `a_i` is the attention that the prompt's last token pays to
    visual token i in decoder layer `layer - 1` (counted from 0), mean over the heads. Before `layer`, the
    `round(retention N)` tokens with the largest a stay (at least 1, rounded up to a multiple of the
    configuration's `bucket`; the lower index wins ties), the others leave, and all keep their position ids.
    `retention` is 1 - R of the paper, whose usual setting is layer 2 and R = 0.5.

    Differs: the published code takes the attention out of an eager kernel, whose probabilities are rounded to
    the model's dtype, and gives all rows of a batch the choice of the first. Here the one row of attention
    that matters is computed in float32 beside whatever kernel the model runs, for each row of the batch.

    Attributes:
        layer: K, the first decoder layer, counted from 0, without the tokens that leave; at least 1.

    Raises:
        ValueError: a layer that is no whole number of at least 1.
    """

    layer: int = 2
    name: ClassVar[str] = "fastv"
    reads_attention: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count(self, "layer")

    def check(self, config: SharpVConfig) -> None:
        """Asks for a float `retention`, and for no setting that would have no effect.

        Raises:
            InputError: no retention as a number, a setting of SharpV's rule, or compact positions.
        """
        Budgeted.check(self, config)
        refuse_idle(self.name, config, (*OF_SHARPV_ONLY, "positions"))

    def leave_before(self, layers: int, config: SharpVConfig) -> int:
        """Returns `layer`.

        Raises:
            InputError: the LLM has no such layer.
        """
        return require_layer(self.name, self.layer, layers)

    def stay(self, tokens: int, attention: Tensor | None, config: SharpVConfig) -> Tensor:
        """Keeps the tokens that get the most attention.

        Raises:
            InputError: attention that is missing or not finite.
        """
        if attention is None:
            raise InputError(
                "method 'fastv' looks at the attention of the prompt's last token, and got none: use "
                f"sharpv.attach, which reads it, or pass attention [{tokens}]"
            )
        if not bool(attention.isfinite().all()):
            raise InputError(
                "got attention scores that hold NaN or infinity, by which no token can be chosen: check the "
                "model's weights and its dtype (bfloat16 or float32 instead of float16)"
            )
        order = attention.sort(descending=True, stable=True).indices
        mask = torch.zeros(tokens, dtype=torch.bool)
        mask[order[: budget(config, 1, tokens)]] = True
        return mask
