"""An interrupted run loses nothing, and a folder of another one is left alone."""

import shutil

import pytest

import sharpv
from sharpv.bench import accuracy, ask_clip
from sharpv.bench.accuracy import run
from sharpv.bench.asking import answer
from sharpv.bench.records import Records
from sharpv.bench.where import where
from tests.bench.conftest import EVERY, FEW, small


def without_times(summary: dict) -> dict:
    conditions = {
        name: found | {"cost": found["cost"] | {"times": None}}
        for name, found in summary["conditions"].items()
    }
    return summary | {"conditions": conditions}


def test_a_finished_run_is_not_asked_again(toy, finished, monkeypatch):
    folder, summary = finished
    monkeypatch.setattr(accuracy, "_ask", None)
    assert run(toy, small(conditions=EVERY), folder) == summary


def test_an_interrupted_run_goes_on_where_it_ended(toy, tmp_path, monkeypatch):
    spec, calls = small(conditions=FEW), []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return answer(*args)

    monkeypatch.setattr(ask_clip, "answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(toy, spec, tmp_path)
    assert "generate" not in vars(toy.model)
    assert "get_video_features" not in vars(toy.model.base_model)
    path = tmp_path / "records.jsonl"
    done = path.read_text()
    assert 1 <= done.count("\n") < 5
    assert not (tmp_path / "summary.json").exists()
    path.write_text(done + done.splitlines()[0][:40])  # a line that was cut off while it was written
    resumed = run(toy, spec, tmp_path)
    assert path.read_text().startswith(done)
    monkeypatch.setattr(ask_clip, "answer", answer)
    assert without_times(resumed) == without_times(run(toy, spec))


@pytest.mark.parametrize(
    ("name", "value"), [("seed", 1), ("per_family", 2), ("conditions", FEW)], ids=["seed", "n", "conditions"]
)
def test_other_settings_are_refused_in_the_same_folder(toy, finished, name, value):
    with pytest.raises(sharpv.InputError, match=rf"other settings \(.*{name}.*\): give another folder"):
        run(toy, small(**{"conditions": EVERY, name: value}), finished[0])


def test_another_commit_goes_on_and_is_named(toy, finished, monkeypatch, tmp_path):
    shutil.copytree(finished[0], tmp_path / "copy")
    monkeypatch.setattr(accuracy, "_ask", None)
    monkeypatch.setattr(accuracy, "where", lambda device: where(device) | {"commit": "abc"})
    assert run(toy, small(conditions=EVERY), tmp_path / "copy") == finished[1] | {"commit": "abc"}


def test_a_folder_of_something_else_is_refused(toy, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(sharpv.InputError, match=r"holds other files.*give an empty folder"):
        run(toy, small(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(sharpv.InputError, match=r"cannot use.*give another folder"):
        run(toy, small(), tmp_path / "letter.txt")


def test_a_damaged_record_is_named(tmp_path):
    Records(tmp_path, {})
    (tmp_path / "records.jsonl").write_text('{"clip": 1}\n')
    with pytest.raises(sharpv.InputError, match=r"line 1 of .* is no record"):
        Records(tmp_path, {})
    (tmp_path / "settings.json").write_text("[")
    with pytest.raises(sharpv.InputError, match=r"cannot read .*settings\.json"):
        Records(tmp_path, {})
