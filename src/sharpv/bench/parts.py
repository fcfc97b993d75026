"""Tells the vision tower from the projector while a video is encoded, in whatever a meter counts."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from sharpv.hf.families import Family
from sharpv.hf.features import encode_video

__all__ = ["Encoded", "encode_in_parts", "tower_and_projector"]

TOWERS = ("vision_tower", "video_tower", "vision_model", "vision_encoder")
"""Names of the vision tower where the projector stands beside it."""

TOWER_WITH_MERGER = "visual"
"""Name of the vision tower that holds its projector, the mergers of patches."""


class Encoded(NamedTuple):
    """One encoding of the videos of a request.

    Attributes:
        output: of the encoder; its features are `pooler_output`.
        tower: what the meter counted up to the projector, the vision tower and the planning of reuse; all of
            it where the two cannot be told apart.
        projector: the rest of the way to the LLM's input: projection, pooling, separators; None where the two
            cannot be told apart.
    """

    output: Any
    tower: float
    projector: float | None


def encode_in_parts(
    base: Any, family: Family, inputs: Mapping[str, Any], meter: Callable[[], float]
) -> Encoded:
    """Encodes the videos of a request, and meters both parts of the way.

    Args:
        base: the base model.
        family: of it.
        inputs: what the processor returned.
        meter: a reading that only grows, such as seconds or floating-point operations.
    """
    mergers = _mergers(base)
    towers, projectors = tower_and_projector(base)
    watched = mergers or towers
    inside, entered = 0.0, 0.0
    projecting: float | None = None

    def enter(*_: Any) -> None:
        nonlocal entered
        entered = meter()

    def leave(*_: Any) -> None:
        nonlocal inside
        inside += meter() - entered

    def project(*_: Any) -> None:
        nonlocal projecting
        projecting = meter() if projecting is None else projecting

    hooks = [part.register_forward_pre_hook(enter) for part in watched]
    hooks += [] if mergers else [part.register_forward_pre_hook(project) for part in projectors]
    hooks += [part.register_forward_hook(leave) for part in watched]
    try:
        start = meter()
        output, _ = encode_video(base, family, inputs)
        end = meter()
    finally:
        for hook in hooks:
            hook.remove()
    whole = end - start
    if not inside:
        return Encoded(output, whole, None)
    if mergers:
        return Encoded(output, whole - inside, inside)
    # With reuse, rows are spread to all frames after the tower has been left.
    tower = inside if projecting is None else projecting - start
    return Encoded(output, tower, whole - tower)


def tower_and_projector(base: Any) -> tuple[list[nn.Module], list[nn.Module]]:
    """Returns the modules of both parts, as far as they are known; mergers lie within their tower.

    Args:
        base: the base model.
    """
    mergers = _mergers(base)
    if mergers:
        return [getattr(base, TOWER_WITH_MERGER)], mergers
    towers = [part for name, part in base.named_children() if name in TOWERS]
    projectors = [part for name, part in base.named_children() if "projector" in name]
    return towers, projectors


def _mergers(base: Any) -> list[nn.Module]:
    tower = getattr(base, TOWER_WITH_MERGER, None)
    named = [] if tower is None else [part for name, part in tower.named_children() if "merger" in name]
    return [part for group in named for part in (group if isinstance(group, nn.ModuleList) else [group])]
