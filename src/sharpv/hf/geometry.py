"""Where the tokens of a video stand in the frames of its clip, which the processor cuts and scales."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedModel, ProcessorMixin
from transformers.image_utils import SizeDict

from sharpv.errors import InputError
from sharpv.hf.families import require_family
from sharpv.hf.layout import WHOLE, Window, video_placeholders
from sharpv.report import Report

__all__ = ["picture_window", "with_windows"]


def with_windows(
    report: Report,
    model: PreTrainedModel,
    processor: ProcessorMixin,
    inputs: Mapping[str, Any],
    sizes: Sequence[tuple[int, int]],
) -> Report:
    """Returns the record of a request with the window of each video, for any supported processor.

    A session knows the model only, and leaves `window` None where the family's processor crops.

    Args:
        report: of the request.
        model: that served it.
        processor: that made its inputs, called as it is set.
        inputs: what the processor returned.
        sizes: (height, width) in pixels of the frames of each of the request's clips.

    Raises:
        UnsupportedModelError: a model of an unknown family.
        InputError: the report, the inputs and the sizes are not of the same videos.
    """
    if not report.videos:
        return report
    family, base = require_family(model.config.model_type), model.base_model
    counts = video_placeholders(base, family.placeholder, inputs["input_ids"]).sum(1).tolist()
    layouts = family.layouts(inputs, base, counts)
    if not len(report.videos) == len(layouts) == len(sizes):
        raise InputError(
            f"got a report of {len(report.videos)} videos, inputs of {len(layouts)} and {len(sizes)} sizes: "
            "give what belongs to one request, and a size (height, width) for each of its clips"
        )
    pictures = [picture_window(processor, height, width) for height, width in sizes]
    videos = [
        replace(video, window=_within(picture, layout.window))
        for video, picture, layout in zip(report.videos, pictures, layouts, strict=True)
    ]
    return replace(report, videos=tuple(videos))


def picture_window(processor: ProcessorMixin, height: int, width: int) -> Window | None:
    """Returns the part of a frame that the picture which a processor makes of it shows.

    Args:
        processor: its `video_processor` resizes frames, and may crop the middle.
        height: of the frame, in pixels.
        width: likewise.

    Returns:
        Shares of height and width: the whole frame without a crop, and beyond 0..1 where a crop larger than
        the resized frame pads it. None for a processor without a `video_processor`.
    """
    videos = getattr(processor, "video_processor", None)
    if videos is None:
        return None
    if not videos.do_center_crop:
        return WHOLE
    frame = torch.empty(1, 3, height, width, device="meta")
    if videos.do_resize:
        # A size that was set later is still a plain dictionary.
        frame = videos.resize(frame, SizeDict(**dict(videos.size)))
    top, bottom = _middle(frame.shape[-2], videos.crop_size["height"])
    left, right = _middle(frame.shape[-1], videos.crop_size["width"])
    return top, left, bottom, right


def _middle(side: int, crop: int) -> tuple[float, float]:
    """Returns where the middle `crop` pixels of a side begin and end, in shares of it.

    An odd pixel goes to the far end, whether it is cut off or padded: transformers rounds both towards zero.
    """
    start = int((side - crop) / 2)
    return start / side, (start + crop) / side


def _within(picture: Window | None, part: Window | None) -> Window | None:
    """Returns a part of the picture as a part of the frame that the picture is a part of."""
    if picture is None or part is None:
        return None
    height, width = picture[2] - picture[0], picture[3] - picture[1]
    top, left, bottom, right = part
    return (
        picture[0] + top * height,
        picture[1] + left * width,
        picture[0] + bottom * height,
        picture[1] + right * width,
    )
