"""How much attention each video token received in the vision tower, heard while the tower encodes."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from sharpv.errors import InputError
from sharpv.hf.families import FAMILIES, Family
from sharpv.hf.features import covered
from sharpv.hf.overhear import overhear
from sharpv.hf.towers import TOWERS, Tower
from sharpv.hf.turns import changing

__all__ = ["attention_of", "hear", "received", "remember_attention", "repeat_rows", "require_tower"]

# Numbers of attention that are held at a time.
_BLOCK = 2**22
_NAME = "token_attention"
_KNOWN_POOLING = ("average", "max")


@contextmanager
def hear(
    base: PreTrainedModel, family: Family, tell: Callable[[Tensor], None] | None = None
) -> Iterator[None]:
    """Within the block, what the encoder of videos returns carries the attention that its tokens received.

    The tower runs its own kernels, and the attention of its last layer that the features come through is
    computed once more from queries and keys.

    Args:
        base: the base model; only this instance changes, and is put back in the end.
        family: of it.
        tell: takes the attention of each encoding, float `[tokens]`, in the order of `flatten`; 0 at
            separators.

    Raises:
        InputError: a tower whose attention is not known how to read.
    """
    tower = require_tower(base, family)
    encode = getattr(base, family.encoder)
    signature = inspect.signature(encode)

    @functools.wraps(encode)
    def heard(*args: Any, **given: Any) -> Any:
        frames: list[Tensor] = []
        call = signature.bind_partial(*args, **given).arguments
        call |= call.pop("kwargs", {})

        def read(query: Tensor, key: Tensor, options: dict[str, Any]) -> None:
            frames.extend(_each_frame(query, key, options, tower.class_token))

        with changing(base), overhear(_attention_module(base, tower, call), read):
            encoded = encode(*args, **given)
        if not isinstance(encoded, ModelOutput):
            return encoded
        if frames:
            tokens = tower.pool(base, call, frames)
            features = encoded.pooler_output
            remember_attention(encoded, _along_the_features(tokens, features, family.separators))
        attention = attention_of(encoded)
        if tell is not None and attention is not None:
            tell(attention)
        return encoded

    with covered(base, family, heard):
        yield


def attention_of(encoded: Any) -> Tensor | None:
    """Returns the attention that an encoder's output carries, `[tokens]`; None where nobody heard it."""
    return getattr(encoded, _NAME, None)


def remember_attention(encoded: Any, attention: Tensor) -> None:
    """Has an encoder's output carry the attention `[tokens]` of its features."""
    setattr(encoded, _NAME, attention)


def repeat_rows(attention: Tensor, counts: list[int], repeats: int) -> Tensor:
    """Returns the attention of a batch whose rows are repeated as `[A, A, B, B]`.

    Args:
        attention: `[tokens]` of the batch, or of the request, whose rows stand in it once.
        counts: video tokens of each row of the batch.
        repeats: copies of each row of the request.
    """
    if len(attention) == sum(counts):
        return attention
    rows = attention.split(counts[::repeats])  # type: ignore[no-untyped-call]
    return torch.cat([row for row in rows for _ in range(repeats)])


def received(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """Returns what each key receives: softmax attention, the mean over heads and queries.

    At most a few million numbers of attention are held at a time.

    Args:
        query: `[B, heads, q, head_dim]`.
        key: `[B, heads, k, head_dim]`.
        scaling: of their products.

    Returns:
        `[B, k]`, float64 for float64 queries and float32 for all others; a row sums to 1.
    """
    dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
    batch, heads, q, _ = query.shape
    k = key.shape[2]
    rows = min(q, max(_BLOCK // k, 1))
    group = max(_BLOCK // (rows * k), 1)
    total = torch.zeros(batch * heads, k, dtype=dtype, device=query.device)
    parts = (part.split(group) for part in (query.flatten(0, 1), key.flatten(0, 1), total))
    with torch.autocast(query.device.type, enabled=False):
        for queries, keys, sums in zip(*parts, strict=True):
            across = keys.to(dtype).mT
            for some in queries.split(rows, dim=1):
                sums += torch.softmax(some.to(dtype) @ across * scaling, -1).sum(1)
    return total.view(batch, heads, k).mean(1) / q


def _each_frame(query: Tensor, key: Tensor, options: dict[str, Any], class_token: bool) -> Iterator[Tensor]:
    """Yields what the patches of each frame received, `[patches]`."""
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    borders = options.get("cu_seq_lens_q")
    # FlashAttention is given all frames in one row.
    lengths = [query.shape[2]] if borders is None else borders.diff().tolist()
    for queries, keys in zip(query.split(lengths, dim=2), key.split(lengths, dim=2), strict=True):  # type: ignore[no-untyped-call]
        yield from received(queries[:, :, :1] if class_token else queries, keys, scaling)


def _along_the_features(tokens: Tensor, features: Any, separators: int) -> Tensor:
    """Returns the attention `[tokens]` with a place for all that `flatten` returns.

    Raises:
        InputError: another number of tokens than there are features.
    """
    if separators:
        tokens = pad(tokens.reshape(len(features), -1), (0, separators))
    videos = [features] if isinstance(features, Tensor) else features
    wanted = sum(video.shape[:-1].numel() for video in videos)
    if tokens.numel() != wanted:
        raise InputError(
            f"got attention of {tokens.numel()} tokens for {wanted} features of the vision tower: choose a "
            "method that looks at features alone, such as vidcom2"
        )
    return tokens.flatten()


def require_tower(base: PreTrainedModel, family: Family) -> Tower:
    """Returns how to read the tower of a model.

    Raises:
        InputError: its attention is not known how to read.
    """
    config: Any = base.config
    tower = TOWERS.get(config.model_type)
    if tower is None:
        known = ", ".join(FAMILIES[name].name for name in TOWERS)
        raise InputError(
            f"got a method that looks at the attention of the vision tower for {family.name}, whose tower is "
            f"not read; those of {known} are: choose a method that looks at features alone, such as vidcom2"
        )
    kind = base.get_submodule(tower.module).config.model_type
    pooling = getattr(config, "spatial_pool_mode", "average")
    if tower.kind not in (None, kind) or pooling not in _KNOWN_POOLING:
        raise InputError(
            f"got a method that looks at the attention of the vision tower for a {family.name} with a tower "
            f"of type {kind!r} and pooling {pooling!r}; only {tower.kind or kind!r} with average or max "
            "pooling is read: choose a method that looks at features alone, such as vidcom2"
        )
    return tower


def _attention_module(base: PreTrainedModel, tower: Tower, call: dict[str, Any]) -> nn.Module:
    """Returns the attention of the last layer that the features of a call come through."""
    parts = base.get_submodule(tower.module).modules()
    layers: Any = next(part for part in parts if isinstance(part, nn.ModuleList))
    if tower.layer is None:
        return getattr(layers[-1], tower.attention)
    chosen = call.get(tower.layer)
    chosen = getattr(base.config, tower.layer) if chosen is None else chosen
    # Number 0 is what enters the first layer; negative ones count from the end.
    depth = max(number % (len(layers) + 1) for number in ([chosen] if isinstance(chosen, int) else chosen))
    if depth == 0:
        raise InputError(
            f"got {tower.layer}={chosen!r}, features that come through no layer of the vision tower: choose "
            "a method that looks at features alone, such as vidcom2"
        )
    return getattr(layers[depth - 1], tower.attention)
