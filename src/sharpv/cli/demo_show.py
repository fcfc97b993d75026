"""How `sharpv demo` looks: the answers, the costs, and a picture of what was kept."""

from dataclasses import asdict
from statistics import median
from textwrap import shorten
from typing import TYPE_CHECKING

from sharpv.cli.demo_run import TOY_NOTE, Demo, Row
from sharpv.cli.output import Terminal
from sharpv.report import Report
from sharpv.shapesqa import caption_facts
from sharpv.shapesqa.questions import facts_right, is_right
from sharpv.viz.terminal import half_blocks, letters

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["pages"]

LONGEST = 40
PHASES = {
    "vision": "vision tower, projector",
    "scoring": "scores, choice of tokens",
    "prefill": "the LLM reads the prompt",
    "decode": "the rest of the answer",
}


def pages(demo: Demo, terminal: Terminal) -> "list[RenderableType]":
    """Returns what to show, from top to bottom."""
    scene = demo.sample.scene
    video = demo.rows[0].pruned.report.videos[0]
    share = video.tokens_kept / video.tokens_total
    change = "no scene change" if scene.cut is None else f"scene change at frame {scene.cut + 1}"
    title = (
        f"Clip (seed {demo.seed}): {scene.frames} frames, {len(scene.shapes)} shapes, {change}. "
        "The same clip, all tokens (dense) and pruned (SharpV):"
    )
    picture = (
        f"What SharpV kept: {video.tokens_kept} of {video.tokens_total} tokens ({share:.1%}). "
        "Each frame with its number and the tokens kept"
    )
    return [
        "",
        title,
        _answers(demo.rows, terminal),
        _costs(demo.rows),
        "Milliseconds on this machine after a warm-up, without reading and scaling the clip; of the short "
        "answers the median. Dense is SharpV switched off, bit for bit the model without it.",
        "",
        *_picture(demo, picture, terminal),
        "",
        TOY_NOTE,
    ]


def _table(*columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _answers(rows: tuple[Row, ...], terminal: Terminal) -> "Table":
    table = _table("question", "truth", "dense", "SharpV")
    for row in rows:
        question, texts = row.question, (row.dense.text, row.pruned.text)
        if question.options:
            marks = [_marked(is_right(question, text), text, terminal) for text in texts]
            table.add_row(question.text, question.answer, *marks)
            continue
        counts = [facts_right(question, text) for text in texts]
        table.add_row(question.text, "", *(f"{right} of {total} facts" for right, total in counts))
        truth, *said = map(caption_facts, (question.answer, *texts))
        for name in dict.fromkeys((*truth, *said[0], *said[1])):
            cells = [_fact(truth.get(name), facts.get(name), terminal) for facts in said]
            table.add_row(f"  {name}", truth.get(name, "(no such thing)"), *cells)
    return table


def _fact(truth: str | None, said: str | None, terminal: Terminal) -> "RenderableType":
    if truth is None and said is None:
        return ""
    return _marked(True, "", terminal) if truth == said else _marked(False, said or "(not said)", terminal)


def _marked(right: bool, text: str, terminal: Terminal) -> "RenderableType":
    from rich.text import Text

    good, bad = ("\N{CHECK MARK}", "\N{BALLOT X}") if terminal.unicode else ("ok", "WRONG:")
    said = shorten(text, LONGEST, placeholder=" ...")
    return Text(f"{good if right else bad} {said}".rstrip(), "green" if right else "red")


def _costs(rows: tuple[Row, ...]) -> "Table":
    short = [row for row in rows if row.question.options]
    long = [row for row in rows if not row.question.options]
    groups = [
        [answer.report for answer in answers]
        for part in (short, long)
        for answers in ([row.dense for row in part], [row.pruned for row in part])
    ]
    table = _table("", "short\ndense", "short\nSharpV", "caption\ndense", "caption\nSharpV", "")
    for column in table.columns[1:5]:
        column.justify = "right"
    table.add_row("video tokens", *(str(group[0].tokens_kept) for group in groups), "read by the LLM")
    for phase, meaning in PHASES.items():
        table.add_row(f"{phase}, ms", *(_milliseconds(group, phase) for group in groups), meaning)
    table.add_row("KV cache, kB", *(_cache(group) for group in groups), "held after the prompt")
    return table


def _milliseconds(reports: list[Report], phase: str) -> str:
    values = [asdict(report.milliseconds)[phase] for report in reports]
    return f"{median(values):.1f}" if None not in values else "-"


def _cache(reports: list[Report]) -> str:
    return f"{median(report.cache_bytes or 0 for report in reports) / 1e3:.0f}"


def _picture(demo: Demo, title: str, terminal: Terminal) -> "list[RenderableType]":
    from rich.text import Text

    video = demo.rows[0].pruned.report.videos[0]
    if terminal.colours and terminal.unicode:
        lines = half_blocks(demo.video.frames, video, terminal.width)
        return [f"{title}; what was dropped is dim:", "", *(Text.from_ansi(line) for line in lines)]
    return [f"{title}; # is kept, . is dropped:", "", *letters(video, terminal.width)]
