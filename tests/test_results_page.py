"""The results page says what its summaries say, of one contest at a time, and drift is found."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from sharpv.bench.contest_table import contest_rows
from tests.contests import contest

ROOT = Path(__file__).parents[1]
PAGE = Path("docs/results.md")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    """The scripts run in a folder of their own, with what they import beside them."""
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "docs")


def run(*options: str) -> None:
    """Runs docs/results.py, in this process: importing torch for every run would take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["docs/results.py", *options])
        import_module("results").main()


def refuse(*options: str) -> str:
    with pytest.raises(SystemExit) as ended:
        run(*options)
    return str(ended.value)


def written(summary: dict) -> str:
    Path("summary.json").write_text(json.dumps(summary))
    return "summary.json"


def take(name: str, summary: dict, *command: str) -> None:
    run("--take", written(summary), name, *command)


def page(*parts: str) -> str:
    """Writes a page with these parts, and returns it as it is made."""
    PAGE.write_text("\n".join(map(marker, parts)))
    run()
    made = PAGE.read_text()
    assert "STALE" not in made
    return made


def marker(part: str) -> str:
    return f"<!-- {part} by docs/results.py -->\nSTALE\n<!-- end -->\n"


def refuse_part(part: str) -> str:
    PAGE.write_text(marker(part))
    return refuse()


def lines(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|") and "---" not in line
    ]


@pytest.fixture(scope="module")
def summary() -> dict:
    return contest()


def test_a_budget_has_its_methods_beside_dense_with_the_command(summary):
    take("main", summary)
    made = page("budget main 12%")
    head, *rows = lines(made)
    assert head == [
        "method", "tokens %", "layers %", "accuracy", "against dense", "against random", "agreement"
    ]  # fmt: skip
    assert rows[0][0] == "dense"
    found = {row[0]: row for row in rows}
    assert set(found) == {"dense", "random", "uniform", "evs", "sharpv-coverage", "vcast"}
    condition = summary["conditions"]["evs@12%"]
    assert found["evs"][3].split()[0] == f"{100 * condition['macro']:.1f}"
    assert found["evs"][4].split()[0] == f"{100 * condition['against_dense']['difference']:+.1f}"
    command = (
        "sharpv eval --suite shapesqa --methods sharpv-coverage,evs,vcast --budgets 0.12,0.25,adaptive "
        "--per-family 6 --family direction --family move_count --family vanish"
    )
    assert f"18 questions about 6 clips, by `{command}`." in made


def test_families_costs_values_and_the_contest_itself(summary):
    take("main", summary)
    families, costs = (lines(page(f"{part} main 25%")) for part in ("families", "costs"))
    assert families[0] == ["method", "direction (n 6)", "move_count (n 6)", "vanish (n 6)"]
    assert families[1][0] == "best constant"
    assert costs[0] == [
        "method", "tokens %", "layers %", "scoring ms", "prefill %", "FLOPs %", "papers' FLOPs %", "cache %"
    ]  # fmt: skip
    evs = next(row for row in costs if row[0] == "evs")
    assert evs[5:] == ["25.0", "25.0", "25.0"]
    about = page("about main")
    assert "a machine, 1 threads, torch 2, transformers 5, commit c" in about
    assert "18 questions about 6 clips" in about
    names = ("accuracy", "vanish", "questions")
    prose = "Of 9: <!-- value main evs@12% {} by docs/results.py -->?<!-- end --> %."
    PAGE.write_text("\n".join(map(prose.format, names)))
    run()
    found = summary["conditions"]["evs@12%"]
    said = [line.split("-->")[1].split("<!--")[0] for line in PAGE.read_text().splitlines()]
    assert said == [f"{100 * found['macro']:.1f}", f"{100 * found['families']['vanish']['value']:.1f}", "18"]
    assert PAGE.read_text().endswith("18<!-- end --> %.")
    assert "evs@12% of 'main' has no figure beauty" in refuse_part("value main evs@12% beauty")


def test_any_conditions_in_any_order(summary):
    take("main", summary)
    made = lines(page("conditions main vcast@25% evs@12%"))
    assert [row[0] for row in made] == ["condition", "dense", "vcast@25%", "evs@12%"]
    assert len(lines(page("conditions main"))) == 1 + len(summary["conditions"])
    assert "has no condition evs@1%; it has dense," in refuse_part("conditions main evs@1%")


def test_a_contest_in_several_files_is_one():
    take("main.low", contest(budgets=(0.12,)))
    take("main.more", contest(["divprune"], budgets=(0.12, 0.25), commit="d"))
    made = page("budget main 12%")
    assert {row[0] for row in lines(made)[1:]} == {
        "dense", "random", "uniform", "evs", "vcast", "sharpv-coverage", "divprune"
    }  # fmt: skip
    assert made.count("`sharpv eval") == 2
    assert "--methods divprune --budgets 0.12,0.25" in made
    assert "commit c and on a machine" in page("about main")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"questions": "0b"},
            "differ in questions, and in what they found for dense, random@12%, uniform@12%",
        ),
        ({"seed": 1}, "differ in seed, and in what they found for"),
        ({"weights": "00"}, "runs of different models"),
        ({"threads": 2}, "differ in threads, and in what they found for no condition"),
    ],
)
def test_files_of_different_contests_are_refused(change, message):
    take("main.a", contest(budgets=(0.12,)))
    take("main.b", contest(["divprune"], budgets=(0.12,), **change))
    assert message in refuse_part("about main")


def test_what_was_not_measured_is_said(summary):
    take("main", summary)
    assert "nothing at 50% in docs/results/main.json" in page("budget main 50%")
    assert "no docs/results/other.json" in page("figure other")
    run("--check")
    assert "its first word is one of about" in refuse_part("a main")


def test_random_and_uniform_belong_in_every_table(summary):
    without = summary | {
        "conditions": {name: one for name, one in summary["conditions"].items() if name != "uniform@12%"}
    }
    take("main", without)
    assert "has no uniform at 12%" in refuse_part("budget main 12%")


def test_a_taken_summary_is_small_and_says_the_same():
    summary = contest(seeds=(0, 1))
    take("main", summary)
    path = Path("docs/results/main.json")
    assert path.stat().st_size < len(json.dumps(summary)) / 3
    for taken, whole in zip(
        contest_rows([("", json.loads(path.read_text()))]), contest_rows([("", summary)]), strict=True
    ):
        assert (taken.condition, taken.method, taken.budget) == (whole.condition, whole.method, whole.budget)
        assert taken.accuracy.low == pytest.approx(whole.accuracy.low, abs=1e-5)
        assert taken.prefill.value == pytest.approx(whole.prefill.value, abs=1e-5)
        assert taken.families.keys() == whole.families.keys()
    assert "--seeds 0,1" in json.loads(path.read_text())["command"]


def test_a_command_that_cannot_be_told_has_to_be_given():
    other = contest()
    other["settings"]["conditions"][1]["config"]["spatial_weight"] = 0.5
    assert "['the command that made it']" in refuse("--take", written(other), "main")
    take("main", other, "python mine.py")
    assert "by `python mine.py`" in page("conditions main")


def test_real_clips():
    one = {
        "kl": {"n": 9, "mean": 0.1234, "low": 0.1, "high": 0.2},
        "agreement": {"n": 1234, "clusters": 2, "right": 9, "value": 0.5, "low": 0.25, "high": 0.75},
        "cost": {
            "kept_share": {"mean": 0.12, "min": 0.12, "max": 0.12},
            "layer_share": {"mean": 0.34, "min": 0.34, "max": 0.34},
            "seconds": 3.0,
        },
    }
    alone = one | {"kl": one["kl"] | {"low": None, "high": None}}
    summary = {name: value for name, value in contest().items() if name not in ("settings", "questions")}
    summary |= {"suite": "clips", "clips": 2, "questions": 12}
    summary["conditions"] = {"dense": alone, "evs@12%": one, "random@12%#1": one, "evs@25%": one}
    take("clips", summary, "sharpv eval --suite clips a.mp4 b.mp4")
    made = page("clips clips 12%")
    assert lines(made)[1:] == [
        ["dense", "12.0", "34.0", "0.123", "50.0 (25-75)", "1,234"],
        ["evs@12%", "12.0", "34.0", "0.123 (0.100-0.200)", "50.0 (25-75)", "1,234"],
        ["random@12%#1", "12.0", "34.0", "0.123 (0.100-0.200)", "50.0 (25-75)", "1,234"],
    ]
    assert "2 clips, by `sharpv eval --suite clips a.mp4 b.mp4`" in made
    assert len(lines(page("clips clips"))) == 5


def test_drift_is_found(summary):
    take("main", summary)
    page("budget main 12%", "value main evs@12% accuracy")
    run("--check")
    changed = PAGE.read_text()
    PAGE.write_text(changed.replace("| evs |", "| evs! |"))
    assert "docs/results.md does not say what its results say" in refuse("--check")


def test_a_picture_is_of_its_contest(summary):
    pytest.importorskip("matplotlib", reason="of the extra viz")
    take("main", summary)
    assert "](results/main.svg)" in page("figure main")
    assert "main.svg is not of docs/results/main.json" in refuse("--check")
    command, environment = [sys.executable, str(ROOT / "docs/plots.py")], {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run(command, check=True, env=os.environ | environment)
    drawn = Path("docs/results/main.svg").read_text()
    assert "18 questions about 6 clips" in drawn
    run("--check")
    take("main.more", contest(["divprune"], budgets=(0.12,)))
    assert "main.svg is not of" in refuse("--check")


def test_the_page_of_the_repository_says_what_its_results_say(monkeypatch):
    monkeypatch.chdir(ROOT)
    run("--check")
