"""`sharpv bench growth`: a table, then JSON that `sharpv compare` reads; mistakes are said early."""

import json

import pytest
from typer.testing import CliRunner

from sharpv.cli import timed
from sharpv.cli.app import app


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_table_comes_before_one_line_of_json(small_shape, monkeypatch, tmp_path):
    monkeypatch.setattr(timed, "CLIP_SIZE", (96, 128))
    path = tmp_path / "a.json"
    options = ["--shape", small_shape, "--layers", "1", "--device", "cpu", "--dtype", "float32", "-o", path]
    options += ["--frames", "8", "--frames", "4", "--batch", "2", "--repeats", "2", "--new-tokens", "2"]
    result = invoke("bench", "growth", *options)
    assert result.exit_code == 0, result.output
    *text, last = result.stdout.strip().splitlines()
    values = json.loads(last)
    assert json.loads(path.read_text()) == values
    assert values["card"]["model"]["layers"] == [1, 2]
    assert [(point["frames"], point["batch"]) for point in values["points"]] == [(4, 1), (8, 1), (4, 2)]
    assert text[0].startswith("small, 1 of 2 layers in float32")
    rows = [line.split()[:4] for line in text[3:9]]
    assert [row[:3:2] for row in rows] == [[count, "1"] for count in "4488"] + [["4", "2"]] * 2
    assert [row[3] for row in rows] == ["dense", "sharpv"] * 3
    assert "4 frames, batch 2: prefill dense" in result.stderr
    compared = invoke("compare", path, path)
    assert compared.exit_code == 0, compared.output
    assert "8 frames x 1, sharpv: prefill ms" in compared.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--shape", "gpt"], "llava-onevision-0.5b"),
        (["--layers", "0"], "--layers"),
        (["--layers", "25"], "llava-onevision-0.5b has 24"),
        (["--frames", "0"], "--frames"),
        (["--frames", "8", "--frames", "8"], "each once"),
        (["--batch", "-1"], "--batch"),
        (["--batch", "2", "--batch", "2"], "each once"),
        (["--retention", "0"], "retention"),
        (["--retention", "1.5"], "retention"),
        (["--repeats", "0"], "--repeats"),
        (["--new-tokens", "0"], "--new-tokens"),
        (["--minutes", "nan"], "minutes"),
        (["--dtype", "int8"], "--dtype"),
        (["-o", "nowhere/else/a.json"], "nowhere"),
    ],
)
def test_wrong_options_are_usage_errors(options, said):
    result = invoke("bench", "growth", *options)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.replace("│", " ").split())
