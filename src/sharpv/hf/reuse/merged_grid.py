"""The packed pass of Qwen-VL's towers: patches of frames of any size in a row, m x m of them a token."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.vision_utils import (
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
    get_vision_window_index,
)

from sharpv.hf.layout import VideoLayout
from sharpv.hf.reuse.levels import Normalization
from sharpv.hf.reuse.packed_attention import packed_attention
from sharpv.hf.reuse.packing import Packing, pack

__all__ = ["MergedGrid"]


@dataclass(frozen=True, slots=True)
class MergedGrid:
    """A tower that takes rows of all frames, and what depends on their places as tensors by name.

    Attributes:
        normalization: of the released processors.
    """

    normalization: Normalization

    def sides(self, tower: Any) -> tuple[int, int]:
        """Returns the sides, in pixels, of what is computed or reused as one, a token, and of a patch."""
        patch = tower.config.patch_size
        return patch * tower.spatial_merge_size, patch

    def frames(self, tower: Any, call: Mapping[str, Any], layouts: Sequence[VideoLayout]) -> list[Tensor]:
        """Returns the frames of each video as the tower is given them, `[n, source frames, 3, H, W]`.

        Args:
            tower: the vision tower.
            call: arguments of the encoder.
            layouts: the videos, in order.
        """
        merge, patch = tower.spatial_merge_size, tower.config.patch_size
        sizes = call["video_grid_thw"].tolist()
        videos = call["pixel_values_videos"].split([n * height * width for n, height, width in sizes])
        return [
            # A row holds the channels of all source frames, and a token's rows stand one after another.
            video.view(n, height // merge, width // merge, merge, merge, 3, -1, patch, patch)
            .permute(0, 6, 5, 1, 3, 7, 2, 4, 8)
            .reshape(n, -1, 3, height * patch, width * patch)
            for video, (n, height, width) in zip(videos, sizes, strict=True)
        ]

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
        sizes = call["video_grid_thw"]
        video = call["pixel_values_videos"].split(sizes.prod(1).tolist())[number]
        rows = video.unflatten(0, (int(sizes[number, 0]), -1))[list(frames)].flatten(0, 1)
        size = sizes[number : number + 1].clone()
        size[0, 0] = len(frames)
        return {**call, "pixel_values_videos": rows, "video_grid_thw": size}

    def attention_modules(self, tower: Any) -> list[nn.Module]:
        """Returns the attention of each layer."""
        return [block.attn for block in tower.blocks]

    @contextmanager
    def packed(self, tower: Any, call: Mapping[str, Any], sources: Sequence[Tensor]) -> Iterator[None]:
        """Within the block, and for this thread, the tower computes only rows that are sources.

        Args:
            tower: the vision tower, put back as it was in the end.
            call: arguments of the encoder.
            sources: of each video int64 `[n, tokens]` on the host, the frame of it whose computed token
                serves the token.
        """
        rows_per_token = tower.spatial_merge_size**2
        rows = [source.repeat_interleave(rows_per_token, 1) for source in sources]
        packing = pack(rows)
        tokens = packing.gather[::rows_per_token] // rows_per_token

        def keep_computed(module: nn.Module, args: Any, given: dict[str, Any]) -> Any:
            if not here():
                return None
            hidden = args[0] if args else given["hidden_states"]
            given = given | _placed(tower, given["grid_thw"], packing)
            return (hidden[packing.to(hidden.device).rows], *args[1:]), given

        def spread(module: nn.Module, args: Any, output: Any) -> None:
            if here():
                output.last_hidden_state = _at(output.last_hidden_state, packing.gather)
                output.pooler_output = _at(output.pooler_output, tokens)
                if getattr(output, "deepstack_features", None) is not None:
                    output.deepstack_features = [_at(part, tokens) for part in output.deepstack_features]
                if output.hidden_states is not None:
                    output.hidden_states = tuple(_at(part, packing.gather) for part in output.hidden_states)

        modules, others = self.attention_modules(tower), {}
        if hasattr(tower, "window_size"):
            windows = _windows(tower, call["video_grid_thw"], rows).within(packing)
            others = dict.fromkeys(set(modules) - {modules[i] for i in tower.fullatt_block_indexes}, windows)
        with packed_attention(modules, packing, others) as here, ExitStack() as hooks:
            hooks.enter_context(tower.register_forward_pre_hook(keep_computed, with_kwargs=True))
            hooks.enter_context(tower.register_forward_hook(spread))
            yield


def _at(rows: Tensor, places: Tensor) -> Tensor:
    return rows.index_select(0, places.to(rows.device))


def _placed(tower: Any, grid_thw: Tensor, packing: Packing) -> dict[str, Tensor]:
    """Returns what a tower would make of the sizes of the frames, for the rows of a packing alone."""
    rows = packing.to(grid_thw.device).rows
    borders = torch.tensor([0, len(rows)], dtype=torch.int32, device=grid_thw.device)
    placed = {
        "position_ids": get_vision_position_ids(grid_thw, tower.spatial_merge_size)[rows],
        "cu_seqlens": borders,
    }
    if hasattr(tower, "window_size"):
        tokens = len(rows) // tower.spatial_merge_size**2
        placed["window_index"] = torch.arange(tokens, device=grid_thw.device)
        placed["cu_window_seqlens"] = borders
    if hasattr(tower, "pos_embed"):
        indices, weights = get_vision_interpolation_indices_and_weights(
            grid_thw,
            num_grid_per_side=tower.num_grid_per_side,
            mode=tower.interpolation_mode,
            align_corners=tower.interpolation_align_corners,
            spatial_merge_size=tower.spatial_merge_size,
        )
        placed |= {"interp_indices": indices[rows], "interp_weights": weights[rows]}
    return placed


def _windows(tower: Any, grid_thw: Tensor, rows: Sequence[Tensor]) -> Packing:
    """Returns the packing by windows, for modules whose rows look no farther.

    Args:
        tower: with windows.
        grid_thw: of the videos.
        rows: of each video `[n, f]`, the sources of its rows.
    """
    sources, places, start = [], [], 0
    for source, (_, height, width) in zip(rows, grid_thw.tolist(), strict=True):
        order, borders = get_vision_window_index(
            torch.tensor([[1, height, width]]), tower.spatial_merge_size, tower.window_size, tower.patch_size
        )
        inside = order.repeat_interleave(tower.spatial_merge_unit) * tower.spatial_merge_unit
        inside += torch.arange(tower.spatial_merge_unit).repeat(len(order))
        everywhere = start + torch.arange(source.numel()).view(source.shape)
        for window in inside.split(borders.diff().tolist()):  # type: ignore[no-untyped-call]
            sources.append(source[:, window])
            places.append(everywhere[:, window])
        start += source.numel()
    return pack(sources, places)
