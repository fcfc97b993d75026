"""The options of the commands that draw clips: the same bounds everywhere, and mistakes are usage errors."""

import pytest
from typer.testing import CliRunner

from sharpv.bench.spec import AccuracySpec
from sharpv.cli.app import app

WRONG = ["--seed -1", f"--seed {1 << 32}", "--frames 3", "--frames 33", "--split tset", "--size 15"]
COMMANDS = {"eval": WRONG, "shapesqa make -o new": WRONG, "shapesqa leaks": WRONG[:-1]}


@pytest.mark.parametrize(
    ("command", "option"), [(name, option) for name, options in COMMANDS.items() for option in options]
)
def test_every_command_refuses_the_same(command, option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, f"{command} {option}".split())
    assert result.exit_code == 2, result.output
    assert f"nvalid value for '{option.split()[0]}'" in result.stderr or "tset" in result.stderr
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


def test_python_has_the_same_bound_for_seeds():
    assert AccuracySpec(seed=(1 << 32) - 1).seed == (1 << 32) - 1
    with pytest.raises(ValueError, match=r"seed is 4294967296: .* from 0 to 4294967295"):
        AccuracySpec(seed=1 << 32)
