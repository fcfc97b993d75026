"""The packed pass of towers that cut every frame into one grid of patches: SigLIP, CLIP, InternViT."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from sharpv.hf.layout import VideoLayout
from sharpv.hf.reuse.levels import Normalization
from sharpv.hf.reuse.packed_attention import packed_attention
from sharpv.hf.reuse.packing import Packing, pack

__all__ = ["FixedGrid", "with_class_rows"]


@dataclass(frozen=True, slots=True)
class FixedGrid:
    """A tower whose `embeddings` make rows `[frames, f, d]` of frames.

    Attributes:
        attention: name of the attention in one of its layers.
        normalization: of the released processors.
        class_token: whether each frame starts with a row that stands for all of it.
    """

    attention: str
    normalization: Normalization
    class_token: bool = False

    def sides(self, tower: Any) -> tuple[int, int]:
        """Returns the sides, in pixels, of what is computed or reused as one, and of a patch: the same."""
        size = tower.config.patch_size
        size = size if isinstance(size, int) else size[0]
        return size, size

    def frames(self, tower: Any, call: Mapping[str, Any], layouts: Sequence[VideoLayout]) -> list[Tensor]:
        """Returns the frames of each video as the tower is given them, `[n, 3, H, W]`.

        Args:
            tower: the vision tower.
            call: arguments of the encoder.
            layouts: the videos, in order.
        """
        pixels = call[_pixels(call)]
        return list(pixels.flatten(0, -4).split([layout.frames for layout in layouts]))

    def part(
        self, call: Mapping[str, Any], layouts: Sequence[VideoLayout], number: int, frames: Sequence[int]
    ) -> dict[str, Any]:
        """Returns the arguments of the encoder for some frames of one video.

        Args:
            call: arguments for all videos.
            layouts: the videos, in order.
            number: of the video.
            frames: numbers of its frames.
        """
        name = _pixels(call)
        start = sum(layout.frames for layout in layouts[:number])
        pixels = call[name].flatten(0, -4)[[start + frame for frame in frames]]
        return {**call, name: pixels.unsqueeze(0) if call[name].dim() == 5 else pixels}

    def attention_modules(self, tower: Any) -> list[nn.Module]:
        """Returns the attention of each layer."""
        return [part for name, part in tower.named_modules() if name.rpartition(".")[2] == self.attention]

    @contextmanager
    def packed(self, tower: Any, call: Mapping[str, Any], sources: Sequence[Tensor]) -> Iterator[None]:
        """Within the block, and for this thread, the tower computes only rows that are sources.

        Args:
            tower: the vision tower, put back as it was in the end.
            call: arguments of the encoder.
            sources: of each video int64 `[n, patches]` on the host, the frame of it whose computed row serves
                the patch.
        """
        packing = pack([with_class_rows(source) for source in sources] if self.class_token else sources)
        frames = sum(map(len, sources))

        def keep_computed(module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
            if not here():
                return None
            return output.flatten(0, 1)[packing.to(output.device).rows].unsqueeze(0)

        def spread(module: nn.Module, args: Any, output: Any) -> None:
            if here():
                output.last_hidden_state = _spread(output.last_hidden_state, packing, frames)
                # Pooled over the rows of all frames.
                output.pooler_output = None
                if output.hidden_states is not None:
                    output.hidden_states = _Layers(output.hidden_states, packing, frames)

        with packed_attention(self.attention_modules(tower), packing) as here, ExitStack() as hooks:
            hooks.enter_context(tower.embeddings.register_forward_hook(keep_computed))
            hooks.enter_context(tower.register_forward_hook(spread))
            yield


def _pixels(call: Mapping[str, Any]) -> str:
    """Returns the name of the frames among the arguments of an encoder, of videos or of images."""
    return "pixel_values_videos" if "pixel_values_videos" in call else "pixel_values"


class _Layers(Sequence[Tensor | None]):
    """Hidden states of a packed pass, spread to all frames when they are read: few layers are."""

    def __init__(self, layers: Sequence[Tensor | None], packing: Packing, frames: int) -> None:
        self._layers, self._packing, self._frames = layers, packing, frames

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        layer = self._layers[index]
        return None if layer is None else _spread(layer, self._packing, self._frames)


def _spread(rows: Tensor, packing: Packing, frames: int) -> Tensor:
    """Returns rows `[1, N, d]` of a packed pass at all places that they serve, `[frames, f, d]`."""
    return rows[0].index_select(0, packing.to(rows.device).gather).unflatten(0, (frames, -1))


def with_class_rows(source: Tensor) -> Tensor:
    """Puts a class token before the patches of each frame, int64 `[n, 1 + f]`.

    It is computed in every frame that computes anything. In any other it is that of the frame that serves
    most of the patches.
    """
    n = len(source)
    most = one_hot(source, n).sum(1).argmax(1)
    computes = (source == torch.arange(n).unsqueeze(1)).any(1)
    return torch.cat([torch.where(computes, torch.arange(n), most).unsqueeze(1), source], 1)
