"""What holds for the whole command line: light, quiet, and honest in its exit codes."""

import json
import os
import re
import resource
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

import sharpv
from sharpv._compat import installed_transformers
from sharpv.cli.app import app
from sharpv.cli.run import command
from sharpv.errors import InputError
from sharpv.hf.families import FAMILIES
from sharpv.methods import METHODS
from sharpv.tiny.load import TOYS

HEAVY = ("torch", "transformers", "numpy", "av", "rich", "yaml")


def sharpv_command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "sharpv.cli", *arguments], capture_output=True, text=True, timeout=120
    )


def test_help_costs_little_cpu():
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert sharpv_command("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.4


@pytest.mark.parametrize("arguments", [["--help"], ["ask", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys; sys.argv = ['sharpv', *sys.argv[1:]]\n"
        "from sharpv.cli.app import main\n"
        "try: main()\n"
        f"finally: print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert result.stderr.strip() == "[]"


def test_version():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"sharpv {sharpv.__version__}\n"


def test_no_command_shows_the_help():
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 2
    assert "ask" in result.output


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("no good: try this"), 1, "error: no good: try this\n"),
        (RuntimeError("odd\nthing"), 1, "error: RuntimeError: odd thing (run again with --debug"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
)
def test_failures_become_a_line_and_a_code(error, code, line, capsys):
    def fails() -> None:
        raise error

    with pytest.raises(typer.Exit) as caught:
        command(fails)()
    assert caught.value.exit_code == code
    assert capsys.readouterr().err.startswith(line)


def test_debug_lets_a_failure_through(tmp_path):
    result = CliRunner().invoke(app, ["ask", str(tmp_path / "none.mp4"), "What?", "--debug"])
    assert isinstance(result.exception, sharpv.VideoError)


def test_models():
    found = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    assert [row["model_type"] for row in found["models"]] == list(FAMILIES)
    assert {row["model"]: row["description"] for row in found["toys"]} == {
        f"toy:{name}": description for name, description in TOYS.items()
    }
    shown = CliRunner().invoke(app, ["models"]).stdout
    assert all(family.name in shown for family in FAMILIES.values())
    for name, description in TOYS.items():
        assert re.search(rf"^toy:{name} .*{re.escape(description)}$", shown, re.MULTILINE)


def test_methods():
    found = json.loads(CliRunner().invoke(app, ["methods", "--json"]).stdout)["methods"]
    assert [row["method"] for row in found] == list(METHODS)
    assert "arXiv 2505.14454" in next(row["what"] for row in found if row["method"] == "vidcom2")
    shown = CliRunner().invoke(app, ["methods"]).stdout
    assert all(
        re.search(rf"^{re.escape(row['method'])} +{re.escape(row['what'])}$", shown, re.M) for row in found
    )


def test_doctor_checks_every_family():
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["ok"]
    assert [check["model_type"] for check in found["checks"]] == list(FAMILIES)
    for check in found["checks"]:
        since = FAMILIES[check["model_type"]].since
        if since is not None and installed_transformers() < since:
            assert "supports >= " in check["skipped"]
            continue
        assert check["exact_off"]
        assert 0 < check["tokens_kept"] < check["tokens_total"]
        assert 0 < check["cache_bytes"] < check["dense_cache_bytes"]
    assert found["environment"]["sharpv"] == sharpv.__version__
    assert "h264" in found["environment"]["decoders"]


def test_doctor_prints_a_table_to_paste():
    shown = CliRunner().invoke(app, ["doctor"]).stdout
    assert "llava_onevision" in shown
    assert "transformers" in shown


def test_doctor_reports_what_breaks(monkeypatch):
    monkeypatch.setattr("sharpv.hf.selfcheck.moving_square", lambda **size: 1 / 0)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.stdout
    assert "error: a check failed" in result.stderr
    assert isinstance(CliRunner().invoke(app, ["doctor", "--debug"]).exception, ZeroDivisionError)


def test_a_reader_that_leaves_is_no_failure_to_report():
    """As in `sharpv models | head -c 1`."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = subprocess.run(
        [sys.executable, "-m", "sharpv.cli", "models"], stdout=write_end, stderr=subprocess.PIPE, text=True
    )
    os.close(write_end)
    assert result.returncode == 1
    assert result.stderr == ""


def test_an_answer_that_the_terminal_cannot_show():
    code = "from sharpv.cli import output; output.configure(); output.answer('caf\u00e9 \ufffd')"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.stdout == "caf? ?\n"


@pytest.mark.parametrize(
    "arguments", [["doctor", "--device", "cuda:99"], ["bench", "scoring", "--device", "nowhere"]]
)
def test_a_device_that_is_not_there(arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "cannot use device" in result.stderr


def test_a_terminal_free_run_has_no_colours():
    environment = os.environ | {"TERM": "xterm-256color"}
    result = subprocess.run(
        [sys.executable, "-m", "sharpv.cli", "models"], capture_output=True, text=True, env=environment
    )
    assert "\x1b" not in result.stdout + result.stderr
