"""`sharpv shapesqa`: a dataset in one command, and the proof that it is fair."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from sharpv.cli import shapesqa as shapesqa_module
from sharpv.cli.app import app
from sharpv.shapesqa import leaks as leaks_module
from sharpv.shapesqa.files import load


def run(*arguments):
    return CliRunner().invoke(app, ["shapesqa", *map(str, arguments)])


def test_make_writes_a_dataset_and_sums_it_up(tmp_path):
    options = ["--n", "4", "--split", "validation", "--size", "32", "--frames", "6", "--seed", "2"]
    result = run("make", "-o", tmp_path / "new", *options, "--scene-type", "cut")
    assert result.exit_code == 0, result.output
    records = load(tmp_path / "new")
    assert {(r.split, r.size, r.frames, r.seed, r.scene) for r in records} == {
        ("validation", 32, 6, 2, "cut")
    }
    assert f"4 clips with {len(records)} questions in {tmp_path / 'new'}" in result.stdout
    assert "scene_change 4" in result.stdout
    assert "clips/s" in result.stderr


def test_make_as_json(tmp_path):
    result = run("make", "-o", tmp_path, "-n", "2", "--size", "16", "--json")
    found = json.loads(result.stdout)
    assert (found["clips"], found["folder"]) == (2, str(tmp_path))
    assert sum(found["questions"].values()) == len(load(tmp_path))


def test_make_says_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(shapesqa_module, "SECONDS_BETWEEN", 0.0)
    result = run("make", "-o", tmp_path, "-n", "2", "--size", "224")
    assert "1 of 2 clips" in result.stderr
    assert "s left" in result.stderr


def test_a_folder_with_something_in_it_fails(tmp_path):
    (tmp_path / "mine").write_text("")
    result = run("make", "-o", tmp_path)
    assert result.exit_code == 1
    assert "error: folder" in result.stderr
    assert "not empty" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--split", "tset"],
        ["--scene-type", "still"],
        ["--n", "0"],
        ["--frames", "33"],
        ["--size", "8"],
        ["--seed", "-1"],
        ["--seed", str(1 << 32)],
    ],
)
def test_wrong_options_are_usage_errors(tmp_path, options):
    result = run("make", "-o", tmp_path / "new", *options)
    assert result.exit_code == 2
    assert options[0].removeprefix("--").replace("-", "_") in result.stderr
    assert not (tmp_path / "new").exists()


def test_make_needs_a_folder():
    result = run("make")
    assert result.exit_code == 2
    assert "--output" in result.stderr


def test_leaks_prints_a_table_and_json(monkeypatch):
    report = leaks_module.leak_report(500)
    monkeypatch.setattr(leaks_module, "leak_report", lambda *args, **settings: report)
    shown = run("leaks")
    assert shown.exit_code == 0, shown.output
    assert "fair: at most 0.06 above chance" in shown.stdout.splitlines()[-1]
    for leaks in report.families:
        line = next(line for line in shown.stdout.splitlines() if line.startswith(leaks.family))
        assert line.endswith(f"0.500 {leaks.bag.counts:.3f}" if leaks.bag else " -")
    found = json.loads(run("leaks", "--json").stdout)
    assert found["unfair"] == []
    assert found["clips"] == 500
    assert (found["allowance"], found["wrong_frame"]) == (0.06, 0.7)
    bags = {family["family"]: family["bag"] for family in found["families"]}
    assert set(bags) == set(leaks_module.NEEDS)
    assert {family for family, bag in bags.items() if bag} == {"order", "vanish"}
    assert bags["order"]["chance"] == 0.5

    leaky = tuple(replace(family, blind=0.9) for family in report.families)
    monkeypatch.setattr(
        leaks_module, "leak_report", lambda *args, **settings: replace(report, families=leaky)
    )
    failed = run("leaks")
    assert failed.exit_code == 1
    assert "error: direction: 0.900 right blind" in failed.stderr

    few = tuple(replace(family, n=99) for family in report.families)
    monkeypatch.setattr(leaks_module, "leak_report", lambda *args, **settings: replace(report, families=few))
    refused = run("leaks")
    assert refused.exit_code == 2
    assert "use more clips" in " ".join(refused.stderr.split())


@pytest.mark.parametrize(
    "options", [["--n", "150"], ["--n", "599"], ["--split", "tset"], ["--seed", str(1 << 32)]]
)
def test_leaks_refuses_wrong_options(options):
    result = run("leaks", *options)
    assert result.exit_code == 2
    assert options[0].removeprefix("--") in result.stderr
