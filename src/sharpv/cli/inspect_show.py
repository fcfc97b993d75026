"""How `sharpv inspect` looks in a terminal: what each method kept and saved, and the frames."""

from sharpv.cli import output
from sharpv.cli.reuse_show import reuse_lines
from sharpv.viz.inspection import Inspection, Run
from sharpv.viz.terminal import half_blocks, letters

__all__ = ["show"]

COLUMNS = ("method", "video tokens", "share %", "prompt tokens", "KV cache kB", "layers without video")
INSIDE = "{}: all tokens enter the LLM; the figures are of its last layer, the cache of all of them"


def show(found: Inspection, *, picture: bool) -> None:
    """Prints a table, the answers, and with `picture` what each method kept of each frame."""
    first, video = found.runs[0].report, found.runs[0].video
    total, tokens = first.tokens_total, f"{video.frames} x {video.tokens_per_frame} tokens"
    frames = f"{len(found.frames)} of {found.total_frames} frames"
    output.answer(output.printable(f"{found.clip}: {frames}, {tokens} in {found.model}"))
    dense = ("all", total, "100.0", first.prompt_tokens[0], _kilobytes(first.dense_cache_bytes), "-")
    output.table(COLUMNS, [dense, *map(_row, found.runs)])
    for line in reuse_lines(first):
        output.answer(line)
    for run in found.runs:
        if run.video.kept_inside is not None:
            output.answer(INSIDE.format(run.name))
    if found.question is not None:
        output.answer(f"\n{output.printable(found.question)}")
        answers = [("all tokens", found.dense_answer), *((run.name, run.answer) for run in found.runs)]
        for name, text in answers:
            output.answer(f"{name}: {output.printable(text or '')}")
    if picture:
        for run in found.runs:
            _draw(found, run)


def _row(run: Run) -> tuple[object, ...]:
    kept, report = sum(map(sum, run.kept)), run.report
    dropped = sum(any(layer.dropped) for layer in report.layers)
    return (
        run.name,
        kept,
        f"{kept / report.tokens_total:.1%}".rstrip("%"),
        report.prompt_tokens_kept[0],
        _kilobytes(report.cache_bytes),
        f"{dropped} of {len(report.layers)}" if report.layers else "-",
    )


def _kilobytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e3:.0f}"


def _draw(found: Inspection, run: Run) -> None:
    """Prints the frames as the LLM counts them, each with its number and the tokens kept."""
    from rich.text import Text

    terminal = output.terminal()
    output.answer(f"\n{run.name}: each frame with its number and the tokens kept")
    if terminal.colours and terminal.unicode:
        lines = half_blocks(found.frames[:: run.video.source_frames], run.video, terminal.width)
        output.show(["what was dropped is dim:", "", *(Text.from_ansi(line) for line in lines)])
    else:
        output.show(["# is kept, . is dropped:", "", *letters(run.video, terminal.width)])
