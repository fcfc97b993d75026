"""The options of `sharpv eval` that no other command has."""

from pathlib import Path
from typing import Annotated

import typer

from sharpv.bench.conditions import ALL, CONDITIONS, DEFAULT

__all__ = [
    "Ablations",
    "BatchSize",
    "Budgets",
    "Conditions",
    "ControlPerFamily",
    "EvalDtype",
    "EvalFrames",
    "Families",
    "Files",
    "Limit",
    "LmmsConfig",
    "LmmsMethod",
    "Methods",
    "Out",
    "PerFamily",
    "Questions",
    "Retention",
    "Rows",
    "SceneTypes",
    "Scoring",
    "Seeds",
    "Source",
    "Stage2",
    "Suite",
    "Threshold",
]

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
Retention = Annotated[
    float, typer.Option(help="Share of tokens that the -budget conditions keep, or a run of lmms:TASK.")
]
Threshold = Annotated[
    float, typer.Option(help="Least importance that sharpv-threshold keeps, or a run of lmms:TASK.")
]
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
LmmsMethod = Annotated[
    str, typer.Option(help="Of lmms:TASK: what chooses the tokens, one of `sharpv methods`.")
]
LmmsConfig = Annotated[
    Path | None, typer.Option(help="Of lmms:TASK: YAML file with SharpVConfig fields; options override it.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Of lmms:TASK: the most documents of each task.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Of lmms:TASK: documents of a request.")]
