"""`sharpv compare` on `sharpv eval`: one table, Markdown, CSV, a plot; what does not fit is named."""

import csv
import io
import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from sharpv.bench import scoring
from sharpv.bench.contest_table import contest_rows
from tests.cli.asking import run
from tests.contests import contest


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder as `sharpv eval -o` leaves it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/summary.json").write_text(json.dumps(contest(), indent=1))
    return tmp_path / "run"


def written(path: Path, summary: dict) -> Path:
    path.write_text(json.dumps(summary))
    return path


def markdown_tables(text: str) -> list[list[list[str]]]:
    tables: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif tables[-1]:
            tables.append([])
    return [table for table in tables if table]


def test_a_folder_gives_a_row_per_condition(folder):
    lines = run("compare", folder).stdout.splitlines()
    head = next(line for line in lines if "tokens %" in line)
    for title in (
        "method",
        "budget",
        "layers %",
        "against dense",
        "scoring ms",
        "papers' FLOPs %",
        "cache %",
    ):
        assert title in head
    row = next(line for line in lines if line.split()[:2] == ["vcast", "12%"])
    assert row.split()[2:4] == ["100.0", "56.0"]
    summary = json.loads((folder / "summary.json").read_text())["conditions"]["vcast@12%"]
    assert f" {100 * summary['macro']:.1f} (" in row
    assert f" {100 * summary['against_dense']['difference']:+.1f} (" in row
    adaptive = next(line for line in lines if line.split()[:2] == ["sharpv-coverage", "adaptive"])
    assert adaptive.split()[2:4] == ["15.0", "(10-20)"]
    assert not any(line.startswith(("differs", "direction")) for line in lines)
    assert lines[-1].startswith("a synthetic world")


def test_families_in_a_second_table(folder):
    _, families = markdown_tables(run("compare", folder, "--by-family", "--markdown").stdout)
    assert families[0] == ["method", "budget", "direction (n 6)", "move_count (n 6)", "vanish (n 6)"]
    assert families[2] == ["best constant", "", "100.0", "100.0", "100.0"]
    evs = next(row for row in families if row[:2] == ["evs", "12%"])
    share = json.loads((folder / "summary.json").read_text())["conditions"]["evs@12%"]["families"]["vanish"]
    low, high = 100 * share["low"], 100 * share["high"]
    assert evs[-1] == f"{100 * share['value']:.1f} ({low:.0f}-{high:.0f})"


def test_markdown_is_a_table(folder):
    (table,) = markdown_tables(run("compare", folder, "--markdown").stdout)
    assert {len(row) for row in table} == {len(table[0])}
    assert set(table[1]) == {"---"}
    assert [row[:2] for row in table[2:4]] == [["dense", ""], [table[3][0], "12%"]]


def test_csv_on_stdout_and_in_a_file(folder, tmp_path):
    shown = run("compare", folder, "--csv", "-", "--by-family").stdout
    rows = {row["condition"]: row for row in csv.DictReader(io.StringIO(shown))}
    found = json.loads((folder / "summary.json").read_text())["conditions"]
    assert next(iter(rows)) == "dense"
    assert set(rows) == set(found)
    for name, row in rows.items():
        assert float(row["accuracy"]) == found[name]["macro"]
        assert float(row["vanish_low"]) == found[name]["families"]["vanish"]["low"]
    assert rows["dense"]["against_dense"] == ""
    path = tmp_path / "rows.csv"
    assert "tokens %" in run("compare", folder, "--csv", path).stdout
    assert [row["condition"] for row in csv.DictReader(path.open())] == list(rows)
    assert "vanish" not in path.read_text()


def test_json_is_one_line(folder):
    out = run("compare", folder, "--json").stdout
    assert out.count("\n") == 1
    values = json.loads(out)
    assert (values["suite"], values["files"], values["settings"]) == ("shapesqa", [str(folder)], {})
    assert values["rows"][0]["condition"] == "dense"
    assert values["rows"][1]["accuracy"]["low"] <= values["rows"][1]["accuracy"]["value"]


def test_files_with_other_questions_are_told_apart(folder, tmp_path):
    other = written(tmp_path / "b.json", contest(questions="0b", seed=1))
    shown = run("compare", folder, other).stdout
    lines = shown.splitlines()
    assert lines[0].split() == ["differs", str(folder), str(other)]
    assert ["seed", "0", "1"] in [line.split() for line in lines]
    dense = [line.split()[0] for line in lines if line.split()[1:2] == ["dense"]]
    assert dense == [str(folder), str(other)]
    assert "different questions" in lines[-1]


def test_parts_of_a_contest_make_one_table(tmp_path):
    low = written(tmp_path / "a.json", contest(budgets=(0.12,)))
    high = written(tmp_path / "b.json", contest(budgets=(0.25,)))
    shown = run("compare", low, high).stdout
    assert "differs" not in shown
    assert "file " not in shown
    assert sum(line.split()[:1] == ["dense"] for line in shown.splitlines()) == 1


def test_what_cannot_be_compared_is_refused(folder, tmp_path):
    bench = written(tmp_path / "bench.json", scoring.run([(4, 6, 8)], ["float32"], repeats=1))
    assert "of `sharpv eval`" in run("compare", folder, bench, ok=1).stderr
    other = written(tmp_path / "other.json", contest(weights="00"))
    assert "runs of the same weights" in run("compare", folder, other, ok=1).stderr
    (tmp_path / "empty").mkdir()
    assert "that has ended" in run("compare", tmp_path / "empty", ok=1).stderr
    broken = written(tmp_path / "broken.json", contest() | {"conditions": {"dense": {}}})
    assert "not whole" in run("compare", broken, ok=1).stderr
    assert "for results of sharpv eval" in run("compare", bench, bench, "--markdown", ok=2).stderr
    assert "give two" in run("compare", bench, bench, bench, ok=2).stderr
    assert "the table's place" in run("compare", folder, "--json", "--csv", "-", ok=2).stderr
    assert "give another file" in run("compare", folder, "--csv", tmp_path / "no/rows.csv", ok=1).stderr


def test_a_plot_names_every_method(folder, tmp_path):
    pytest.importorskip("matplotlib", reason="of the extra viz")
    picture = tmp_path / "a.svg"
    run("compare", folder, "--plot", picture)
    drawn = picture.read_text()
    for text in ("dense", "random", "uniform", "evs", "vcast", "sharpv-coverage", ">sharpv<", "shapesqa"):
        assert text in drawn
    run("compare", folder, "--plot", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert min(image.size) > 500
    assert "none of .svg, .png" in run("compare", folder, "--plot", tmp_path / "a.txt", ok=2).stderr
    assert "give another file" in run("compare", folder, "--plot", tmp_path / "no/a.svg", ok=1).stderr
    nothing = written(tmp_path / "dense.json", contest())
    summary = json.loads(nothing.read_text())
    summary["conditions"] = {"dense": summary["conditions"]["dense"]}
    written(nothing, summary)
    refused = run("compare", nothing, "--plot", picture, ok=1).stderr
    assert "at least one condition that prunes" in refused


def test_points_stand_at_the_mean_over_layers_and_stars_where_the_video_decides():
    pytest.importorskip("matplotlib", reason="of the extra viz")
    plot = import_module("sharpv.cli.contest_plot")
    rows = contest_rows([("a", contest())])
    lines = {line.name: line for line in plot.plot_lines(rows)}
    found = {row.condition: row for row in rows}
    assert lines["vcast"].points == tuple(
        (pytest.approx(share), found[f"vcast@{budget}"].accuracy.value)
        for share, budget in ((0.56, "12%"), (0.625, "25%"))
    )
    assert lines["vcast"].stars == ()
    assert lines["sharpv"].stars[0] == (pytest.approx(0.15), found["sharpv@adaptive"].accuracy.value)
    assert {line.name: line.kind for line in lines.values()} == {
        "sharpv": "ours", "sharpv-coverage": "ours", "random": "blind", "uniform": "blind",
        "evs": "peer", "vcast": "peer",
    }  # fmt: skip
    assert plot.dense_bands(rows)[0][:2] == ("dense", found["dense"].accuracy.value)
    two = contest_rows([("a", contest()), ("b", contest(questions="0b", seed=1))])
    assert {"evs (a)", "evs (b)"} < {line.name for line in plot.plot_lines(two)}
    assert [name for name, *_ in plot.dense_bands(two)] == ["dense (a)", "dense (b)"]


def test_without_matplotlib_the_remedy_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in ("sharpv.viz.plots", "sharpv.viz.accuracy_plot", "sharpv.cli.contest_plot"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    refused = run("compare", folder, "--plot", tmp_path / "a.svg", ok=1).stderr
    assert "pip install 'sharpv[viz]'" in refused
    assert "tokens %" in run("compare", folder).stdout
