"""A whole job: from a manifest to its output, on from where an earlier run ended."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sharpv.batch.dispatch import dispatch
from sharpv.batch.index import Index
from sharpv.batch.line import Line
from sharpv.batch.manifest import Row, read_manifest
from sharpv.batch.pool import Pool
from sharpv.batch.progress import Progress
from sharpv.batch.results import NOWHERE, Results
from sharpv.errors import InputError

__all__ = ["Summary", "check_manifest", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a job stands at its end.

    Attributes:
        rows: of the manifest, each of which has a line.
        errors: rows whose line says an error.
        earlier: rows that earlier runs had done.
        seconds: of this run, with the opening of the models.
    """

    rows: int
    errors: int
    earlier: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return asdict(self)


def check_manifest(path: Path) -> Index:
    """Reads a manifest through, so that a fault in its last line costs no hours.

    Raises:
        InputError: a row is wrong, two share an id, or there is none.
    """
    index = Index(read_manifest(path))
    if not len(index):
        raise InputError(f"{str(path)!r} holds no rows: give each clip one with id, video and question")
    repeated = index.repeated()
    if repeated is not None:
        first, second = repeated
        row = next(islice(read_manifest(path), second, None))
        raise InputError(
            f"rows {first + 1} and {second + 1} of {str(path)!r} share the id {row.id!r}: give each its own"
        )
    return index


def run(
    manifest: Path,
    out: Path,
    settings: Mapping[str, Any],
    pool: Callable[[], Pool],
    *,
    find: Callable[[], Mapping[str, Any]] | None = None,
    later: Collection[str] = (),
    ordered: bool = False,
    retry_errors: bool = False,
    row_seconds: float | None = None,
    log: Callable[[str], None] = lambda text: None,
) -> Summary:
    """Answers the rows of a manifest that have no line in the output yet.

    It may be killed at any moment: the same call goes on, and no row is lost or done twice.

    Args:
        manifest: as for `read_manifest`.
        out: file of JSON lines, one `Line` per row; `<out>.settings.json` is written beside it.
        settings: whatever can change an answer, as plain JSON values.
        pool: makes the workers; not called where nothing is left to do.
        find: returns settings that only a cluster or a server can tell. Called before `pool`, once the
            manifest, the output and the other settings have been found right.
        later: names of what `find` returns.
        ordered: bring the lines into the order of the manifest at the end; else they stay in the order in
            which they were done.
        retry_errors: ask rows again whose line says an error.
        row_seconds: that a worker may take for a row, as for `dispatch`.
        log: takes lines of progress.

    Raises:
        InputError: the manifest, the output or the model cannot be used.
        SharpVError: all workers die while they open the model.
    """
    start = time.perf_counter()
    index = check_manifest(manifest)
    with Results(out, index, settings, later) as results:
        earlier = results.done - (results.errors if retry_errors else 0)
        if earlier:
            log(f"{earlier} of {len(index)} rows were done before")
        if earlier < len(index):
            results.settle(find() if find is not None else {})
            if retry_errors:
                results.drop_errors()
            workers = pool()
            log(f"opening {workers.workers} model{'s' if workers.workers > 1 else ''} ...")
            progress = Progress(len(index), earlier, results.errors, log)
            _answer(_left(manifest, index, results), results, workers, progress, row_seconds, log)
        if ordered:
            results.sort()
        seconds = round(time.perf_counter() - start, 2)
        return Summary(rows=len(index), errors=results.errors, earlier=earlier, seconds=seconds)


def _answer(
    rows: Iterator[Row],
    results: Results,
    pool: Pool,
    progress: Progress,
    row_seconds: float | None,
    log: Callable[[str], None],
) -> None:
    def keep(number: int, line: Line) -> None:
        results.add(number, line.to_dict())
        progress.step(line.error is not None)

    try:
        dispatch(rows, pool, keep, log, row_seconds)
    finally:
        pool.close()


def _left(manifest: Path, index: Index, results: Results) -> Iterator[Row]:
    """Yields the rows without a line.

    Raises:
        InputError: the rows are no longer those of the index.
    """
    changed = InputError("the manifest changed while the job ran: run the same command again")
    read = 0
    for row in read_manifest(manifest):
        if row.number >= len(index) or not index.asks(row.number, row.id, row.video, row.question):
            raise changed
        read += 1
        if results.offsets[row.number] == NOWHERE:
            yield row
    if read < len(index):
        raise changed
