"""One forward pass of the decoder: what is fed, what of it is video, what the cache will hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from sharpv.errors import InputError
from sharpv.hf.cache import PrunedLayer
from sharpv.hf.positions import compact, tail_length

__all__ = ["Step", "position_ids_of"]


@dataclass
class Step:
    """One forward pass of the decoder.

    Attributes:
        visual: bool `[B, q]`, where tokens of videos are fed.
        original: `[B, q, d]`, V: what the decoder is fed.
        fed: bool `[B, q]`, false at padding.
        padded: whether any of `fed` is false.
        width: columns that the caller passed; more than q after stage 1.
        earlier: bool `[B, past]`, false at padding read before; None without padding.
        places: int64 `[B, width]`, what stands for each of the caller's columns; None without stage 1.
        tail: columns after the last one that stage 1 removed.
        cache: the cache of the pass.
        masks: attention mask by layer, where layers hold different columns; else empty.
        gapped: whether position ids have gaps.
        lag: int64 `[B, 1]`, tokens that stage 1 removed per row, where positions are compact.
        repeats: copies of each row of the request in the batch.
        probed: whether stage 2 looks at the pass.
        similarity: sim_l of the layer that is running, `[B]`.
        memo: results shared by layers in the same state.
    """

    visual: Tensor
    original: Tensor
    fed: Tensor
    padded: bool
    width: int
    earlier: Tensor | None = None
    places: Tensor | None = None
    tail: int = 0
    cache: Cache | None = None
    masks: dict[int, Any] = field(default_factory=dict)
    gapped: bool = False
    lag: Tensor | None = None
    repeats: int = 1
    probed: bool = False
    similarity: Tensor | None = None
    memo: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, visual: Tensor | None, kwargs: Mapping[str, Any]) -> Self:
        """Reads the arguments of the decoder.

        Raises:
            InputError: the attention mask is a prepared one, whose rows can no longer be cut.
        """
        embeds, mask = kwargs["inputs_embeds"], kwargs.get("attention_mask")
        if mask is not None and not (isinstance(mask, Tensor) and mask.dim() == 2):
            raise InputError(
                f"got a prepared attention mask ({type(mask).__name__}); an attached SharpV needs the 2-D "
                "mask [batch, length] of the tokenizer, and a dynamic cache. For a static cache, detach and "
                "shorten the prompt with sharpv.prune_inputs"
            )
        batch, width = embeds.shape[:2]
        if mask is None:
            mask = torch.ones(batch, width, device=embeds.device)
        # Where layers stand on several devices, the prompt need not be on the decoder's first.
        mask = mask.to(embeds.device).bool()
        fed, earlier = mask[:, -width:], mask[:, :-width]
        visual = torch.zeros_like(fed) if visual is None else visual.to(embeds.device)
        return cls(visual, embeds, fed, not bool(fed.all()), width, None if bool(earlier.all()) else earlier)

    def tokens_per_row(self) -> tuple[int, ...]:
        """Returns the tokens fed per row of the request, padding left out."""
        return tuple(self.fed.sum(1).tolist()[:: self.repeats])

    def count_repeats(self, expected_tokens: int) -> None:
        """Finds how often beams repeat each row of a prompt that was shortened to `expected_tokens` of video.

        Raises:
            InputError: the prompt is fed in chunks.
        """
        tokens = int(self.visual.sum())
        self.repeats, rest = divmod(tokens, max(expected_tokens, 1))
        if rest or (expected_tokens and not self.repeats):
            raise InputError(
                f"got {tokens} of {expected_tokens} video tokens in one pass; SharpV decides on whole "
                "prompts: feed the prompt at once"
            )
        self.repeats = max(self.repeats, 1)

    def settle(self, layer: PrunedLayer, dropped: list[bool]) -> None:
        """Brings a layer's record of padding up to date, and takes out the visual columns of dropped rows.

        Layers in the same state share the result, so that their masks are made once.
        """
        if layer.valid is None and not self.padded and not any(dropped):
            return
        key = (*layer.state, *dropped)
        if key not in self.memo:
            before = layer.physical - self.fed.shape[1]
            keep, columns = layer.columns(self.fed, before), None
            if any(dropped):
                given_up = self.visual & torch.tensor(dropped, device=self.visual.device)[:, None]
                keep[:, before:] &= ~given_up
                columns = (*compact(keep), tail_length(keep))
            # The old record is held on to, so that its id is not given to another tensor during this pass.
            self.memo[key] = keep, columns, layer.valid
        keep, columns, _ = self.memo[key]
        if columns is None:
            layer.valid = keep
        else:
            layer.keep(*columns)


def position_ids_of(kwargs: Mapping[str, Any]) -> Tensor:
    """Returns the position ids of a call, as the decoder would make them where the caller passed none."""
    if kwargs.get("position_ids") is not None:
        return kwargs["position_ids"]
    cache, embeds = kwargs.get("past_key_values"), kwargs["inputs_embeds"]
    past = cache.get_seq_length() if cache is not None else 0
    return torch.arange(past, past + embeds.shape[1], device=embeds.device)[None]
