"""The exact adaptive mode in vLLM: encode and prune outside, and send the prompt as embeddings.

vLLM counts the positions of such a prompt itself, one after another, so this is for models with 1-D RoPE,
such as LLaVA-OneVision, and kept tokens close up there.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.select import keep_mask
from sharpv.errors import InputError

__all__ = ["prompt_embeds"]


@torch.no_grad()
def prompt_embeds(
    input_ids: Tensor,
    embed_tokens: Callable[[Tensor], Tensor],
    placeholder: int,
    videos: Sequence[tuple[Tensor, int]],
    config: SharpVConfig | None = None,
) -> Tensor:
    """Embeds a prompt with the kept tokens of its videos, for `llm.generate({"prompt_embeds": ...})`.

    Args:
        input_ids: int64 `[L]`, as the processor laid the prompt out, with a placeholder for every token.
        embed_tokens: the LLM's input embeddings, ids `[t]` to `[t, d]`.
        placeholder: id of the token that stands for video tokens.
        videos: for each video in order its features `[n f + s, d]`, after the projector, and n. What exceeds
            a whole number of frames, s < n, follows the frames and stays, as LLaVA-OneVision's newline.
        config: what to keep; `positions` and stage 2 have no effect here. The default is the paper's
            automatic mode.

    Returns:
        `[L', d]`, in the dtype of the embeddings.

    Raises:
        InputError: placeholders and features do not match, or features that cannot be scored.
    """
    config = config or SharpVConfig()
    places = (input_ids == placeholder).nonzero().flatten()
    lengths = [len(features) for features, _ in videos]
    if sum(lengths) != len(places):
        raise InputError(
            f"got {len(places)} placeholders for videos of {lengths} tokens: lay the prompt out with the "
            "model's processor, and pass all of its videos"
        )
    parts, read = [], 0
    for (features, n), where in zip(videos, places.split(lengths), strict=True):
        start, end = int(where[0]), int(where[-1]) + 1
        if end - start != len(features):
            raise InputError(f"got other tokens between the {len(features)} placeholders of a video")
        parts += [embed_tokens(input_ids[read:start]), _kept(features, n, config)]
        read = end
    parts.append(embed_tokens(input_ids[read:]))
    return torch.cat([part.to(parts[-1]) for part in parts])


def _kept(features: Tensor, n: int, config: SharpVConfig) -> Tensor:
    f = len(features) // n
    frames, rest = features[: n * f], features[n * f :]
    return torch.cat([frames[keep_mask(frames.view(n, f, -1), config).flatten()], rest])
