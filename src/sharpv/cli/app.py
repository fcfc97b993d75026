"""The `sharpv` command. Commands import torch when they run, so that `--help` stays light."""

import typer

import sharpv
from sharpv.cli import output
from sharpv.cli.ask import ask
from sharpv.cli.bench import bench
from sharpv.cli.calibrate import calibrate
from sharpv.cli.compare import compare
from sharpv.cli.demo import demo
from sharpv.cli.doctor import doctor
from sharpv.cli.eval import evaluate
from sharpv.cli.inspect import inspect
from sharpv.cli.methods import methods
from sharpv.cli.models import models
from sharpv.cli.run import command
from sharpv.cli.serve import serve
from sharpv.cli.shapesqa import shapesqa

__all__ = ["app", "main"]

app = typer.Typer(
    name="sharpv",
    help="Faster and smaller video LLMs, without training: prune what carries no news.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        output.answer(f"sharpv {sharpv.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Faster and smaller video LLMs, without training: prune what carries no news."""
    output.configure()


for function in (demo, ask, inspect, compare, models, methods, doctor, calibrate):
    app.command()(command(function))
app.command(name="eval")(command(evaluate))
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(command(serve))
app.add_typer(bench, name="bench")
app.add_typer(shapesqa, name="shapesqa")


def main() -> None:
    """Runs the command line."""
    app()
