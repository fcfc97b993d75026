"""`sharpv eval`: how often a model is right, dense and pruned, on questions with a known answer."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from sharpv.bench.conditions import ALL, CONDITIONS, DEFAULT, DENSE, choose_conditions
from sharpv.cli import output
from sharpv.cli.agreement import evaluate_clips
from sharpv.cli.eval_show import show, show_contest
from sharpv.cli.lmms import DEFAULT as LMMS_DEFAULT
from sharpv.cli.lmms import evaluate_lmms
from sharpv.cli.options import Debug, Device, Json, Model, Seed, Size, Split
from sharpv.cli.settings import is_given, listed
from sharpv.config import SharpVConfig
from sharpv.tiny.load import TOY_PREFIX

if TYPE_CHECKING:
    from sharpv.bench.conditions import Condition
    from sharpv.bench.spec import AccuracySpec

__all__ = ["evaluate"]

CLIPS_ONLY = ("clips", "question")
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
Number = TypeVar("Number", int, float)
CLIPS, LMMS = "clips", "lmms:"
SUITES = ("shapesqa", CLIPS, f"{LMMS}TASK")
QUESTIONS, QUESTIONS_IN_A_CONTEST = 200, 50

Suite = Annotated[
    str,
    typer.Option(
        help="shapesqa: accuracy; clips: how far the logits on clips of yours are from dense; lmms:TASK: a "
        "task of lmms-eval, such as lmms:mvbench."
    ),
]
Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[CLIP]...",
        help="Video files, for --suite clips; for lmms:TASK, after --, more options of lmms-eval.",
        show_default=False,
    ),
]
Questions = Annotated[
    list[str] | None,
    typer.Option(
        "--question", help="Of --suite clips, about each clip, repeatable. [default: some for any clip]"
    ),
]
EvalFrames = Annotated[
    int, typer.Option(min=1, help="Frames of each clip. For lmms:TASK, 32 unless given, or the toy's 8.")
]
Conditions = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Column of the table, repeatable: {', '.join(CONDITIONS)}; {ALL} for all of them. "
        f"[default: {', '.join(DEFAULT)}]"
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(
        help="Contest instead of conditions: methods, with commas between (see `sharpv methods`), or all; at "
        "every budget, beside dense, random and uniform."
    ),
]
Ablations = Annotated[
    list[str] | None,
    typer.Option(
        "--ablation",
        help="SharpV with one part changed, repeatable: tokens, counts, w, M, K, coverage or reuse "
        "(of the vision tower's patches); instead of conditions.",
    ),
]
Budgets = Annotated[
    str, typer.Option(help="Of a contest: shares of tokens, and adaptive, with commas between.")
]
Seeds = Annotated[str, typer.Option(help="Of a contest: random draws once for each, with commas between.")]
Stage2 = Annotated[bool, typer.Option("--stage-2", help="Of a contest: with stage 2 at its default.")]
Retention = Annotated[float, typer.Option(help="Share of tokens that the -budget conditions keep.")]
Threshold = Annotated[float, typer.Option(help="Least importance that sharpv-threshold keeps.")]
PerFamily = Annotated[
    int | None, typer.Option(help="Questions of each family. [default: 200; 50 in a contest]")
]
ControlPerFamily = Annotated[
    int | None, typer.Option(help="The same for the controls. [default: 100 at most]")
]
Families = Annotated[
    list[str] | None, typer.Option("--family", help="Family of questions, repeatable. [default: all]")
]
SceneTypes = Annotated[
    list[str] | None, typer.Option("--scene-type", help="Type of scene, repeatable. [default: all]")
]
Source = Annotated[str, typer.Option(help="arrays, or mp4: through a file.")]
Scoring = Annotated[str, typer.Option(help="options: the likeliest one; generate: free text.")]
Rows = Annotated[int, typer.Option(help="The most questions in a batch.")]
EvalDtype = Annotated[
    str | None, typer.Option(help="As for ask. [default: float32 for the model in the box, else auto]")
]
Out = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder for the records; a second run there goes on.")
]


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

    With --suite lmms:TASK, lmms-eval runs its task once for each condition, by default dense and sharpv.
    """
    if suite.startswith(LMMS):
        _refuse(ctx, LMMS_REFUSES, f"--suite {CLIPS} or shapesqa")
        names = condition or LMMS_DEFAULT
        evaluate_lmms(
            suite.removeprefix(LMMS),
            [each for each in _conditions(names, retention, threshold) if each.name in (DENSE, *names)],
            [str(each) for each in clips or ()],
            frames=frames if is_given(ctx, "frames") else None,
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
    contest = _contest(methods, budgets, seeds, stage_2, ablation or [], bool(condition))
    everyone = methods is None or ALL in listed(methods)
    if suite == CLIPS:
        evaluate_clips(
            clips or (),
            contest or _contest(ALL, budgets, seeds, False, [], bool(condition)) or (),
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
        contest or _conditions(condition or DEFAULT, retention, threshold),
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
    idle: dict[str, Sequence[str]] = {"--suite clips": CLIPS_ONLY}
    if suite == CLIPS:
        idle = {"--suite shapesqa": SHAPESQA_ONLY}
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


def _conditions(names: Sequence[str], retention: float, threshold: float) -> "tuple[Condition, ...]":
    """Returns the conditions of these names; what the user got wrong is a usage error."""
    try:
        return choose_conditions(names, retention=retention, threshold=threshold)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _contest(
    methods: str | None, budgets: str, seeds: str, stage_2: bool, ablations: Sequence[str], other: bool
) -> "tuple[Condition, ...] | None":
    """Returns the conditions of a contest or of ablations, if either is asked for.

    Raises:
        typer.BadParameter: what the user got wrong.
    """
    asked = {"--methods": methods is not None, "--ablation": bool(ablations), "--condition": other}
    if sum(asked.values()) > 1:
        options = [option for option, given in asked.items() if given]
        raise typer.BadParameter(
            f"{' and '.join(options)} exclude each other: each brings its own conditions"
        )
    if methods is None and not ablations:
        return None
    from sharpv.bench.ablations import choose_ablations
    from sharpv.bench.contest import ADAPTIVE, choose_contest

    shares = [
        ADAPTIVE if share == ADAPTIVE else _number(share, float, "--budgets") for share in listed(budgets)
    ]
    draws = [_number(seed, int, "--seeds") for seed in listed(seeds)]
    memory_threshold = SharpVConfig().memory_threshold if stage_2 else None
    try:
        if methods is None:
            return choose_ablations(ablations)
        return choose_contest(listed(methods), shares, draws, memory_threshold)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _number(text: str, kind: type[Number], option: str) -> Number:
    try:
        return kind(text)
    except ValueError:
        accepted = "whole numbers" if kind is int else "shares in (0, 1], and adaptive"
        raise typer.BadParameter(
            f"{text!r} is none of {accepted}, with commas between", param_hint=option
        ) from None


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
