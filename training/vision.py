"""Stage 1: the vision tower and the projector learn what each patch and each token shows."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate, mse_loss
from transformers import LlavaOnevisionForConditionalGeneration

from sharpv.shapesqa import render, sample_scene, scene_rng
from training.labels import HEADS, cells, offsets, token_labels
from training.loop import Team
from training.model import Sizes

__all__ = ["LEAST", "encode", "pixels", "subsample_chroma", "vision_heads", "vision_step"]

FRAMES, BACKGROUND_WEIGHT = 4, 0.15
LEAST = {"patch": 0.3, "token": 0.15}


def pixels(frames: Tensor) -> Tensor:
    """Normalises uint8 frames as the processor does."""
    return (frames.float() / 255 - 0.5) / 0.5


def subsample_chroma(frames: Tensor) -> Tensor:
    """Halves the resolution of the colours of uint8 frames `[..., 3, h, w]`, as 4:2:0 video does."""
    red, green, blue = (frames.float() / 255).unbind(-3)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = avg_pool2d(torch.stack((red - luma, blue - luma), -3).flatten(0, -4), 2)
    chroma = interpolate(chroma, scale_factor=2.0, mode="bilinear").view(
        *frames.shape[:-3], 2, *frames.shape[-2:]
    )
    red, blue = (part + luma for part in chroma.unbind(-3))
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    return torch.stack((red, green, blue), -3).clamp(0, 1).mul(255).round().to(torch.uint8)


def vision_heads(sizes: Sizes) -> nn.ModuleDict:
    """Makes the heads of patches and of tokens; `_loss` says what they predict."""
    return nn.ModuleDict(
        {
            "patch": nn.Linear(sizes.vision_hidden, _width(sizes.side)),
            "token": nn.Linear(sizes.hidden, _width(sizes.side // 2)),
        }
    )


def _width(side: int) -> int:
    return HEADS["colour"] + HEADS["kind"] + 2 * side + 3 + 2


def encode(model: LlavaOnevisionForConditionalGeneration, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the patches and the tokens of frames `[b, 3, h, w]`, both as the model itself makes them."""
    # It reads the tower before its last norm: vision_feature_layer is -1.
    hidden = model.model.vision_tower(frames, output_hidden_states=True).hidden_states[-1]
    return hidden, model.model.apply_pooling(model.model.multi_modal_projector(hidden))


def vision_step(
    model: LlavaOnevisionForConditionalGeneration,
    heads: nn.ModuleDict,
    sizes: Sizes,
    team: Team,
    seed: int,
    batch: int,
) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
    """Returns the function that computes one step's loss on `batch` frames per process."""

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        rng = scene_rng("train", seed, number * team.size + team.rank)
        scenes = [sample_scene(rng, FRAMES) for _ in range(batch // FRAMES)]
        drawn = render(scenes, sizes.image, team.device)
        frames = pixels(drawn.frames).flatten(0, 1)
        hidden, tokens = encode(model, frames)
        figures: dict[str, float] = {}
        loss = torch.zeros((), device=team.device)
        for name, states, side in (("patch", hidden, sizes.side), ("token", tokens, sizes.side // 2)):
            shown = cells(drawn.owner, side, LEAST[name])
            labels = token_labels(scenes, shown) | {"way": offsets(scenes, shown)}
            truth = {key: labels[key].flatten(0, 1).to(team.device) for key in ("colour", "kind", "way")}
            truth["mean"] = avg_pool2d(frames, sizes.image // side).flatten(2).transpose(1, 2)
            part, found = _loss(heads[name](states), truth, side)
            loss = loss + part
            figures |= {f"{name}_{key}": value for key, value in found.items()}
        return loss, figures

    return step


def _loss(out: Tensor, truth: dict[str, Tensor], side: int) -> tuple[Tensor, dict[str, float]]:
    """Returns the loss of one level, `[frames, cells, ...]` each, and how well it does where shapes are."""
    widths = [HEADS["colour"], HEADS["kind"], side, side, 3, 2]
    by_colour, by_kind, by_row, by_column, by_mean, by_way = out.split(widths, -1)
    shown = truth["colour"] > 0
    weight = torch.where(shown, 1.0, BACKGROUND_WEIGHT)
    weight = weight / weight.sum()
    places = torch.arange(side * side, device=out.device).expand(len(out), -1)
    way = (by_way - truth["way"])[shown]
    loss = 2 * mse_loss(by_mean, truth["mean"]) + way.square().mean()
    for logits, target in ((by_colour, truth["colour"]), (by_kind, truth["kind"])):
        loss = loss + (cross_entropy(logits.transpose(1, 2), target, reduction="none") * weight).sum()
    for logits, target in ((by_row, places // side), (by_column, places % side)):
        loss = loss + 0.25 * cross_entropy(logits.transpose(1, 2), target)
    figures = {
        name: float((logits.argmax(-1) == truth[name])[shown].float().mean())
        for name, logits in (("colour", by_colour), ("kind", by_kind))
    }
    return loss, figures | {"off_cells": float(way.detach().norm(dim=-1).mean())}
