"""How often a model is right on ShapesQA: dense, pruned, and with parts of the video taken away."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from sharpv.bench.ask_clip import ask_clip
from sharpv.bench.asking import as_video, batches
from sharpv.bench.chosen import on_clip, plan_on_clip
from sharpv.bench.conditions import Condition, Frames
from sharpv.bench.encode_once import encode_once
from sharpv.bench.flops import PrefillFlops
from sharpv.bench.progress import Progress
from sharpv.bench.records import Records
from sharpv.bench.reuse import reuse_of
from sharpv.bench.settings import settings
from sharpv.bench.spec import AccuracySpec
from sharpv.bench.summary import summarise
from sharpv.bench.where import where
from sharpv.config import VisionReuse
from sharpv.errors import InputError, UnsupportedModelError
from sharpv.hf.ask import VideoModel, build_inputs
from sharpv.hf.attach import attach
from sharpv.hf.reuse.encoder import Planner, Reuse
from sharpv.methods import find_pruner, needs_attention
from sharpv.shapesqa import Question, Sample, iterate, render_clip, take
from sharpv.shapesqa.files import write_clip
from sharpv.video import Sampling, Video, read_video

__all__ = ["draw", "fitting", "run", "show"]

SCHEMA_VERSION = 2
SOME_SHARE = 0.5
"""Of the tokens, where only a run says which."""

# 22 of 100 clips ask the rarest family.
FEWEST_CLIPS, CLIPS_PER_QUESTION = 100, 8
Clip = NDArray[np.uint8]


class _Shown(NamedTuple):
    """What conditions share that read the same features."""

    frames: Frames
    reuse: VisionReuse | None
    planner: Planner | None


_Unasked = dict[_Shown, tuple[tuple[Question, ...], list[Condition]]]


def run(
    loaded: VideoModel,
    spec: AccuracySpec,
    folder: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Asks a model every question under every condition.

    Tokens are really removed, by `attach`; each question is a turn of its own. With a folder, the records are
    written as they come, and a run goes on where one ended whose `settings` were the same.

    Args:
        loaded: the model.
        spec: what is asked.
        folder: for `records.jsonl`, `settings.json` and `summary.json`; None writes nothing.
        log: takes a line now and then, with the rate and the time left.

    Returns:
        The summary, as `summarise` makes it, with the settings.

    Raises:
        InputError: the folder holds a run with other settings, questions that the scenes cannot ask, or a
            model that cannot answer them.
        UnsupportedModelError: a model, or a release of transformers, that is not supported.
        AttachError: a session is attached to the model.
    """
    samples = draw(spec, spec.per_family)
    machine = where(str(loaded.model.device))
    own = settings(loaded, spec, samples, machine)
    records = Records(folder, own)
    _ask_all(loaded, spec, records, samples, Progress(len(samples), log))
    drawn = [sample.name for sample in islice(_clips(spec), len(samples))]
    summary = {"suite": "shapesqa", "schema_version": SCHEMA_VERSION, "model": loaded.name, **machine}
    summary |= {"settings": own, **summarise(list(records.found.values()), spec.conditions, drawn)}
    records.finish(summary)
    return summary


def fitting(
    loaded: VideoModel, conditions: Sequence[Condition], warn: Callable[[str], None]
) -> tuple[Condition, ...]:
    """Returns the conditions that a model can run.

    Args:
        loaded: the model.
        conditions: of a contest.
        warn: takes a line for each method that is left out, with the reason.

    Raises:
        AttachError: a session is attached to the model.
    """
    refused: dict[str, str] = {}
    for condition in conditions:
        config, pruner = on_clip(condition, "", None if condition.match is None else SOME_SHARE)
        try:
            attach(loaded.model, config, method=pruner).detach()
        except (InputError, UnsupportedModelError) as error:
            refused[condition.contestant or condition.name] = str(error)
    for contestant, reason in refused.items():
        warn(f"without {contestant}: {reason}")
    return tuple(each for each in conditions if (each.contestant or each.name) not in refused)


def draw(spec: AccuracySpec, per_family: int) -> list[Sample]:
    """Returns the clips and their questions; a smaller number of questions gives the first of a larger.

    Raises:
        InputError: the scene types ask a family too rarely.
    """
    most = FEWEST_CLIPS + CLIPS_PER_QUESTION * per_family
    try:
        return take(islice(_clips(spec), most), per_family, spec.families)
    except ValueError:
        raise InputError(
            f"{most} clips of scene types {', '.join(spec.scene_types)} do not hold {per_family} questions "
            f"of each of {', '.join(spec.families)}: leave out families or add scene types"
        ) from None


def show(clip: Clip, frames: Frames, name: str) -> Clip | None:
    """Returns the frames of a clip that a condition shows, as many as it has.

    Args:
        clip: RGB `[n, h, w, 3]`, n >= 2.
        frames: which; "none" gives None.
        name: of the clip, which seeds the order of "shuffled"; that order is never the clip's own.
    """
    n = len(clip)
    if frames == "none":
        return None
    if frames == "shuffled":
        order = np.random.default_rng(crc32(name.encode())).permutation(n)
        return clip[np.roll(order, 1) if (order == np.arange(n)).all() else order]
    only = {"first": 0, "middle": n // 2, "last": n - 1}
    return clip if frames == "all" else clip[[only[frames]] * n]


def _clips(spec: AccuracySpec) -> Iterator[Sample]:
    """Yields the clips of the split with the wanted scene types, whatever they ask."""
    drawn = iterate(spec.split, seed=spec.seed, frames=spec.frames)
    return (sample for sample in drawn if sample.scene.type in spec.scene_types)


def _ask_all(
    loaded: VideoModel, spec: AccuracySpec, records: Records, samples: Sequence[Sample], progress: Progress
) -> None:
    """Adds the records that are missing."""
    controls = {sample.name: sample for sample in draw(spec, spec.control_per_family)}
    flops = PrefillFlops(loaded.model)
    for sample in samples:
        unasked = _missing(spec, records, sample, controls.get(sample.name))
        if unasked:
            _ask(loaded, spec, records, sample, unasked, flops)
        progress.step(bool(unasked))


def _ask(
    loaded: VideoModel,
    spec: AccuracySpec,
    records: Records,
    sample: Sample,
    unasked: _Unasked,
    flops: PrefillFlops,
) -> None:
    """Adds a record for each condition; those that show the same frames share prompts and features."""
    clip = _film(sample, spec)
    for shown, (questions, conditions) in unasked.items():
        seen = show(clip, shown.frames, sample.name)
        video = None if seen is None else as_video(seen)
        made = batches(loaded, video, questions, spec)
        attention = any(needs_attention(find_pruner(condition.method)) for condition in conditions)
        reuse = _reuse(loaded, shown, sample)
        with nullcontext() if video is None else _encoded(loaded, video, questions[0], attention, reuse):
            encoded = None if reuse is None else reuse.videos[0].report()
            for condition in conditions:
                records.add(ask_clip(loaded, sample, condition, made, records.found, flops, encoded))


def _reuse(loaded: VideoModel, shown: _Shown, sample: Sample) -> Reuse | None:
    """Returns what reuses patches of a clip; None where all are encoded."""
    if shown.reuse is None:
        return None
    return reuse_of(loaded.model, shown.reuse, plan_on_clip(shown.planner, sample.name))


def _encoded(
    loaded: VideoModel, video: Video, question: Question, attention: bool, reuse: Reuse | None
) -> AbstractContextManager[None]:
    inputs = build_inputs(loaded.processor, video, question.text)
    inputs = inputs.to(loaded.model.device, loaded.model.dtype)
    return encode_once(loaded.model, inputs, attention=attention, reuse=reuse)


def _missing(spec: AccuracySpec, records: Records, sample: Sample, control: Sample | None) -> _Unasked:
    """Returns what is still to be asked about a clip, by what the model is shown."""
    unasked: _Unasked = {}
    for condition in spec.conditions:
        source = control if condition.control else sample
        if source is not None and (sample.name, condition.name) not in records.found:
            shown = _Shown(condition.frames, condition.config.reuse, condition.planner)
            unasked.setdefault(shown, (source.questions, []))[1].append(condition)
    return unasked


def _film(sample: Sample, spec: AccuracySpec) -> Clip:
    """Returns the frames of a clip, `[n, size, size, 3]`, drawn or read back from a file."""
    drawn = render_clip(sample.scene, spec.size)
    if spec.source == "arrays":
        return drawn
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(sample, drawn, path)
        return read_video(path, Sampling(frames=len(drawn))).frames
