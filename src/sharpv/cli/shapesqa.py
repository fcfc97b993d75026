"""`sharpv shapesqa`: make clips with questions whose answers are known, and show that they are fair."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sharpv.cli import output
from sharpv.cli.options import ClipFrames, Debug, Json, Seed, Size, Split
from sharpv.cli.run import command

if TYPE_CHECKING:
    from sharpv.shapesqa.leaks import LeakReport

__all__ = ["shapesqa"]

SCHEMA_VERSION = 1
SECONDS_BETWEEN = 2.0
# 22 of 100 clips ask the rarest family, and fewer than 100 questions prove nothing.
FEWEST_CLIPS = 600

shapesqa = typer.Typer(
    help="Make clips of moving shapes with questions whose answers are known.", no_args_is_help=True
)


def make(
    folder: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="New or empty folder.", show_default=False)
    ],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Clips.")] = 500,
    split: Split = "test",
    size: Size = 64,
    frames: ClipFrames = 8,
    seed: Seed = 0,
    scene_type: Annotated[
        str | None, typer.Option(help="Only static, slow, fast, cut or pan. [default: all]")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write clips as mp4, and questions.jsonl with their questions, answers and the truth of every frame."""
    from sharpv.errors import InputError
    from sharpv.shapesqa.files import QUESTIONS, write

    start = time.perf_counter()
    try:
        records = write(
            folder,
            n,
            split=split,
            seed=seed,
            size=size,
            frames=frames,
            scene_type=scene_type,
            log=_progress(n),
        )
    except InputError:
        raise
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    seconds = time.perf_counter() - start
    families = Counter(record.family for record in records)
    if json:
        values = {"folder": str(folder), "clips": n, "questions": dict(families)}
        output.result({"schema_version": SCHEMA_VERSION, **values, "seconds": round(seconds, 2)})
        return
    counts = ", ".join(f"{family} {count}" for family, count in families.items())
    output.answer(f"{n} clips with {len(records)} questions in {folder / QUESTIONS}: {counts}")
    output.progress(f"{seconds:.1f} s, {n / seconds:.0f} clips/s")


def _progress(clips: int) -> Callable[[int], None]:
    """Returns what says every two seconds how far the work is."""
    start = said = time.perf_counter()

    def log(done: int) -> None:
        nonlocal said
        now = time.perf_counter()
        if now - said >= SECONDS_BETWEEN and done < clips:
            said = now
            rate = done / (now - start)
            left = (clips - done) / rate
            output.progress(f"{done} of {clips} clips, {rate:.0f} clips/s, {left:.0f} s left")

    return log


def leaks(
    n: Annotated[int, typer.Option("--n", "-n", min=FEWEST_CLIPS, help="Clips to look at.")] = 2000,
    split: Split = "test",
    frames: ClipFrames = 8,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what can be had without watching: by a constant answer, blind, from one frame, or in any order.

    Exits with 1 where a figure is further above chance than is fair; the last line says how far that is.
    """
    from sharpv.shapesqa.leaks import ALLOWANCE, WRONG_FRAME, leak_report, unfair

    try:
        report = leak_report(n, split=split, seed=seed, frames=frames)
        found = unfair(report)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if json:
        bounds = {"allowance": ALLOWANCE, "wrong_frame": WRONG_FRAME}
        values = {"schema_version": SCHEMA_VERSION, **report.to_dict(), **bounds, "unfair": list(found)}
        output.result(values)
    else:
        _show(report)
    for reason in found:
        output.fail(reason)
    if found:
        raise typer.Exit(1)


def _show(report: "LeakReport") -> None:
    """Prints a line for each family.

    Of a frame it shows the chance, the best rule and the probe; of all frames without their order the chance
    and the rule that counts them.
    """
    from sharpv.shapesqa.leaks import ALLOWANCE, SIGMAS, WRONG_FRAME

    times = [frame.frame for frame in report.families[0].frames]
    rows: list[list[Any]] = []
    for family in report.families:
        row = [family.family, family.needs, family.n, f"{family.constant:.3f}", f"{family.blind:.3f}"]
        row += [f"{f.chance:.3f} {max(f.rules.values()):.3f} {f.probe:.3f}" for f in family.frames]
        row.append(f"{family.bag.chance:.3f} {family.bag.counts:.3f}" if family.bag else "-")
        rows.append(row)
    columns = ["family", "needs", "n", "constant", "blind"]
    columns += [f"{name}: chance rule probe" for name in times]
    output.table([*columns, "no order: chance counts"], rows)
    output.answer(f"\nscene change from the pixels of the middle frame: {report.pixels:.3f}")
    output.answer(
        f"fair: at most {ALLOWANCE:.2f} above chance; of start_pos from the last frame, and of end_pos from "
        f"the first, at most {WRONG_FRAME:.2f}; both within {SIGMAS} standard errors"
    )


shapesqa.command()(command(make))
shapesqa.command()(command(leaks))
