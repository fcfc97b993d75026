"""The supported families, as data: one that lays its tokens out in a known way is one line here."""

from collections.abc import Callable
from dataclasses import dataclass

from transformers import PreTrainedModel

from sharpv._compat import require_transformers
from sharpv.config import SharpVConfig
from sharpv.errors import InputError, UnsupportedModelError
from sharpv.hf.layout import VideoLayout, grid, stacked

__all__ = ["FAMILIES", "Family", "family_for", "require_family"]


@dataclass(frozen=True, slots=True)
class Family:
    """What SharpV has to know of a model family.

    Attributes:
        name: as its authors write it.
        layout: lays the placeholders of a prompt out in frames.
        mrope: whether position ids have several axes (time, height, width), which cannot be renumbered.
        separators: tokens after the frames of each video, never pruned by stage 1.
    """

    name: str
    layout: Callable[..., list[VideoLayout]]
    mrope: bool = False
    separators: int = 0


FAMILIES = {
    "llava_onevision": Family("LLaVA-OneVision", stacked, separators=1),
    "qwen2_5_vl": Family("Qwen2.5-VL", grid, mrope=True),
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


def family_for(model: PreTrainedModel, config: SharpVConfig) -> Family:
    """Returns the family of a model that can generate, if it can run the configuration.

    Raises:
        UnsupportedModelError: no transformers model, one without `generate()`, or of an unknown family; or a
            release of transformers that is not supported.
        InputError: `positions="compact"` for a family whose positions have several axes.
    """
    require_transformers()
    if not isinstance(model, PreTrainedModel):
        raise UnsupportedModelError(
            f"got a {type(model).__name__}; SharpV attaches to transformers models, for example "
            "AutoModelForImageTextToText.from_pretrained(...)"
        )
    family = require_family(model.config.model_type)
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
