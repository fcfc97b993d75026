"""Methods that also look at the attention of the vision tower: what they are, and what they are given."""

from typing import Protocol, TypeGuard

from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from sharpv.methods.base import InLLMPruner, Selection, TokenPruner

__all__ = ["AttentionPruner", "needs_attention", "require_attention"]


class AttentionPruner(TokenPruner, Protocol):
    """A pruner that looks at the attention of the vision tower as well."""

    @property
    def needs_attention(self) -> bool:
        """True; a pruner without this attribute is called without attention."""

    def select(
        self,
        features: Tensor,
        config: SharpVConfig,
        grid: tuple[int, int] | None = None,
        attention: Tensor | None = None,
    ) -> Selection:
        """Picks the tokens to keep.

        Args:
            features: as for `TokenPruner.select`.
            config: as there.
            grid: as there.
            attention: float `[n, f]`, at least 0: what each token's patches received in the vision tower,
                from its class token where it has one, else from all patches of the frame on average; the mean
                over heads. Where a token pools several patches, pooled as the features are.

        Raises:
            InputError: no attention, or features or attention that the method cannot use.
        """


def needs_attention(pruner: TokenPruner | InLLMPruner) -> TypeGuard[AttentionPruner]:
    """Says whether a pruner has to be given the attention of the vision tower."""
    return bool(getattr(pruner, "needs_attention", False))


def require_attention(pruner: TokenPruner, attention: Tensor | None, norms: Tensor) -> Tensor:
    """Checks the attention that a method is given.

    Args:
        pruner: the method, for the message.
        attention: `[n, f]`.
        norms: `[n, f]`, from `widen`.

    Returns:
        `[n, f]`, of their dtype and on their device.

    Raises:
        InputError: none, of another shape or dtype, or a value that is negative or not finite.
    """
    name, shape = pruner.name, list(norms.shape)
    if attention is None:
        raise InputError(
            f"method {name!r} looks at the attention of the vision tower, and got none: use sharpv.attach or "
            f"sharpv.prune_inputs, which read it, or pass attention {shape}"
        )
    if list(attention.shape) != shape or not attention.is_floating_point():
        raise InputError(
            f"method {name!r} got attention {list(attention.shape)} of {attention.dtype}: it must be a "
            f"number per token, float {shape}"
        )
    received = attention.detach().to(norms.device, norms.dtype)
    if not bool(((received >= 0) & received.isfinite()).all()):
        raise InputError(
            f"method {name!r} got attention with NaN, infinity or negative values: look for what made it "
            "(often a vision tower run in float16; use bfloat16 or float32)"
        )
    return received
