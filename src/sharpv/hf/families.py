"""The supported families, as data: one that lays its tokens out in a known way is one line here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from transformers import PreTrainedModel

from sharpv._compat import require_transformers
from sharpv.config import SharpVConfig
from sharpv.errors import InputError, UnsupportedModelError
from sharpv.hf.layout import VideoLayout, counted, grid, per_image, stacked

__all__ = ["FAMILIES", "Family", "family_for", "require_family", "require_release"]


@dataclass(frozen=True, slots=True)
class Family:
    """What SharpV has to know of a model family.

    Attributes:
        name: as its authors write it.
        layout: lays the placeholders of a prompt out in frames.
        mrope: whether position ids have several axes (time, height, width), which cannot be renumbered.
        separators: tokens after the frames of each video, never pruned by stage 1.
        leading: tokens of each frame before its grid, such as a class token.
        cropped: whether its released processor shows the model only the middle of a frame, so that what a
            token stands for is known only with the processor.
        placeholder: name, in the model's configuration, of the token that stands for a piece of a video.
        pixels: name of the input that holds the frames.
        encoder: method of the base model that encodes them.
        modality: key of the encoded frames in `mm_encoder_outputs`: "video", or "image" for a family that is
            shown a video as images.
        stage_1_only: why nothing but stage 1 before the model works, or None where all does.
        hybrid: whether some layers carry a recurrent state, which stage 2 leaves alone.
        since: first release of transformers, (major, minor), whose class can be pruned; None where every
            supported one can.
    """

    name: str
    layout: Callable[..., list[VideoLayout]]
    mrope: bool = False
    separators: int = 0
    leading: int = 0
    cropped: bool = False
    placeholder: str = "video_token_id"
    pixels: str = "pixel_values_videos"
    encoder: str = "get_video_features"
    modality: str = "video"
    stage_1_only: str | None = None
    hybrid: bool = False
    since: tuple[int, int] | None = None

    def layouts(
        self, inputs: Mapping[str, Any], model: PreTrainedModel, counts: Sequence[int]
    ) -> list[VideoLayout]:
        """Lays the videos of a request out in frames.

        Args:
            inputs: what the processor returned.
            model: the base model.
            counts: placeholders of each prompt.

        Raises:
            InputError: the inputs do not add up.
        """
        layouts = self.layout(inputs, model, counts, self.separators, self.leading)
        return [replace(layout, cropped=self.cropped) for layout in layouts]

    def shows_video(self, config: SharpVConfig) -> bool:
        """Whether what the family is shown under `pixels` counts as video."""
        return self.modality == "video" or config.images_as_frames

    def video_pixels(self, inputs: Mapping[str, Any], config: SharpVConfig) -> Any:
        """Returns the frames among the inputs; None without any."""
        return inputs.get(self.pixels) if self.shows_video(config) else None

    def encoded_video(self, inputs: Mapping[str, Any], config: SharpVConfig) -> Any:
        """Returns the encoded frames among the inputs; None without any."""
        return (
            (inputs.get("mm_encoder_outputs") or {}).get(self.modality) if self.shows_video(config) else None
        )


_qwen = partial(Family, layout=grid, mrope=True)
_shown_as_images = partial(
    Family,
    layout=per_image,
    placeholder="image_token_id",
    pixels="pixel_values",
    encoder="get_image_features",
    modality="image",
)
GEMMA_MASKS = "Gemma 4 makes the attention masks of all layers before its decoder runs"
# Before, the thinkers were one class without a base model that takes encoded videos.
BASE_OF_THINKERS = (5, 21)

FAMILIES = {
    "gemma4": Family("Gemma 4", counted, stage_1_only=GEMMA_MASKS),
    "glm4v": _qwen("GLM-4V", placeholder="image_token_id"),
    "internvl": _shown_as_images("InternVL"),
    "llava_next_video": Family("LLaVA-NeXT-Video", stacked, cropped=True),
    "llava_onevision": Family("LLaVA-OneVision", stacked, separators=1),
    "perception_lm": Family("PerceptionLM", stacked, encoder="get_image_features"),
    "qwen2_5_omni_thinker": _qwen("Qwen2.5-Omni (thinker)", since=BASE_OF_THINKERS),
    "qwen2_5_vl": _qwen("Qwen2.5-VL"),
    "qwen2_vl": _qwen("Qwen2-VL"),
    "qwen3_5": _qwen("Qwen3.5", hybrid=True),
    "qwen3_5_moe": _qwen("Qwen3.5-MoE", hybrid=True),
    "qwen3_omni_moe_thinker": _qwen("Qwen3-Omni (thinker)", since=BASE_OF_THINKERS),
    "qwen3_vl": _qwen("Qwen3-VL"),
    "qwen3_vl_moe": _qwen("Qwen3-VL-MoE"),
    "smolvlm": _shown_as_images("SmolVLM"),
    "video_llama_3": Family("VideoLLaMA3", grid),
    "video_llava": Family("Video-LLaVA", stacked, leading=1, cropped=True),
}
"""Families by `model_type` of the model's configuration."""


def require_family(model_type: str) -> Family:
    """Returns the family of a `model_type`.

    Raises:
        UnsupportedModelError: it is none that SharpV knows.
    """
    if model_type not in FAMILIES:
        raise UnsupportedModelError(
            f"got a model of type {model_type!r}; supported are {', '.join(sorted(FAMILIES))}. "
            "To add a family, see docs/adding-a-model.md"
        )
    return FAMILIES[model_type]


def require_release(family: Family) -> None:
    """Checks that the installed transformers can run a family.

    Raises:
        UnsupportedModelError: it lies outside the range that SharpV supports, or before the family's first
            release.
    """
    require_transformers()
    if family.since is not None:
        require_transformers(family.name, family.since)


def family_for(model: PreTrainedModel, config: SharpVConfig) -> Family:
    """Returns the family of a model that can generate, if it can run the configuration.

    Raises:
        UnsupportedModelError: no transformers model, one without `generate()`, or of an unknown family; or a
            release of transformers that is not supported.
        InputError: `positions="compact"` for a family whose positions have several axes.
    """
    if not isinstance(model, PreTrainedModel):
        raise UnsupportedModelError(
            f"got a {type(model).__name__}; SharpV attaches to transformers models, for example "
            "AutoModelForImageTextToText.from_pretrained(...)"
        )
    family = require_family(model.config.model_type)
    require_release(family)
    if not model.can_generate() or model.base_model is model:
        raise UnsupportedModelError(
            f"got a {type(model).__name__}, which cannot generate; pass the whole model, for example "
            "AutoModelForImageTextToText.from_pretrained(...)"
        )
    if family.mrope and config.positions == "compact":
        raise InputError(
            f"got positions='compact' for {family.name}, whose position ids carry time, height and width: "
            "use positions='original'"
        )
    return family
