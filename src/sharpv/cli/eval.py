"""`sharpv eval`: how often a model is right, dense and pruned, on questions with a known answer."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sharpv.bench.conditions import ALL, DEFAULT
from sharpv.cli import output
from sharpv.cli.agreement import evaluate_clips
from sharpv.cli.eval_conditions import conditions_of, contest_of
from sharpv.cli.eval_options import (
    Ablations,
    BatchSize,
    Budgets,
    Conditions,
    ControlPerFamily,
    EvalDtype,
    EvalFrames,
    Families,
    Files,
    Limit,
    LmmsConfig,
    LmmsMethod,
    Methods,
    Out,
    PerFamily,
    Questions,
    Retention,
    Rows,
    SceneTypes,
    Scoring,
    Seeds,
    Source,
    Stage2,
    Suite,
    Threshold,
)
from sharpv.cli.eval_show import show, show_contest
from sharpv.cli.lmms import columns, evaluate_lmms
from sharpv.cli.options import Debug, Device, Json, Model, Seed, Size, Split
from sharpv.cli.settings import is_given, listed
from sharpv.tiny.load import TOY_PREFIX

if TYPE_CHECKING:
    from sharpv.bench.conditions import Condition
    from sharpv.bench.spec import AccuracySpec

__all__ = ["evaluate"]

CLIPS_ONLY, LMMS_ONLY = ("clips", "question"), ("method", "config", "limit", "batch_size")
SHAPESQA_ONLY = (
    *("condition", "ablation", "stage_2", "retention", "threshold", "per_family", "control_per_family"),
    *("family", "scene_type", "split", "size", "source", "scoring", "rows", "seed"),
)
LMMS_REFUSES = tuple(
    name
    for name in (*SHAPESQA_ONLY, "question", "methods", "budgets", "seeds")
    if name not in ("condition", "retention", "threshold")
)
CONTEST_ONLY, CONDITIONS_ONLY = ("budgets", "seeds", "stage_2"), ("retention", "threshold")
LMMS_SETTINGS = ("method", "config", "retention", "threshold")
CLIPS, LMMS = "clips", "lmms:"
SUITES = ("shapesqa", CLIPS, f"{LMMS}TASK")
QUESTIONS, QUESTIONS_IN_A_CONTEST = 200, 50


def evaluate(
    ctx: typer.Context,
    clips: Files = None,
    suite: Suite = "shapesqa",
    model: Model = None,
    condition: Conditions = None,
    methods: Methods = None,
    ablation: Ablations = None,
    budgets: Budgets = "0.12,0.25",
    seeds: Seeds = "0",
    stage_2: Stage2 = False,
    retention: Retention = 0.25,
    threshold: Threshold = 1.6,
    per_family: PerFamily = None,
    control_per_family: ControlPerFamily = None,
    family: Families = None,
    scene_type: SceneTypes = None,
    split: Split = "test",
    frames: EvalFrames = 8,
    size: Size = 64,
    question: Questions = None,
    source: Source = "arrays",
    scoring: Scoring = "options",
    rows: Rows = 8,
    dtype: EvalDtype = None,
    device: Device = None,
    seed: Seed = 0,
    method: LmmsMethod = "sharpv",
    config: LmmsConfig = None,
    limit: Limit = None,
    batch_size: BatchSize = 1,
    out: Out = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Ask a model questions with known answers, dense and pruned, and show how often it is right.

    Without -m, the toy in the box answers; "-m toy:dense" is the one trained without dropping tokens. random
    and uniform keep, on each clip, exactly as many tokens as the sharpv of the same ending does; memory-only
    keeps all of them, for the cost of stage 2 alone. blind, the -frame ones and shuffled are controls: they
    show that the model watches.

    With --methods, methods are set side by side: "--methods all --budgets 0.12,0.25,adaptive"; `sharpv
    compare` makes one table and a plot of the summaries that -o leaves behind.

    With --suite lmms:TASK, lmms-eval runs its task once without SharpV and once with what --method, --config,
    --retention and --threshold say, or once for each --condition.
    """
    if suite.startswith(LMMS):
        _refuse(ctx, LMMS_REFUSES, f"--suite {CLIPS} or shapesqa")
        given = {name: ctx.params[name] for name in LMMS_SETTINGS if is_given(ctx, name)}
        evaluate_lmms(
            suite.removeprefix(LMMS),
            columns(condition, given),
            [str(each) for each in clips or ()],
            frames=frames if is_given(ctx, "frames") else None,
            limit=limit,
            batch_size=batch_size,
            model=model,
            dtype=dtype,
            device=device,
            out=out,
            json=json,
        )
        return
    if suite not in SUITES[:2]:
        raise typer.BadParameter(f"{suite!r} is none of {', '.join(SUITES)}", param_hint="--suite")
    _refuse_idle(ctx, suite, contest=methods is not None, other=bool(ablation))
    contest = contest_of(methods, budgets, seeds, stage_2, ablation or [], bool(condition))
    everyone = methods is None or ALL in listed(methods)
    if suite == CLIPS:
        evaluate_clips(
            clips or (),
            contest or contest_of(ALL, budgets, seeds, False, [], bool(condition)) or (),
            question or (),
            everyone=everyone,
            frames=frames,
            model=model,
            dtype=dtype,
            device=device,
            out=out,
            json=json,
        )
        return
    _check_frames(frames)
    if per_family is None:
        per_family = QUESTIONS_IN_A_CONTEST if contest else QUESTIONS
    spec = _spec(
        contest or conditions_of(condition or DEFAULT, retention=retention, threshold=threshold),
        per_family=per_family,
        control_per_family=min(100, per_family) if control_per_family is None else control_per_family,
        families=tuple(family) if family else None,
        scene_types=tuple(scene_type) if scene_type else None,
        split=split,
        frames=frames,
        size=size,
        source=source,
        scoring=scoring,
        rows=rows,
        seed=seed,
    )
    summary = _run(model, dtype, device, spec, everyone and bool(methods), out)
    if json:
        output.result(summary)
    elif contest:
        show_contest(summary)
    else:
        show(summary)


def _refuse_idle(ctx: typer.Context, suite: str, *, contest: bool, other: bool) -> None:
    """Refuses options that would have no effect.

    Raises:
        typer.BadParameter: one of them was given.
    """
    idle: dict[str, Sequence[str]] = {f"--suite {LMMS}TASK": LMMS_ONLY}
    if suite == CLIPS:
        idle["--suite shapesqa"] = SHAPESQA_ONLY
    else:
        idle["--suite clips"] = CLIPS_ONLY
    if suite != CLIPS and not contest:
        idle["--methods"] = CONTEST_ONLY
    if contest or other:
        idle["--condition"] = CONDITIONS_ONLY
    for needed, names in idle.items():
        _refuse(ctx, names, needed)


def _refuse(ctx: typer.Context, names: Sequence[str], needed: str) -> None:
    """Refuses these options, which go with something else."""
    given = [name for name in names if is_given(ctx, name)]
    if given:
        options = ", ".join("CLIP" if name == "clips" else f"--{name.replace('_', '-')}" for name in given)
        raise typer.BadParameter(f"{options} would have no effect: that goes with {needed}")


def _check_frames(frames: int) -> None:
    """Refuses a number of frames that ShapesQA does not have."""
    from sharpv.shapesqa.scene import FRAMES

    low, high = FRAMES
    if not low <= frames <= high:
        raise typer.BadParameter(f"{frames} is not in the range {low} to {high}", param_hint="'--frames'")


def _spec(conditions: "tuple[Condition, ...]", **given: Any) -> "AccuracySpec":
    """Builds the specification; None is for the default, and what the user got wrong is a usage error."""
    from sharpv.bench.spec import AccuracySpec

    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        return AccuracySpec(conditions=conditions, **chosen)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _run(
    model: str | None,
    dtype: str | None,
    device: str | None,
    spec: "AccuracySpec",
    everyone: bool,
    out: Path | None,
) -> dict[str, Any]:
    """Loads the model, asks it, and returns the summary."""
    from sharpv.bench.accuracy import fitting, run
    from sharpv.hf.ask import DEFAULT_MODEL, load_model

    name = DEFAULT_MODEL if model is None else model
    output.progress(f"loading {name} ...")
    loaded = load_model(name, dtype or ("float32" if name.startswith(TOY_PREFIX) else "auto"), device)
    if everyone:
        spec = replace(spec, conditions=fitting(loaded, spec.conditions, output.warn))
    output.progress(f"asking {spec.per_family} questions of each of {len(spec.families)} families ...")
    try:
        return run(loaded, spec, out, log=output.progress)
    except KeyboardInterrupt:
        if out is not None:
            output.progress(f"what was answered is in {out}: the same command goes on from there")
        raise
