"""One forward pass of the decoder: what is fed, what of it is video, what the cache will hold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from sharpv.core.memory import layer_similarity, visual_columns
from sharpv.errors import InputError
from sharpv.hf.cache import CACHE, PrunedLayer
from sharpv.hf.positions import compact, gather_columns, places, tail_length, upload

__all__ = ["Step", "earlier_padding", "fed_per_row", "position_ids_of"]


@dataclass
class Step:
    """One forward pass of the decoder. What says which columns are what is on the host.

    Attributes:
        visual: bool `[B, q]`, where tokens of videos are fed.
        original: `[B, q, d]`, V: what the decoder is fed.
        fed: bool `[B, q]`, false at padding.
        padded: whether any of `fed` is false.
        width: columns that the caller passed; more than q after stage 1.
        places: int64 `[B, width]`, what stands for each of the caller's columns; None where all are fed.
        tail: columns after the last one that was removed.
        cache: the cache of the pass.
        masks: attention mask by layer, where layers hold different columns; else empty.
        gapped: whether position ids have gaps.
        lag: int64 `[B, 1]`, tokens that stage 1 removed per row, where positions are compact.
        repeats: copies of each row of the request in the batch.
        probed: whether stage 2 looks at the pass.
        memo: results shared by layers in the same state, or on the same device.
    """

    visual: Tensor
    original: Tensor
    fed: Tensor
    padded: bool
    width: int
    places: Tensor | None = None
    tail: int = 0
    cache: Cache | None = None
    masks: dict[int, Any] = field(default_factory=dict)
    gapped: bool = False
    lag: Tensor | None = None
    repeats: int = 1
    probed: bool = False
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
            mask = torch.ones(batch, width)
        fed = mask[:, -width:].bool().cpu()
        visual = torch.zeros_like(fed) if visual is None else visual
        return cls(visual, embeds, fed, not bool(fed.all()), width)

    @property
    def device(self) -> torch.device:
        """Where the decoder is fed; where layers stand on several devices, their masks are made there."""
        return self.original.device

    def cut(self, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Feeds only the columns `keep`, bool `[B, width]`; returns what `compact(keep)` does."""
        index, real = compact(keep)
        self.original = gather_columns(self.original, index)
        self.visual = self.visual.gather(1, index) & real
        self.places, self.tail, self.gapped = places(keep), tail_length(keep), True
        self.fed, self.padded = real, not bool(real.all())
        return index, real

    def probe(self, hidden: Tensor) -> Callable[[], Tensor]:
        """Measures hidden states `[B, q, d]` of a layer against what the decoder is fed.

        Returns:
            Gives sim_l of the layer, `[B]` on the host, once it is there.
        """
        device = hidden.device
        if device not in self.memo:
            columns = [upload(row, device) for row in visual_columns(self.visual)]
            self.memo[device] = self.original.detach().to(device), columns
        original, columns = self.memo[device]
        return _fetch(layer_similarity(hidden, original, columns))

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

    def padding(self, layer: PrunedLayer) -> Tensor | None:
        """Returns the 2-D attention mask of the pass for a layer of the cache; None without padding."""
        if layer.valid is None and not self.padded:
            return None
        return layer.attention_mask(upload(self.fed, self.device))

    def settle(self, layer: PrunedLayer, dropped: list[bool]) -> None:
        """Has a layer count what it was not fed, and takes out the visual columns of dropped rows.

        Layers in the same state share the record of their padding, so that their masks are made once.
        """
        layer.hide(self.width - self.fed.shape[1], self.tail)
        if self.lag is not None:
            layer.lag(self.lag)
        if layer.valid is None and not self.padded and not any(dropped):
            return
        key = (*layer.state, *dropped)
        if key not in self.memo:
            # The old record is held on to, so that its id is not given to another tensor during this pass.
            self.memo[key] = layer.valid, self._columns(layer, dropped)
        _, (index, valid, tail) = self.memo[key]
        if index is None:
            layer.valid = valid
        else:
            layer.keep(index, valid, tail)

    def _columns(self, layer: PrunedLayer, dropped: list[bool]) -> tuple[Tensor | None, Tensor | None, int]:
        """Returns what `layer.keep` takes; no index where no row is dropped."""
        before = layer.physical - self.fed.shape[1]
        keep = layer.columns(self.fed, before)
        if not any(dropped):
            return None, upload(keep, self.device), 0
        keep = keep.cpu()
        keep[:, before:] &= ~(self.visual & torch.tensor(dropped)[:, None])
        index, real = compact(keep)
        valid = None if bool(real.all()) else upload(real, self.device)
        return upload(index, self.device), valid, tail_length(keep)


def _fetch(values: Tensor) -> Callable[[], Tensor]:
    """Starts copying to the host; what it returns waits for the copy, not for what is queued after it."""
    if not values.is_cuda:
        return values.cpu
    copy = values.to("cpu", non_blocking=True)
    arrived = torch.cuda.current_stream(values.device).record_event()

    def wait() -> Tensor:
        arrived.synchronize()
        return copy

    return wait


def earlier_padding(kwargs: Mapping[str, Any]) -> Tensor | None:
    """Returns what is no padding in the past of a call, bool `[B, past]`; None without padding there."""
    mask, embeds = kwargs.get("attention_mask"), kwargs["inputs_embeds"]
    if mask is None or mask.shape[1] == embeds.shape[1]:
        return None
    earlier = mask[:, : -embeds.shape[1]].bool()
    return None if bool(earlier.all()) else upload(earlier, embeds.device)


def fed_per_row(call: Mapping[str, Any]) -> tuple[int, ...]:
    """Returns the tokens that a pass is fed per row, padding left out."""
    fed, mask = call.get("input_ids"), call.get("attention_mask")
    batch, width = (call["inputs_embeds"] if fed is None else fed).shape[:2]
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        return (width,) * batch
    return tuple(mask[:, -width:].long().sum(1).tolist())


def position_ids_of(kwargs: Mapping[str, Any]) -> Tensor:
    """Returns the position ids of a call, as the decoder would make them where the caller passed none."""
    if kwargs.get("position_ids") is not None:
        return kwargs["position_ids"]
    cache, embeds = kwargs.get(CACHE), kwargs["inputs_embeds"]
    past = cache.get_seq_length() if cache is not None else 0
    return torch.arange(past, past + embeds.shape[1], device=embeds.device)[None]
