"""`sharpv eval`: a table for people, a line of JSON for programs, and mistakes that are named."""

import json
from itertools import takewhile

import pytest
from typer.testing import CliRunner

from sharpv.bench import accuracy, ask_clip
from sharpv.bench.conditions import CONDITIONS, DEFAULT
from sharpv.cli.app import app

TINY = [
    *("--per-family", "1", "--frames", "4", "--condition", "random", "--condition", "blind"),
    *("--family", "recog", "--family", "scene_change"),
]


def run(*options: object, ok: int = 0):
    result = CliRunner().invoke(app, ["eval", *map(str, options)])
    assert result.exit_code == ok, result.output
    assert "Traceback" not in result.output
    return result


def test_the_table_and_then_the_same_from_the_records(tmp_path):
    out = tmp_path / "run"
    shown = run(*TINY, "-o", out)
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["family", "n", "constant", "dense", "sharpv", "random", "blind"]
    assert [line.split()[0] for line in lines[2:5]] == ["recog", "scene_change", "all"]
    rest = iter(lines)
    scenes = next(line for line in rest if line.startswith("scene type"))
    assert scenes.split() == ["scene", "type", "n", "dense", "sharpv", "random", "blind"]
    assert "(" in list(rest)[1]
    rest = iter(lines)
    against = next(line for line in rest if line.startswith("scene type, against dense"))
    assert against.split()[-4:] == ["n", "sharpv", "random", "blind"]
    differences = dict(line.split(maxsplit=1) for line in takewhile(bool, list(rest)[1:]))
    assert any(line.startswith("each scene type has its own mix of questions") for line in lines)
    kept = next(index for index, line in enumerate(lines) if line.startswith("tokens % by scene type"))
    assert lines[kept].split()[-3:] == ["clips", "sharpv", "random"]
    scene, clips, *shares = lines[kept + 2].split()
    assert "95 % intervals" in lines[-4]
    assert lines[-3].startswith("p: exact sign-flip test over clips")
    assert "toy:default" in shown.stderr
    assert "s each" in shown.stderr
    again = run(*TINY, "-o", out, "--json")
    assert again.stdout.count("\n") == 1
    summary = json.loads(again.stdout)
    assert summary == json.loads((out / "summary.json").read_text())
    compared = summary["conditions"]["sharpv"]["against_dense"]["scene_types"]
    assert set(differences) == set(compared)
    for name, found in compared.items():
        assert differences[name].split()[:2] == [str(found["n"]), f"{100 * found['difference']:+.1f}"]
    cost = summary["conditions"]["sharpv"]["cost"]
    assert int(clips) == cost["clips_by_scene"][scene]
    assert shares == [f"{100 * cost['kept_share_by_scene'][scene]:.1f}"] * 2
    assert set(summary["conditions"]) == {"dense", "sharpv", "random", "blind"}
    assert "s each" not in again.stderr
    refused = run(*TINY, "-o", out, "--seed", 1, ok=1)
    assert "other settings (questions, seed)" in refused.stderr
    assert "give another folder" in refused.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--suite", "mvbench"), "shapesqa"),
        (("--condition", "fastv"), "accepted are all, dense"),
        (("--family", "colour"), "accepted are recog"),
        (("--scene-type", "zoom"), "accepted are static"),
        (("--split", "dev"), "accepted are train"),
        (("--source", "avi"), "arrays"),
        (("--scoring", "logits"), "options"),
        (("--per-family", "0"), "per_family"),
        (("--frames", "2"), "frames"),
        (("--retention", "2"), "retention"),
        (("--rows", "many"), "--rows"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_options_are_usage_errors(options, named):
    result = run(*options, ok=2)
    assert named in " ".join(result.stderr.split())
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "names"),
    [((), DEFAULT), (("--condition", "all"), CONDITIONS), (("--condition", "dense"), ("dense",))],
    ids=["none", "all", "one"],
)
def test_which_conditions_run(options, names, monkeypatch):
    asked = []

    def stop(loaded, spec, *args, **given):
        asked.extend(condition.name for condition in spec.conditions)
        raise KeyboardInterrupt

    monkeypatch.setattr(accuracy, "run", stop)
    run(*options, ok=130)
    assert asked == list(names)


@pytest.mark.parametrize("options", [("-m", "nowhere"), ("-m", "toy:huge"), ("--device", "abacus")])
def test_what_is_not_there_is_a_failure_with_a_remedy(options):
    result = run(*TINY, *options, ok=1)
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert result.stdout == ""


def test_an_interrupted_run_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(ask_clip, "answer", interrupt)
    result = run(*TINY, "-o", tmp_path, ok=130)
    assert "the same command goes on from there" in " ".join(result.stderr.split())
    assert result.stderr.splitlines()[-1] == "error: interrupted"


def test_a_control_that_was_asked_less_has_a_constant_of_its_own(tmp_path):
    asked = ("--per-family", 6, "--control-per-family", 2, "--frames", 4, "--family", "scene_change")
    options = (*asked, "--condition", "dense", "--condition", "blind", "-o", tmp_path)
    row = run(*options).stdout.splitlines()[2].split()
    found = json.loads((tmp_path / "summary.json").read_text())["conditions"]
    constants = [found[name]["best_constant"]["scene_change"] for name in ("dense", "blind")]
    assert row[:3] == ["scene_change", "6/2", "/".join(f"{100 * value:.1f}" for value in constants)]


CONTEST = ("--methods", "evs", "--budgets", "0.25, adaptive", "--seeds", "0,3", *TINY[:4], *TINY[8:])


def test_a_contest_is_a_row_per_method_and_budget(tmp_path):
    shown = run(*CONTEST, "-o", tmp_path)
    main, by_family = (
        [line.split() for line in part.splitlines()] for part in shown.stdout.split("best constant")
    )
    assert main[1][:5] == ["method", "budget", "tokens", "%", "layers"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    names = ["dense", "random@25%", "random@25%#3", "uniform@25%", "evs@25%"]
    names += [f"{name}@adaptive" for name in ("sharpv", "random")] + ["random@adaptive#3", "uniform@adaptive"]
    assert list(summary["conditions"]) == names
    row = next(line for line in main if line[:2] == ["evs", "25%"])
    assert row[2:4] == ["25.0", "25.0"]
    row = next(line for line in by_family if line[:2] == ["evs", "25%"])
    shares = summary["conditions"]["evs@25%"]["families"].values()
    assert row[2::2] == [f"{100 * share['value']:.1f}" for share in shares]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--methods", "fastest"), "got methods fastest: accepted are all, sharpv"),
        (("--methods", "evs", "--budgets", "most"), "'most' is none of shares in (0, 1], and adaptive"),
        (("--methods", "evs", "--budgets", "1.2"), "retention is 1.2"),
        (("--methods", "evs", "--budgets", ""), "got budgets []"),
        (("--methods", "evs", "--seeds", "x"), "'x' is none of whole numbers"),
        (("--ablation", "luck"), "got ablations luck: accepted are tokens, counts, w, M, K, coverage"),
        (("--ablation", "w", "--methods", "evs"), "--methods and --ablation exclude each other"),
        (("clip.mp4",), "CLIP would have no effect: that goes with --suite clips"),
        (("--question", "What?"), "--question would have no effect: that goes with --suite clips"),
        (
            ("--suite", "clips", "a.mp4", "--split", "test", "--stage-2"),
            "--stage-2, --split would have no effect",
        ),
        (("--suite", "clips", "a.mp4", "--condition", "sharpv"), "--condition would have no effect"),
        (
            ("--budgets", "0.5", "--seeds", "1"),
            "--budgets, --seeds would have no effect: that goes with --methods",
        ),
        (
            ("--methods", "evs", "--retention", "0.5"),
            "--retention would have no effect: that goes with --condition",
        ),
        (("--methods", "evs", "--condition", "sharpv"), "--methods and --condition exclude each other"),
    ],
)
def test_what_a_contest_cannot_be_is_a_usage_error(options, named):
    refused = run(*options, ok=2)
    assert named in " ".join(refused.stderr.split()).replace("│ ", "")
