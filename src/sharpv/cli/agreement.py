"""`sharpv eval --suite clips`: how far pruning moves what a model says about clips without labels."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sharpv.cli import output
from sharpv.cli.agreement_show import show
from sharpv.tiny.load import TOY_PREFIX

if TYPE_CHECKING:
    from sharpv.bench.agreement_spec import AgreementSpec
    from sharpv.bench.clips import Clip
    from sharpv.bench.conditions import Condition

__all__ = ["evaluate_clips"]

PROMPT_AND_ANSWER = "it chooses by the prompt's last token, but prompt and answer are read in one pass here"


def evaluate_clips(
    clips: Sequence[Path],
    conditions: "Sequence[Condition]",
    questions: Sequence[str] = (),
    *,
    everyone: bool = False,
    frames: int = 8,
    max_new_tokens: int = 8,
    model: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Compares logits with dense on clips, and prints the table, or the summary as one line of JSON.

    Args:
        clips: files, all of which are read before the model is loaded.
        conditions: from `choose_contest`.
        questions: about each clip; none are those of `default_questions`.
        everyone: leaves out what cannot take part, with a warning, instead of failing.
        frames: of each clip.
        max_new_tokens: the most tokens of an answer.
        model: as for `load_model`; None is the toy in the box.
        dtype: as for `load_model`; None is float32 for a toy, else the checkpoint's own.
        device: as for `load_model`.
        out: folder for the records; a second run there goes on.
        json: whether to print JSON.

    Raises:
        BadParameter: no clips, or a value outside its range.
    """
    from sharpv.bench.agreement_spec import AgreementSpec, asks_the_prompt, default_questions
    from sharpv.bench.clips import check_clips
    from sharpv.hf.ask import DEFAULT_MODEL

    if not clips:
        raise typer.BadParameter("give one or more video files, such as `sharpv eval --suite clips a.mp4`")
    name = DEFAULT_MODEL if model is None else model
    if everyone:
        asking = {each.contestant: None for each in conditions if asks_the_prompt(each)}
        conditions = [each for each in conditions if each.contestant not in asking]
        for contestant in asking:
            output.warn(f"without {contestant}: {PROMPT_AND_ANSWER}")
    try:
        spec = AgreementSpec(
            conditions=tuple(conditions),
            questions=tuple(questions) or default_questions(name),
            frames=frames,
            max_new_tokens=max_new_tokens,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    output.progress("reading the clips ...")
    checked = check_clips(clips, frames)
    summary = _run(name, dtype, device, checked, spec, everyone, out)
    if json:
        output.result(summary)
    else:
        show(summary)


def _run(
    name: str,
    dtype: str | None,
    device: str | None,
    clips: "Sequence[Clip]",
    spec: "AgreementSpec",
    everyone: bool,
    out: Path | None,
) -> dict[str, Any]:
    """Loads the model, compares, and returns the summary."""
    from sharpv.bench.accuracy import fitting
    from sharpv.bench.agreement import run
    from sharpv.hf.ask import load_model

    output.progress(f"loading {name} ...")
    loaded = load_model(name, dtype or ("float32" if name.startswith(TOY_PREFIX) else "auto"), device)
    if everyone:
        spec = replace(spec, conditions=fitting(loaded, spec.conditions, output.warn))
    output.progress(f"asking {len(spec.questions)} questions about each of {len(clips)} clips ...")
    try:
        return run(loaded, clips, spec, out, log=output.progress)
    except KeyboardInterrupt:
        if out is not None:
            output.progress(f"what was compared is in {out}: the same command goes on from there")
        raise
