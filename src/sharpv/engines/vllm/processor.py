"""Lays out prompts with as many placeholders as tokens will stay, and validates what requests ask."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing import PromptReplacement, PromptUpdateDetails

from sharpv.engines.vllm.options import REQUEST_KEY, Options
from sharpv.engines.vllm.select import number_of_tokens
from sharpv.engines.vllm.tally import REQUEST_ID, note
from sharpv.errors import InputError

__all__ = ["NUM_TOKENS", "QwenVideos", "SharpVProcessor"]

NUM_TOKENS = "sharpv_num_tokens"
"""The field of a video that says how many of its tokens stay, and of how many: int64 `[2]`."""


@dataclass
class VideoDetails(PromptUpdateDetails):
    """What stands for a video in the prompt; vLLM keeps it beside the video in its cache.

    Attributes:
        tokens: visual tokens of the video.
        kept: those that stay.
    """

    tokens: int = 0
    kept: int = 0


class SharpVProcessor:
    """Comes before one of vLLM's processors of a family among the bases of a class.

    The number of tokens that stay goes with each video as a field of its own, from here to the model.
    """

    info: Any

    def _videos(self, processed: Mapping[str, Any]) -> Iterator[tuple[int, int, Tensor]]:
        """Yields of each video n, its frames as the LLM sees them, f, the tokens of each, and its pixels."""
        raise NotImplementedError

    def _patches(self, n: int, f: int, pixels: Tensor) -> Tensor:
        """Returns the pixels under each token of a video, `[n, f, pixels]`, about in [-1, 1]."""
        raise NotImplementedError

    def _placeholders(self, video: Mapping[str, Any], number: int) -> list[int]:
        """Returns the tokens that stand for a video in the prompt when `number` of its own stay."""
        raise NotImplementedError

    def _options(self, request: Mapping[str, object]) -> Options:
        return Options.of(self.info.get_hf_config()).asked(request)

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Mapping[str, object]) -> Any:
        options = self._options(hf_kwargs)
        processed = super()._apply_hf_processor_main(mm_items, _without_ours(hf_kwargs))  # type: ignore[misc]
        if "video_embeds" in processed:
            raise InputError("got video_embeds, which cannot be pruned here: send the video itself")
        if "pixel_values_videos" in processed:
            numbers = [
                (number_of_tokens(n, f, options, partial(self._patches, n, f, pixels)), n * f)
                for n, f, pixels in self._videos(processed)
            ]
            processed[NUM_TOKENS] = torch.tensor(numbers)
        return processed

    def _cached_apply_hf_processor(self, inputs: Any, timing_ctx: Any) -> Any:
        result = super()._cached_apply_hf_processor(inputs, timing_ctx)  # type: ignore[misc]
        request = inputs.hf_processor_mm_kwargs.get(REQUEST_ID)
        videos = [update.content for (update,) in result.prompt_updates.get("video", ())]
        if request is not None and videos:
            note(request, sum(video.tokens for video in videos), sum(video.kept for video in videos))
        return result

    def _get_mm_fields_config(self, hf_inputs: Any, hf_kwargs: Mapping[str, object]) -> Mapping[str, Any]:
        fields = super()._get_mm_fields_config(hf_inputs, hf_kwargs)  # type: ignore[misc]
        return {**fields, NUM_TOKENS: MultiModalFieldConfig.batched("video", keep_on_cpu=True)}

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[Any]:
        kwargs = _without_ours(hf_processor_mm_kwargs)
        updates = super()._get_prompt_updates(mm_items, kwargs, out_mm_kwargs)  # type: ignore[misc]
        others = [update for update in updates if update.modality != "video"]
        (dense,) = (update for update in updates if update.modality == "video")

        def replacement(i: int) -> Any:
            video = {name: element.data for name, element in out_mm_kwargs["video"][i].items()}
            kept, tokens = video[NUM_TOKENS].tolist()
            prompt = PromptUpdateDetails.from_seq(self._placeholders(video, kept))
            return VideoDetails(prompt.full, prompt.is_embed, tokens, kept)

        return [*others, PromptReplacement(modality="video", target=dense.target, replacement=replacement)]

    def _get_mm_hashes(self, inputs: Any) -> Any:
        # By default they tell a request's options, not the server's: engines that share a store of keys and
        # values would take each other's. Under this name they count for videos only.
        kwargs = _without_ours(inputs.hf_processor_mm_kwargs)
        options = self._options(inputs.hf_processor_mm_kwargs).to_dict()
        scoped = {**(kwargs.get("videos_kwargs") or {}), "sharpv": options}  # type: ignore[dict-item]
        return super()._get_mm_hashes(  # type: ignore[misc]
            replace(inputs, hf_processor_mm_kwargs={**kwargs, "videos_kwargs": scoped})
        )

    def get_dummy_inputs(self, *args: Any, **kwargs: Any) -> Any:
        """Asks for all tokens, since the engine sizes its caches by these inputs and requests may."""
        inputs = super().get_dummy_inputs(*args, **kwargs)  # type: ignore[misc]
        return replace(inputs, hf_processor_mm_kwargs={**inputs.hf_processor_mm_kwargs, REQUEST_KEY: 1.0})


class QwenVideos:
    """The videos of the Qwen line: packed patches, those of one token in a row."""

    info: Any

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        """Lays out a prompt, in which the tokens of images and videos may stand for these only.

        The model finds where an image or video begins by such a token.

        Raises:
            VLLMValidationError: there is one in the text of a prompt with media.
        """
        # Before the media are processed, since vLLM takes what has been for something that the engine has.
        config, counts = self.info.get_hf_config(), inputs.mm_data_items.get_all_counts()
        for modality, token in (("image", config.image_token_id), ("video", config.video_token_id)):
            if counts and inputs.prompt.count(token) > counts.get(modality, 0):
                raise VLLMValidationError(
                    f"got <|{modality}_pad|> in the text, which stands for an image or a video: leave it "
                    "out, or write it otherwise"
                )
        return super().apply(inputs, timing_ctx)  # type: ignore[misc]

    def _videos(self, processed: Mapping[str, Any]) -> Iterator[tuple[int, int, Tensor]]:
        merge = self.info.get_hf_config().vision_config.spatial_merge_size
        grids = torch.as_tensor(processed["video_grid_thw"])
        videos = processed["pixel_values_videos"].split(grids.prod(-1).tolist())
        for pixels, (n, rows, cols) in zip(videos, grids.tolist(), strict=True):
            yield n, rows * cols // merge**2, pixels

    def _patches(self, n: int, f: int, pixels: Tensor) -> Tensor:
        if self.info.ctx.get_mm_config().mm_device_do_normalize:
            pixels = pixels.float() / 127.5 - 1
        return pixels.reshape(n, f, -1)

    def _placeholders(self, video: Mapping[str, Any], number: int) -> list[int]:
        return [self.info.get_hf_config().video_token_id] * number


def _without_ours(kwargs: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in kwargs.items() if name not in (REQUEST_KEY, REQUEST_ID)}
