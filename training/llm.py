"""The stages of the LLM: what each token is about, then answers, then answers from fewer tokens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from sharpv.shapesqa import FAMILIES, render, sample_scene, scene_rng
from training.attention import Layout, use_layout
from training.labels import HEADS, NONE, cells, token_labels
from training.loop import Team
from training.model import START, Sizes
from training.text import IGNORED, Tokens, draw_turns, make_tokens
from training.vision import LEAST, pixels, subsample_chroma

__all__ = ["Recipe", "llm_heads", "llm_step"]

SHORT = [family for family, options in FAMILIES.items() if options]
TAPS = {2: ("colour", "kind", "place", "step", "shot"), 3: ("motion", "late", "start", "cut", "gone")}
"""Heads by the number of layers before them: what is seen at a glance comes before what needs the past."""

HEAD_WEIGHTS = dict.fromkeys(HEADS, 1.0) | {"colour": 0.2, "kind": 0.3, "place": 0.1, "start": 0.3}
CHAT_SHARE, MOVING_WEIGHT = 0.15, 2.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a stage draws its batches.

    Attributes:
        frames: clip lengths.
        shares: how often each is drawn.
        budget: frames per process and step, all clips together.
        ratios: shares of the video tokens that are kept, drawn anew in each step.
        first: index of the first step's scenes, so that no two stages share any.
        compressed: share of the steps whose clips lose colour resolution as an mp4's do.
        text: whether questions are asked; without, only the layers below the heads run.
        heads: whether the dense heads learn.
        ties: whether the questions that only training asks are among the text.

    Raises:
        ValueError: heads and dropped tokens.
    """

    frames: tuple[int, ...]
    shares: tuple[float, ...]
    budget: int
    ratios: tuple[float, ...]
    first: int
    compressed: float = 0.0
    text: bool = True
    heads: bool = True
    ties: bool = True

    def __post_init__(self) -> None:
        if self.heads and min(self.ratios) < 1:
            raise ValueError(
                f"ratios {self.ratios} with heads=True: the heads read every token of the video; "
                "keep them all (1.0), or give heads=False"
            )


def llm_heads(sizes: Sizes) -> nn.ModuleDict:
    """Makes the auxiliary heads, which read the video's hidden states of the first layers."""
    return nn.ModuleDict({name: nn.Linear(sizes.hidden, classes) for name, classes in HEADS.items()})


def llm_step(
    model: LlavaOnevisionForConditionalGeneration,
    heads: nn.ModuleDict,
    tokenizer: PreTrainedTokenizerFast,
    sizes: Sizes,
    team: Team,
    seed: int,
    recipe: Recipe,
) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
    """Returns the function that computes one step's loss."""

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        shared = scene_rng("train", seed, recipe.first + number * (team.size + 1))
        rng = scene_rng("train", seed, recipe.first + number * (team.size + 1) + 1 + team.rank)
        n = int(shared.choice(recipe.frames, p=recipe.shares))
        ratio, chat = float(shared.choice(recipe.ratios)), bool(shared.random() < CHAT_SHARE)
        scenes = [sample_scene(rng, n) for _ in range(max(recipe.budget // n, 1))]
        drawn = render(scenes, sizes.image, team.device)
        frames = subsample_chroma(drawn.frames) if shared.random() < recipe.compressed else drawn.frames
        features = model.model.get_video_features(
            pixels(frames), vision_feature_layer=-1, vision_feature_select_strategy="full"
        ).pooler_output
        kept = _kept(len(scenes), n * sizes.tokens_per_frame, ratio, rng).to(team.device)
        loss = features.new_zeros(())
        figures: dict[str, float] = {}
        with _tapped(model) as seen:
            if recipe.text:
                turns = [draw_turns(scene, rng, ties=recipe.ties) for scene in scenes]
                tokens = make_tokens(turns, tokenizer, SHORT, chat=chat)
                tokens = Tokens(*(part.to(team.device) for part in tokens))
                loss, figures = _answers(model, _forward(model, tokenizer, features, tokens, kept), tokens)
            else:
                _watch_only(model, tokenizer, features)
        if recipe.heads:
            labels = token_labels(scenes, cells(drawn.owner, sizes.side // 2, LEAST["token"]))
            states = {layers: hidden[:, 2 : 2 + kept.shape[1] - 1] for layers, hidden in seen.items()}
            extra, found = _heads_loss(heads, states, labels)
            loss, figures = loss + extra, figures | found
        return loss, figures

    return step


@contextmanager
def _tapped(model: LlavaOnevisionForConditionalGeneration) -> Iterator[dict[int, Tensor]]:
    """Keeps the hidden states behind the layers of `TAPS` while it is entered, by the number of layers."""
    seen: dict[int, Tensor] = {}
    layers = model.model.language_model.layers
    handles = [layers[n - 1].register_forward_hook(partial(_keep, seen, n)) for n in TAPS]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _keep(seen: dict[int, Tensor], layers: int, _: nn.Module, __: Any, out: Any) -> None:
    """Forward hook that keeps a layer's hidden states for the heads."""
    seen[layers] = out[0] if isinstance(out, tuple) else out


def _kept(rows: int, tokens: int, ratio: float, rng: np.random.Generator) -> Tensor:
    """Draws sorted indices `[rows, kept + 1]` of the video tokens that stay, the newline always."""
    count = max(1, round(ratio * tokens))
    scores = rng.random((rows, tokens))
    chosen = np.sort(np.argpartition(scores, count - 1, 1)[:, :count], 1)
    return torch.from_numpy(np.concatenate([chosen, np.full((rows, 1), tokens)], 1))


def _forward(
    model: LlavaOnevisionForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    features: Tensor,
    tokens: Tokens,
    kept: Tensor,
) -> Tensor:
    """Runs the LLM over [start, user, video, turns]; returns the hidden states of the turns."""
    rows, video = kept.shape
    embed = model.get_input_embeddings()
    opening = torch.tensor(tokenizer.convert_tokens_to_ids([START, "user"]), device=kept.device)
    features = features.view(rows, -1, features.shape[-1])
    places = 2 + features.shape[1] + tokens.places
    features = features.gather(1, kept[..., None].expand(-1, -1, features.shape[-1]))
    inputs = torch.cat([embed(opening).expand(rows, -1, -1), features, embed(tokens.ids)], 1)
    head = torch.arange(2, device=kept.device).expand(rows, -1)
    positions = torch.cat([head, 2 + kept, places], 1)
    prefix, text = 2 + video, tokens.ids.shape[1]
    same = tokens.turns[:, None, :] == tokens.turns[:, :, None]
    causal = torch.ones(text, text, dtype=torch.bool, device=kept.device).tril()
    mask = torch.cat([causal.new_ones(rows, text, prefix), same & causal], 2)[:, None]
    with use_layout(Layout(prefix, mask)):
        out = model.model.language_model(inputs_embeds=inputs, position_ids=positions, use_cache=False)
    return out.last_hidden_state[:, prefix:]


def _watch_only(
    model: LlavaOnevisionForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, features: Tensor
) -> None:
    """Runs the layers below the heads over [start, user, video]; the hooks keep what they give."""
    language = model.model.language_model
    opening = torch.tensor(tokenizer.convert_tokens_to_ids([START, "user"]), device=features.device)
    opening = model.get_input_embeddings()(opening).expand(len(features), -1, -1)
    # Qwen2Model.forward runs as many of its layers as the configuration says at that moment, so that nothing
    # is computed above the last tap.
    depth = language.config.num_hidden_layers
    language.config.num_hidden_layers = max(TAPS)
    try:
        language(inputs_embeds=torch.cat([opening, features], 1), use_cache=False)
    finally:
        language.config.num_hidden_layers = depth


def _answers(
    model: LlavaOnevisionForConditionalGeneration, hidden: Tensor, tokens: Tokens
) -> tuple[Tensor, dict[str, float]]:
    learned = tokens.targets != IGNORED
    logits = model.lm_head(hidden[learned])
    targets, weights, families = (x[learned] for x in (tokens.targets, tokens.weights, tokens.families))
    each = cross_entropy(logits, targets, reduction="none")
    right = (logits.argmax(-1) == targets).float()
    loss = (each * weights).sum() / weights.sum()
    figures = {"answers": float(loss.detach())}
    figures |= {name: float(right[families == i].mean()) for i, name in enumerate(SHORT)}
    figures["text"] = float(right[families < 0].mean())
    return loss, figures


def _heads_loss(
    heads: nn.ModuleDict, states: dict[int, Tensor], labels: dict[str, Tensor]
) -> tuple[Tensor, dict[str, float]]:
    """Returns the weighted loss of the dense heads on `[b, tokens, d]` per tap; background counts less."""
    device = next(heads.parameters()).device
    loss, figures = torch.zeros((), device=device), {}
    shown = (labels["colour"] > 0).flatten(1).to(device)
    for layers, names in TAPS.items():
        for name in names:
            logits = heads[name](states[layers])
            target = labels[name].flatten(1).to(device)
            everywhere = name in ("shot", "cut")
            weight = torch.where(shown | (target > 0) | everywhere, 1.0, 0.1) * (target != NONE)
            if name in ("step", "motion"):
                weight = torch.where(target > 1, MOVING_WEIGHT, weight)
            each = cross_entropy(logits.transpose(1, 2), target, reduction="none", ignore_index=NONE)
            loss = loss + HEAD_WEIGHTS[name] * (each * weight).sum() / weight.sum().clamp(min=1)
            moving = target > 1 if name in ("step", "motion") else shown & (target != NONE)
            counted = target > 0 if name in ("shot", "cut", "gone") else moving
            figures[f"head_{name}"] = float((logits.argmax(-1) == target)[counted].float().mean())
    return loss, figures
