"""Nothing that an output holds is lost, mixed up or written over."""

import errno
import fcntl
import json
import os
import stat

import pytest

import sharpv
from sharpv.batch.job import check_manifest, run
from sharpv.batch.results import Results
from tests.batch.fakes import SETTINGS, job, lines, write_rows


@pytest.fixture
def rows(tmp_path):
    return write_rows(tmp_path / "rows.jsonl", 5)


@pytest.fixture
def out(tmp_path, rows):
    """A finished output."""
    job(rows, tmp_path / "out.jsonl", ordered=True)
    return tmp_path / "out.jsonl"


def opened(rows, out, settings=SETTINGS) -> Results:
    return Results(out, check_manifest(rows), settings)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_half_a_line_is_cut_off_and_asked_again(rows, out, cut):
    whole = out.read_bytes()
    out.write_bytes(whole[:-cut])
    with opened(rows, out) as results:
        assert results.done == 4
        assert whole.startswith(out.read_bytes())
    assert job(rows, out).earlier == 4
    assert [line["id"] for line in lines(out)] == [f"r{number}" for number in range(5)]


def test_a_second_run_is_refused_while_the_first_goes_on(rows, out):
    with opened(rows, out), pytest.raises(sharpv.InputError, match="another run is writing"):
        opened(rows, out)
    opened(rows, out).__exit__()


def test_other_settings_are_named_and_refused(rows, out):
    before = out.read_bytes()
    with pytest.raises(sharpv.InputError, match=r"\(frames was None, is 8; model was 'fake', is 'other'\)"):
        opened(rows, out, {"model": "other", "frames": 8})
    assert out.read_bytes() == before
    assert job(rows, out).earlier == 5


def test_a_run_that_ends_just_before_the_lock_keeps_its_settings(rows, out, tmp_path, monkeypatch):
    late, lock = tmp_path / "late.jsonl", fcntl.flock

    def locked_late(file, how):
        late.write_bytes(out.read_bytes())
        late.with_name("late.jsonl.settings.json").write_text(json.dumps(SETTINGS))
        lock(file, how)

    monkeypatch.setattr("fcntl.flock", locked_late)
    with pytest.raises(sharpv.InputError, match="model was 'fake', is 'other'"):
        opened(rows, late, {"model": "other"})


def test_settings_of_a_run_that_answered_nothing_do_not_count(rows, tmp_path):
    opened(rows, tmp_path / "new.jsonl", {"model": "other"}).__exit__()
    job(rows, tmp_path / "new.jsonl")
    assert json.loads((tmp_path / "new.jsonl.settings.json").read_text()) == SETTINGS


def test_a_file_of_something_else_is_left_alone(rows, tmp_path):
    (tmp_path / "letter.jsonl").write_text("dear")
    with pytest.raises(sharpv.InputError, match="holds something else"):
        opened(rows, tmp_path / "letter.jsonl")
    assert (tmp_path / "letter.jsonl").read_text() == "dear"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letter.jsonl", "rows.jsonl"]
    with pytest.raises(sharpv.InputError, match="holds something else"):
        opened(rows, rows)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{}", "line 6 of .* is no line of a batch"),
        ("[1]", "line 6 of .* is no line of a batch"),
        ("what", "line 6 of .* is no line of a batch"),
        ('{"id": "x", "video": "v", "question": "q", "error": null}', "'x', which the manifest has not"),
        ('{"id": "r1", "video": "v", "question": "q", "error": null}', "'r1' again"),
    ],
)
def test_a_damaged_output_is_refused(rows, out, line, reason):
    with out.open("a") as file:
        file.write(line + "\n")
    before = out.read_bytes()
    with pytest.raises(sharpv.InputError, match=reason):
        opened(rows, out)
    assert out.read_bytes() == before


def test_an_id_that_asks_something_else_now_is_refused(rows, out):
    rows.write_text(rows.read_text().replace("what r2", "why r2"))
    with pytest.raises(sharpv.InputError, match="'r2' with another video or question"):
        opened(rows, out)


@pytest.mark.parametrize("left", [b"[", b"[]", b"\xff\xfe{}"])
def test_damaged_settings_are_refused(rows, out, left):
    out.with_name("out.jsonl.settings.json").write_bytes(left)
    with pytest.raises(sharpv.InputError, match="cannot read the settings"):
        opened(rows, out)


def test_empty_settings_say_how_to_go_on(rows, out, tmp_path):
    """As of a power failure on a system that had the lines, and not the settings, on its disk."""
    beside = out.with_name("out.jsonl.settings.json")
    for left in (b"", bytes(4096)):
        beside.write_bytes(left)
        with pytest.raises(
            sharpv.InputError, match=r"is empty, .*copy that one's \.settings\.json over this"
        ):
            opened(rows, out)
    job(rows, tmp_path / "other.jsonl")
    (tmp_path / "other.jsonl.settings.json").replace(beside)
    assert job(rows, out).earlier == 5


def test_settings_are_on_the_disk_before_a_line_is(rows, tmp_path, monkeypatch):
    """And the folder, which says that there is such a file."""
    synced, fsync = [], os.fsync

    def note(handle: int) -> None:
        synced.append((os.fstat(handle).st_ino, (tmp_path / "new.jsonl").read_bytes()))
        fsync(handle)

    monkeypatch.setattr("os.fsync", note)
    job(rows, tmp_path / "new.jsonl")
    there = [tmp_path / "new.jsonl.settings.json", tmp_path]
    assert synced == [(path.stat().st_ino, b"") for path in there]


def test_settings_that_do_not_get_to_the_disk_end_the_run_before_a_line(rows, tmp_path, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(sharpv.InputError, match=r"cannot write .*new\.jsonl\.settings\.json': No space left"):
        job(rows, tmp_path / "new.jsonl")
    assert (tmp_path / "new.jsonl").read_bytes() == b""


def test_settings_that_are_found_later_are_compared_later(rows, out):
    beside = out.with_name("out.jsonl.settings.json")
    beside.write_text(json.dumps(SETTINGS | {"device": "cpu"}))
    with Results(out, check_manifest(rows), SETTINGS, ["device"]) as results:
        results.settle({"device": "cpu"})
        with pytest.raises(sharpv.InputError, match="device was 'cpu', is 'cuda'"):
            results.settle({"device": "cuda"})
    with pytest.raises(sharpv.InputError, match="device was 'cpu', is None"):
        opened(rows, out)


def test_nothing_is_connected_to_before_all_else_is_right(rows, out, tmp_path):
    def fail():
        pytest.fail("connected")

    how = {"find": fail, "later": ("device",)}
    with pytest.raises(sharpv.InputError, match="model was 'fake', is 'other'"):
        run(rows, out, {"model": "other"}, fail, **how)
    with pytest.raises(sharpv.InputError, match="cannot use"):
        run(rows, tmp_path / "gone" / "out.jsonl", SETTINGS, fail, **how)
    with pytest.raises(sharpv.InputError, match="holds no rows"):
        run(write_rows(tmp_path / "none.jsonl", 0), tmp_path / "new.jsonl", SETTINGS, fail, **how)


def test_a_link_stays_a_link_and_the_mode_of_the_file_stays(tmp_path):
    """Also where lines are taken out and put in order, which makes the file anew."""
    rows, link = write_rows(tmp_path / "rows.jsonl", 4, r1="odd"), tmp_path / "link.jsonl"
    (tmp_path / "disk").mkdir()
    real = tmp_path / "disk" / "real.jsonl"
    link.symlink_to(real)
    job(rows, link)
    real.chmod(0o640)
    job(rows, link, retry_errors=True, ordered=True)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert [line["id"] for line in lines(real)] == ["r0", "r1", "r2", "r3"]
    assert sorted(path.name for path in real.parent.iterdir()) == ["real.jsonl", "real.jsonl.settings.json"]
    with opened(rows, link), pytest.raises(sharpv.InputError, match="another run is writing"):
        opened(rows, real)


def test_a_disk_that_fills_while_lines_are_put_in_order_gets_its_room_back(rows, out, tmp_path, monkeypatch):
    mixed = b"".join(reversed(out.read_bytes().splitlines(keepends=True)))
    out.write_bytes(mixed)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(sharpv.InputError, match=r"cannot rewrite .*No space left on device; make room"):
        job(rows, out, ordered=True)
    assert out.read_bytes() == mixed
    assert not list(tmp_path.glob("*.part"))


def test_a_full_disk_ends_the_run_and_loses_nothing(rows, out):
    out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:3]))

    class Full:
        def __init__(self, file):
            self.seek, self.close, self._file = file.seek, file.close, file

        def write(self, data: bytes) -> int:
            self._file.write(data[:30])
            raise OSError(errno.ENOSPC, "No space left on device")

    with opened(rows, out) as results:
        results._file = Full(results._file)
        with pytest.raises(sharpv.InputError, match="No space left on device; make room"):
            results.add(3, {"id": "r3", "video": "clip.mp4", "question": "what r3", "error": None})
    assert job(rows, out).earlier == 3
    assert len(lines(out)) == 5


def test_a_kill_while_lines_are_put_in_order_leaves_them_whole(rows, out, monkeypatch):
    whole = out.read_bytes()
    mixed = b"".join(reversed(whole.splitlines(keepends=True)))
    out.write_bytes(mixed)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda file: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            job(rows, out, ordered=True)
    assert out.read_bytes() == mixed
    job(rows, out, ordered=True)
    assert out.read_bytes() == whole
