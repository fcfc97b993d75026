"""`sharpv bench`: the last line is JSON, and what is wrong is said before anything is timed."""

import json

import pytest
from typer.testing import CliRunner

from sharpv.cli.app import app


def test_scoring_ends_in_a_line_of_json():
    options = ["--shape", "9x6x8", "--shape", "1x1x1", "--repeats", "1", "--dtype", "bfloat16", "--json"]
    result = CliRunner().invoke(app, ["bench", "scoring", *options])
    assert result.exit_code == 0, result.output
    assert [case["shape"] for case in json.loads(result.stdout)["cases"]] == [[9, 6, 8], [1, 1, 1]]
    assert result.stderr.count("bfloat16") == 2


@pytest.mark.parametrize(
    "options",
    [["--shape", "3x4"], ["--shape", "axbxc"], ["--shape", "0x1x1"], ["--dtype", "int8"], ["--repeats", "0"]],
)
def test_wrong_options_are_usage_errors(options):
    result = CliRunner().invoke(app, ["bench", "scoring", *options])
    assert result.exit_code == 2
    assert options[0] in result.stderr
