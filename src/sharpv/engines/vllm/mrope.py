"""Pruning for models whose positions have three axes: every token keeps the position that it has undisturbed.

Where text stands never depends on which tokens are kept, so its positions are right from the start. Those of
kept tokens are known after the encoder only; they travel behind the features as extra columns, from which the
engine asks `recompute_mrope_positions` to read them off, chunk by chunk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from vllm.multimodal.inputs import (
    MultiModalFeatureSpec,
    MultiModalFieldConfig,
    MultiModalFieldElem,
    MultiModalKwargsItem,
    PlaceholderRange,
)
from vllm.utils.gpu_sync_debug import gpu_sync_allowed

from sharpv.engines.vllm.options import Options
from sharpv.engines.vllm.processor import NUM_TOKENS
from sharpv.engines.vllm.select import kept_tokens
from sharpv.errors import InputError

__all__ = ["COLUMNS", "SharpVMRope", "position_columns"]

# bfloat16 tells whole numbers apart up to 256 only: a number takes as many columns as it has digits of 256.
_BASE, _DIGITS = 256, 3
# Of each row: its place among the rows of its item, how many of them come before the first visual token, and
# its position on three axes, as if the item stood at the beginning of the prompt.
_NUMBERS = 5
COLUMNS = _NUMBERS * _DIGITS

_SIGN = 2.0**-30
"""A rate that no user gives; it is never read, but the runner asks for positions only where it sees one."""


class SharpVMRope:
    """Comes before one of vLLM's models with M-RoPE among the bases of a class."""

    prunes_by_sharpv = True
    supports_multimodal_pruning = True
    # The graph would replace `embed_multimodal`.
    supports_encoder_cudagraph = False

    config: Any
    visual: Any

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        settings = vllm_config.model_config.get_multimodal_config()
        if settings.video_pruning_rate not in (None, 0, _SIGN):
            raise InputError(
                f"got video_pruning_rate={settings.video_pruning_rate}, which is for vLLM's own methods: "
                "leave it out, and give SharpV its share as `keep`"
            )
        if vllm_config.speculative_config is not None:
            raise InputError("SharpV has not been tried with speculative decoding here: leave it out")
        settings.video_pruning_rate = _SIGN
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        self.sharpv = Options.of(self.config)

    def _postprocess_image_embeds_evs(self, embeddings: Any, _: Any) -> Any:
        return embeddings

    def _postprocess_video_embeds_evs(self, embeddings: Any, _: Any) -> Any:
        return embeddings

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """Returns the features of each image or video, `[tokens, d + COLUMNS]`, those of videos pruned."""
        numbers = kwargs.pop(NUM_TOKENS, None)
        dense = super().embed_multimodal(**kwargs)  # type: ignore[misc]
        names = ("image_grid_thw", "video_grid_thw", "second_per_grid_ts", "timestamps")
        given = {name: kwargs[name] for name in names if kwargs.get(name) is not None}
        items = [{name: values[i] for name, values in given.items()} for i in range(len(dense or ()))]
        with gpu_sync_allowed():
            if numbers is None:
                return tuple(map(_with_columns, dense or (), map(self._dense_positions, items)))
            return tuple(map(self._prune, dense, numbers[:, 0].tolist(), items))

    def _prune(self, features: Tensor, number: int, item: Mapping[str, Any]) -> Tensor:
        """Prunes one video, `[n f, d]`, to `[number, d + COLUMNS]`."""
        mask = self._mask(features, number, item).flatten()
        return _with_columns(features[mask], self._dense_positions(item)[:, mask.cpu()])

    def _mask(self, features: Tensor, number: int, item: Mapping[str, Any]) -> Tensor:
        n, rows, cols = item["video_grid_thw"].tolist()
        merge = self.visual.spatial_merge_size
        grid = rows // merge, cols // merge
        return kept_tokens(features.view(n, grid[0] * grid[1], -1), number, self.sharpv, grid)

    def _dense_ids(self, item: Mapping[str, Any]) -> list[int]:
        """Returns the tokens that stand for an item in a prompt that is not pruned."""
        image = "image_grid_thw" in item
        grid = item["image_grid_thw" if image else "video_grid_thw"]
        token = self.config.image_token_id if image else self.config.video_token_id
        return [token] * (int(grid.prod()) // self.visual.spatial_merge_size**2)

    def _dense_positions(self, item: Mapping[str, Any]) -> Tensor:
        """Returns the positions `[3, l]` of these tokens, had the prompt nothing else."""
        modality = "image" if "image_grid_thw" in item else "video"
        field = MultiModalFieldConfig.batched(modality).field
        data = {name: MultiModalFieldElem(value, field) for name, value in item.items()}
        ids = self._dense_ids(item)
        feature = MultiModalFeatureSpec(
            data=MultiModalKwargsItem(data),
            modality=modality,
            identifier="",
            mm_position=PlaceholderRange(offset=0, length=len(ids)),
        )
        positions: Tensor = super().get_mrope_input_positions(ids, [feature])[0]  # type: ignore[misc]
        return positions

    def get_mrope_input_positions(
        self, input_tokens: list[int], mm_features: list[Any]
    ) -> tuple[Tensor, int]:
        """Returns the positions `[3, L]` of a prompt, right for its text, and what decoding adds to them.

        They are those of the same prompt with all tokens. Those of images and videos are filled in by
        `recompute_mrope_positions`, before they are read.
        """
        dense: list[int] = []
        columns: list[int] = []  # of `dense`, that the tokens of the prompt stand for
        features = []
        read = 0
        for feature in sorted(mm_features, key=lambda feature: feature.mm_position.offset):
            start, length = feature.mm_position.offset, feature.mm_position.length
            columns += range(len(dense), len(dense) + start - read)
            dense += input_tokens[read:start]
            ids = self._dense_ids({name: element.data for name, element in feature.data.items()})
            features.append(replace(feature, mm_position=PlaceholderRange(len(dense), len(ids))))
            columns += range(len(dense), len(dense) + length)
            dense += ids
            read = start + length
        columns += range(len(dense), len(dense) + len(input_tokens) - read)
        dense += input_tokens[read:]
        positions, _ = super().get_mrope_input_positions(dense, features)  # type: ignore[misc]
        return positions[:, columns], int(positions.max()) + 1 - len(input_tokens)

    def recompute_mrope_positions(
        self,
        input_ids: list[int] | Tensor,
        multimodal_embeddings: Sequence[Tensor],
        mrope_positions: Tensor,
        num_computed_tokens: int,
    ) -> tuple[list[Tensor], Tensor, int]:
        """Takes the columns off the embeddings of a chunk, and fills in the positions that they tell.

        Args:
            input_ids: the whole prompt, `[L]`.
            multimodal_embeddings: rows of images and videos in this chunk, `[l, d + COLUMNS]` each, in order.
            mrope_positions: `[3, L]`, from `get_mrope_input_positions`, perhaps filled in in part.
            num_computed_tokens: where the chunk begins.

        Returns:
            The embeddings `[l, d]`, the positions, and what decoding adds to them.
        """
        positions = mrope_positions.clone()
        with gpu_sync_allowed():
            ids = torch.as_tensor(input_ids, device=positions.device)
            visual = (ids == self.config.image_token_id) | (ids == self.config.video_token_id)
            cursor = num_computed_tokens
            for embedding in multimodal_embeddings:
                numbers = _from_digits(embedding[:, -COLUMNS:].to(positions.device)).T
                place, lead = numbers[:2, 0].tolist()
                # Within the prompt, whatever it says: an error here would stop the engine.
                last = len(ids) - len(embedding)
                cursor = min(cursor, last)
                # An item that began before this chunk goes on where the chunk begins.
                first = cursor if place else cursor + int(visual[cursor:].long().argmax()) - lead
                first = min(max(first, cursor), last)
                start = max(first - place, 0)
                base = positions[0, start - 1] + 1 if start else 0
                cursor = first + len(embedding)
                positions[:, first:cursor] = numbers[2:] + base
            delta = int(positions.max()) + 1 - len(ids)
        return [embedding[:, :-COLUMNS] for embedding in multimodal_embeddings], positions, delta


def position_columns(positions: Tensor, lead: int = 0) -> Tensor:
    """Returns the columns of an item, int64 `[l, COLUMNS]`, all of them below 256.

    Args:
        positions: int64 `[3, l]`, as if the item stood at the beginning of the prompt.
        lead: rows of the item before its first visual token.
    """
    places = torch.arange(positions.shape[1])
    return _to_digits(torch.stack([places, torch.full_like(places, lead), *positions], dim=-1))


def _with_columns(embeddings: Tensor, positions: Tensor) -> Tensor:
    return torch.cat([embeddings, position_columns(positions).to(embeddings)], dim=-1)


def _to_digits(numbers: Tensor) -> Tensor:
    """Writes whole numbers `[l, v]` as `[l, 3 v]` digits below 256."""
    powers = _BASE ** torch.arange(_DIGITS, device=numbers.device)
    return (numbers.unsqueeze(-1) // powers % _BASE).flatten(1)


def _from_digits(digits: Tensor) -> Tensor:
    """Reads `[l, v]` off `[l, 3 v]` digits of any dtype."""
    powers = _BASE ** torch.arange(_DIGITS, device=digits.device)
    return (digits.long().unflatten(1, (-1, _DIGITS)) * powers).sum(-1)
