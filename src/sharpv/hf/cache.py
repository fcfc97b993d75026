"""The KV cache: a layer that holds fewer keys than the model has read, and says so."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, LinearAttentionLayer

from sharpv._compat import installed_transformers
from sharpv.errors import AttachError, InputError
from sharpv.hf.positions import tail_length, upload

__all__ = [
    "CACHE",
    "PrunedLayer",
    "adopt",
    "cache_bytes",
    "count_cut_columns",
    "dense_cache_bytes",
    "position_shift",
    "pruned_layers",
    "require_prunable",
]

CACHE = "cache" if installed_transformers() >= (5, 24) else "past_key_values"
"""What transformers calls a cache, among arguments and in outputs."""


class PrunedLayer(DynamicLayer):
    """A cache layer from which keys and values were removed that still count as read.

    To `generate()`, to masks and to later turns its length is the logical one, as with transformers' own
    sliding window layers: `get_seq_length()` counts removed columns, `get_mask_sizes()` gives them as the
    offset.

    Attributes:
        hidden: columns that were removed.
        valid: bool `[B, physical]`, false at padding; None without padding.
        tail: columns after the last removed one; only these can be cropped once any is removed.
        position_shift: int64 `[B, 1]`, by which compact position ids lag behind the logical length; None if
            0.
        ready: whether a session has prepared the attention masks of the coming update.
    """

    keys: Tensor
    values: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.hidden = 0
        self.tail = 0
        self.valid: Tensor | None = None
        self.position_shift: Tensor | None = None
        self.ready = False

    @property
    def physical(self) -> int:
        """Columns that the keys and values hold."""
        return super().get_seq_length()

    @property
    def pruned(self) -> bool:
        """Whether masks made without a session would be wrong."""
        return self.hidden > 0 or self.valid is not None

    def get_seq_length(self) -> int:
        """Returns the logical length: what the model has read."""
        return self.physical + self.hidden

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Returns (columns that attention sees, columns removed before them)."""
        return self.physical + query_length, self.hidden

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Appends keys and values `[B, heads, q, head_dim]`.

        Raises:
            AttachError: columns were removed and no session prepared the masks.
        """
        if self.pruned and not self.ready:
            raise AttachError(
                "got a KV cache pruned by SharpV in a model without a session: attach to the model before "
                "you go on with this cache, or start with a new one"
            )
        self.ready = False
        self.tail += key_states.shape[-2]
        return super().update(key_states, value_states, *args, **kwargs)

    @property
    def state(self) -> tuple[int, int, int]:
        """What attention masks depend on: layers with the same state share theirs."""
        return self.physical, self.hidden, id(self.valid)

    def attention_mask(self, new: Tensor) -> Tensor:
        """Returns the mask `[B, logical + q]` of a call that feeds `new`, bool `[B, q]`, false at padding."""
        return torch.cat([new.new_ones(new.shape[0], self.hidden), self.columns(new)], dim=1).long()

    def columns(self, new: Tensor, held: int | None = None) -> Tensor:
        """Returns what is no padding, bool `[B, held + q]`, with `new` after the columns held.

        Args:
            new: bool `[B, q]`.
            held: columns before them; None for all that the layer holds.
        """
        width = self.physical if held is None else held
        valid = self.valid if self.valid is not None else new.new_ones(new.shape[0], width)
        return torch.cat([valid, upload(new, valid.device)], dim=1)

    def lag(self, columns: Tensor) -> None:
        """Lets compact position ids lag behind by `columns` more, int64 `[B, 1]`."""
        columns = upload(columns, self.keys.device)
        self.position_shift = columns if self.position_shift is None else columns + self.position_shift

    def hide(self, columns: int, tail: int) -> None:
        """Counts `columns` that the model was not fed as read; `tail` columns follow the last of them."""
        if columns:
            self.hidden += columns
            self.tail = tail

    def keep(self, index: Tensor, valid: Tensor | None, tail: int) -> None:
        """Keeps only some columns, at once: the storage of the others is released.

        Args:
            index: int64 `[B, P]`, the columns to keep, as `compact()` gives them.
            valid: bool `[B, P]`, false at padding; None without padding.
            tail: columns after the last removed one.
        """
        self.hide(self.physical - index.shape[1], tail)
        self.keys, self.values = _take(self.keys, index), _take(self.values, index)
        self.valid = valid

    def crop(self, tokens_to_remove: int) -> None:
        """Removes the last tokens (a negative number, as transformers has it).

        Raises:
            InputError: the crop reaches back to columns that are no longer held.
        """
        count = abs(tokens_to_remove)
        if self.hidden and count > self.tail:
            raise InputError(
                f"cannot crop {count} tokens from a pruned cache that holds {self.tail} after its video: "
                "crop less, or start with a new cache"
            )
        super().crop(tokens_to_remove)
        self.tail -= count
        if self.valid is not None and count:
            self.valid = self.valid[:, :-count]

    def reset(self) -> None:
        """Empties the layer."""
        super().reset()
        self.hidden, self.tail, self.valid, self.position_shift = 0, 0, None, None

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorders the rows for beam search."""
        super().reorder_cache(beam_idx)
        self._on_rows(lambda rows: rows.index_select(0, beam_idx.to(rows.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats every row."""
        super().batch_repeat_interleave(repeats)
        self._on_rows(lambda rows: rows.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps some rows."""
        super().batch_select_indices(indices)
        self._on_rows(lambda rows: rows[indices])

    def _on_rows(self, change: Callable[[Tensor], Tensor]) -> None:
        self.valid = None if self.valid is None else change(self.valid)
        self.position_shift = None if self.position_shift is None else change(self.position_shift)


def _take(states: Tensor, index: Tensor) -> Tensor:
    batch, heads, _, dim = states.shape
    return states.gather(2, index.to(states.device)[:, None, :, None].expand(batch, heads, -1, dim))


PRUNABLE = {DynamicLayer, PrunedLayer}
WITHOUT_COLUMNS = {LinearAttentionLayer}


def require_prunable(cache: Cache) -> None:
    """Refuses a cache whose layers SharpV cannot shorten.

    Raises:
        InputError: it is not a plain dynamic cache.
    """
    kinds = {type(layer) for layer in cache.layers} | {cache.layer_class_to_replicate or DynamicLayer}
    if not isinstance(cache, DynamicCache) or cache.offloading or not kinds <= PRUNABLE | WITHOUT_COLUMNS:
        raise InputError(
            f"got a {type(cache).__name__} with layers {sorted(kind.__name__ for kind in kinds)}; an "
            "attached SharpV prunes a DynamicCache of full-attention layers. Leave cache_implementation "
            "unset, or detach and shorten the prompt with sharpv.prune_inputs, which works with any cache"
        )


def adopt(cache: DynamicCache, padding: Tensor | None) -> None:
    """Turns the layers of a cache into `PrunedLayer`, in place; what they hold stays.

    Args:
        cache: with layers of these kinds, or without columns.
        padding: bool `[B, physical]`, false at the padding that a cache without gaps holds; None without any.
    """
    for position, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[position] = _adopted(layer)
    for layer in pruned_layers(cache):
        if not layer.pruned:
            layer.valid = padding
    if cache.layer_class_to_replicate is DynamicLayer:
        cache.layer_class_to_replicate = PrunedLayer


def _adopted(layer: DynamicLayer) -> PrunedLayer:
    adopted = PrunedLayer()
    adopted.__dict__.update(layer.__dict__)
    adopted.tail = adopted.physical
    return adopted


def pruned_layers(cache: object) -> list[PrunedLayer]:
    """Returns the layers that SharpV adopted; none for no cache or a foreign one."""
    layers: Sequence[object] = getattr(cache, "layers", ())
    return [layer for layer in layers if isinstance(layer, PrunedLayer)]


def position_shift(cache: object) -> Tensor | None:
    """Returns by how much compact position ids lag behind the logical length, int64 `[B, 1]`; None if 0."""
    layers = pruned_layers(cache)
    return layers[0].position_shift if layers else None


def count_cut_columns(cache: object, keep: Tensor, lag: Tensor | None) -> None:
    """Makes a cache count a prompt that was cut before the model, so that later turns go on with all of it.

    Args:
        cache: that read the kept columns, and what was generated after them.
        keep: bool `[B, L]` on the host, the columns of the prompt that were kept.
        lag: int64 `[B, 1]`, tokens cut per row, where positions are compact; else None.
    """
    fed, after = int(keep.sum(1).max()), tail_length(keep)
    for layer in pruned_layers(cache):
        tail = layer.tail if layer.hidden else layer.tail - fed + after
        layer.hide(keep.shape[1] - fed, tail)
        if lag is not None:
            repeats = layer.keys.shape[0] // len(lag)
            layer.lag(lag.repeat_interleave(repeats, dim=0))


def cache_bytes(cache: Cache) -> int:
    """Returns the bytes of storage that the keys and values really hold, views counted at their full size."""
    return sum(
        states.untyped_storage().nbytes() for layer in _layers(cache) for states in (layer.keys, layer.values)
    )


def dense_cache_bytes(cache: Cache, extra_columns: int = 0) -> int:
    """Returns the bytes of the same cache with nothing removed.

    Args:
        cache: after the prefill.
        extra_columns: columns of the dense prompt that the cache does not count.
    """
    # A sliding window, too, holds a view of the whole prompt until the next token.
    columns = cache.get_seq_length() + extra_columns
    per_column = (
        states.shape[0] * states.shape[1] * states.shape[3] * states.element_size()
        for layer in _layers(cache)
        for states in (layer.keys, layer.values)
    )
    return columns * sum(per_column)


def _layers(cache: Cache) -> list[Any]:
    """Returns the layers that hold keys and values; those with a recurrent state do not."""
    return [layer for layer in cache.layers if isinstance(getattr(layer, "keys", None), Tensor)]
