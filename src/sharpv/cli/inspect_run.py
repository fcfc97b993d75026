"""What `sharpv inspect` does: one clip through the model, as each method would shorten it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sharpv.bench.encode_once import encode_once
from sharpv.config import SharpVConfig
from sharpv.core import Scores, anchor_order, score, token_grid
from sharpv.hf.ask import Answer, VideoModel, build_inputs
from sharpv.hf.ask import ask as ask_model
from sharpv.hf.families import require_family
from sharpv.hf.inputs import prune_inputs
from sharpv.hf.reuse.encoder import Reuse, reuse_for
from sharpv.methods import Selection, find_pruner, needs_attention
from sharpv.methods.base import OF_SHARPV_ONLY
from sharpv.video import Video
from sharpv.viz.inspection import Inspection, Run, TokenScores

__all__ = ["check_methods", "look"]

ANY_QUESTION = "Describe the video."
"""Stands in the prompt where nothing is asked: layers need one to be looked at."""

DENSE = SharpVConfig(retention=1.0, memory_threshold=None)
SHARPV = "sharpv"


def check_methods(methods: Sequence[str], config: SharpVConfig) -> None:
    """Finds what cannot be run, before a clip is read and a model loaded.

    Args:
        methods: their names.
        config: what to keep. Fields that are of SharpV's rule alone are for SharpV; without it among the
            methods, they are refused as `attach` does.

    Raises:
        InputError: an unknown method, or one that cannot follow the configuration.
    """
    for name in methods:
        find_pruner(name).check(_config_of(name, config, methods))


def look(
    loaded: VideoModel,
    video: Video,
    question: str | None,
    config: SharpVConfig,
    methods: Sequence[str],
    max_new_tokens: int,
    log: Callable[[str], None],
) -> Inspection:
    """Runs a clip through the model once for each method, on one encoding.

    Args:
        loaded: the model.
        video: the clip.
        question: to be answered dense and by each method; None: the prompt is read, and nothing is said.
        config: what to keep; accepted by `check_methods`.
        methods: names, at least one.
        max_new_tokens: the most tokens of an answer.
        log: told what is going on.

    Returns:
        The inspection, without what its caller knows better: the clip's name, the command and notes are
        empty.

    Raises:
        InputError: a method that cannot follow the configuration or be used on this model, or features that
            are not finite.
        UnsupportedModelError: a method that acts inside the LLM, on a model where that does not work.
    """
    pruners = {name: find_pruner(name) for name in methods}
    prompt = ANY_QUESTION if question is None else question
    inputs = build_inputs(loaded.processor, video, prompt).to(loaded.model.device, loaded.model.dtype)
    attention = any(map(needs_attention, pruners.values()))
    reuse = _reuse(loaded, config, list(pruners.values()))
    # From features of all patches, which is another encoding.
    dense = None if reuse is None else _dense(loaded, video, question, max_new_tokens, log)
    log(f"encoding {len(video.frames)} of {video.total_frames} frames ...")
    with encode_once(loaded.model, inputs, attention=attention, reuse=reuse):
        watched = _Watched()
        prune_inputs(loaded.model, inputs, replace(DENSE, images_as_frames=True), method=watched)
        if reuse is None:
            dense = _dense(loaded, video, question, max_new_tokens, log)
        runs: list[Run] = []
        for name, pruner in pruners.items():
            log(f"looking as {name} does ({len(runs) + 1} of {len(pruners)}) ...")
            length = 1 if question is None else max_new_tokens
            settings = _config_of(name, config, methods)
            answer = ask_model(loaded, video, prompt, replace(settings, vision_reuse=None), length, pruner)
            runs.append(_run(answer, settings, reuse, asked=question is not None))
    return Inspection(
        clip="",
        frames=video.frames,
        timestamps=video.timestamps,
        total_frames=video.total_frames,
        model=loaded.name,
        question=question,
        dense_answer=dense,
        runs=tuple(runs),
        scores=watched.scores,
        anchors=watched.anchors,
        command=(),
    )


def _dense(
    loaded: VideoModel, video: Video, question: str | None, max_new_tokens: int, log: Callable[[str], None]
) -> str | None:
    """Returns the answer from all tokens; None where nothing is asked."""
    if question is None:
        return None
    log("answering from all tokens ...")
    return ask_model(loaded, video, question, DENSE, max_new_tokens).text


class _Watched:
    """Chooses all tokens, and notes how SharpV scores them."""

    name = "all"
    scores: TokenScores
    anchors: tuple[int, ...]

    def check(self, config: SharpVConfig) -> None:
        """Accepts every configuration."""

    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Keeps the scores, and the order in which coverage takes the places of a frame."""
        found = score(features)
        self.scores = _on_host(found)
        self.anchors = anchor_order(*token_grid(features.shape[1], grid))
        return Selection(features.new_ones(features.shape[:2], dtype=torch.bool))


def _on_host(scores: Scores) -> TokenScores:
    return TokenScores(*(part.cpu().numpy() for part in (scores.spatial, scores.temporal, scores.ratios)))


def _config_of(method: str, config: SharpVConfig, methods: Sequence[str]) -> SharpVConfig:
    """Returns the configuration of one of the methods: beside SharpV, others are spared what is its own."""
    if method == SHARPV or SHARPV not in methods:
        return config
    default = SharpVConfig()
    own = {name: getattr(default, name) for name in OF_SHARPV_ONLY if name != "threshold"}
    return replace(config, **own)


def _reuse(loaded: VideoModel, config: SharpVConfig, pruners: Sequence[Any]) -> Reuse | None:
    """Returns what reuses patches for all methods; None where all patches are encoded.

    Raises:
        InputError: one of the methods looks at the tower's attention.
    """
    base, family = loaded.model.base_model, require_family(loaded.model.config.model_type)
    config = replace(config, images_as_frames=True)
    first, *_ = [reuse_for(base, family, config, pruner) for pruner in pruners]
    return first


def _run(answer: Answer, config: SharpVConfig, reuse: Reuse | None, *, asked: bool) -> Run:
    """Returns the run of an answer; its vision tower did not run, since the clip had been encoded."""
    report = answer.report
    if reuse is not None:
        report = replace(report, config=config, videos=reuse.told(report.videos))
    untimed = replace(report.milliseconds, vision=None)
    return Run(replace(report, milliseconds=untimed), answer.text if asked else None)
