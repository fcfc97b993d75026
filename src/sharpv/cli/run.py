"""How every command ends: 0 ok, 1 failure with a remedy, 2 usage, 130 interrupted."""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from sharpv.cli import output
from sharpv.errors import SharpVError

__all__ = ["command"]

INTERRUPTED = 130


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Turns what a command raises into a message and an exit code. `--debug` lets it through."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            output.fail("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except BrokenPipeError:
            # The reader of stdout has left, as `head` does: nothing is wrong, and nothing more can be said.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except Exception as error:
            if kwargs.get("debug"):
                raise
            output.fail(str(error) if isinstance(error, SharpVError) else _unforeseen(error))
            raise typer.Exit(1) from None

    return run


def _unforeseen(error: Exception) -> str:
    return f"{type(error).__name__}: {error} (run again with --debug for the traceback)"
