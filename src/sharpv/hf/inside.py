"""Methods that act inside the LLM: visual tokens leave before one of its layers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from sharpv.config import SharpVConfig
from sharpv.errors import UnsupportedModelError
from sharpv.hf.families import Family
from sharpv.hf.last_attention import LastAttention
from sharpv.hf.layout import VideoLayout
from sharpv.hf.masks import set_layer_masks
from sharpv.hf.positions import gather_columns, upload
from sharpv.hf.request import Request
from sharpv.hf.stage1 import Placed
from sharpv.hf.step import Step
from sharpv.methods import InLLMPruner

__all__ = ["Leaving", "leaving_layer"]


def leaving_layer(pruner: InLLMPruner, model: PreTrainedModel, family: Family, config: SharpVConfig) -> int:
    """Returns the first decoder layer of a model that reads only the tokens that stay.

    Raises:
        UnsupportedModelError: layers of the model cannot be fed fewer columns than the layers before them.
        InputError: the method is set to a layer that the model does not have.
    """
    decoder = model.get_decoder()
    kinds = set(getattr(decoder.config, "layer_types", None) or ()) - {"full_attention"}
    reason = family.stage_1_only
    if reason is None and kinds:
        reason = f"some of its layers are of another kind than full attention ({', '.join(sorted(kinds))})"
    if reason is not None:
        raise UnsupportedModelError(
            f"got method {pruner.name!r}, which acts inside the LLM, for {family.name}, where that does not "
            f"work, since {reason}: take a method that acts before the LLM, such as method='sharpv'"
        )
    return pruner.leave_before(len(decoder.layers), config)


@dataclass
class Leaving:
    """The visual tokens of one pass, of which some leave before a layer.

    Attributes:
        pruner: says which stay.
        config: of the session.
        decoder: the LLM.
        layer: the first of its layers that is fed only what stays.
        deepstack: number of its early layers after which it adds features to all visual columns.
        request: that the pass belongs to.
        step: the pass, whole.
        placed: its videos, in the order of their tokens.
        narrow: the pass from `layer` on; None until then, and where no token leaves.
    """

    pruner: InLLMPruner
    config: SharpVConfig
    decoder: Any
    layer: int
    deepstack: int
    request: Request
    step: Step
    placed: Sequence[Placed]
    narrow: Step | None = None

    def __post_init__(self) -> None:
        asks = self.pruner.reads_attention and self.layer < len(self.decoder.layers)
        self._attention = LastAttention(self.decoder, self.layer - 1, self.step) if asks else None
        self._columns = torch.empty(0)
        self._rotations: tuple[Tensor, ...] = ()

    @property
    def whole_until(self) -> int:
        """The last layer that the decoder hands all columns."""
        return max(self.layer, self.deepstack)

    def listen(self) -> list[RemovableHandle]:
        """Hooks the layer whose attention the method asks for, until `stop()`."""
        return [] if self._attention is None or self.request.stayed is not None else self._attention.hook()

    def stop(self) -> None:
        """Leaves that layer as it was."""
        if self._attention is not None:
            self._attention.stop()

    def before_layer(self, index: int, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Feeds a layer, from `layer` on, what stays: hidden states and their rotations."""
        if index == self.layer:
            self._leave()
        if self.narrow is None:
            return args, kwargs
        self._rotations = self._rotations or tuple(map(self._at_columns, kwargs["position_embeddings"]))
        kwargs["position_embeddings"] = self._rotations
        if index > self.whole_until:
            return args, kwargs
        if args:
            return (gather_columns(args[0], self._columns), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": gather_columns(kwargs["hidden_states"], self._columns)}

    def widen(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        """Puts the output of a layer at all columns, where the decoder goes on to add features to them."""
        places = None if self.narrow is None else self.narrow.places
        return output if places is None else gather_columns(output, places)

    def _leave(self) -> None:
        request, step = self.request, self.step
        if request.stayed is None:
            request.stayed = self._choose()
            request.left_before = self.layer
        keep = ~step.visual
        keep[step.visual] = request.stayed
        if bool((keep | ~step.fed).all()):
            return
        self.narrow = replace(step, masks={}, memo={})
        self._columns, _ = self.narrow.cut(keep & step.fed)
        set_layer_masks(self.narrow, self.decoder.config, range(self.layer, len(self.decoder.layers)))

    def _choose(self) -> Tensor:
        """Returns which tokens of the videos stay, bool `[tokens]` on the host, and records them."""
        paid = None if self._attention is None else self._attention.paid
        paid = None if paid is None else paid.cpu()
        rows, inside = [], []
        for row, group in groupby(self.placed, key=lambda video: video.row):
            layouts = [video.layout for video in group]
            shown = None
            if paid is not None:
                shown = paid[row][self.step.visual[row]].split([layout.tokens for layout in layouts])
            videos = self._choose_in_row(layouts, shown)
            rows += videos
            if row % self.step.repeats == 0:
                shapes = [(layout.frames, layout.tokens_per_frame) for layout in layouts]
                inside += [mask[: n * f].view(n, f) for mask, (n, f) in zip(videos, shapes, strict=True)]
        self.request.videos = tuple(
            replace(video, kept_inside=tuple(map(tuple, mask.tolist())))
            for video, mask in zip(self.request.videos, inside, strict=True)
        )
        return torch.cat(rows)

    def _choose_in_row(self, layouts: Sequence[VideoLayout], paid: Sequence[Tensor] | None) -> list[Tensor]:
        """Returns which tokens of each video of a row stay; separators do while anything of theirs does."""
        counts = [layout.frames * layout.tokens_per_frame for layout in layouts]
        shown = None
        if paid is not None:
            shown = torch.cat([video[:count] for video, count in zip(paid, counts, strict=True)])
        stay = self.pruner.stay(sum(counts), shown, self.config)
        return [
            torch.cat([video, video.any().expand(layout.separators)])
            for video, layout in zip(stay.split(counts), layouts, strict=True)
        ]

    def _at_columns(self, values: Tensor) -> Tensor:
        """Returns rotations `[..., B or 1, q, d]` at the columns that stay, `[..., B, P, d]`."""
        batch, width = self._columns.shape
        shape = *values.shape[:-3], batch, *values.shape[-2:]
        index = upload(self._columns, values.device)[..., None]
        return values.expand(shape).gather(-2, index.expand(*shape[:-2], width, shape[-1]))
