"""`sharpv methods`: what can choose the tokens."""

import sys

from sharpv.cli import output
from sharpv.cli.options import Debug, Json

__all__ = ["methods"]


def methods(json: Json = False, debug: Debug = False) -> None:
    """List what can choose the tokens: for ask --method, eval --methods and attach(model, method=...)."""
    from sharpv.methods import METHODS

    found = {name: sys.modules[type(pruner).__module__].__doc__ or "" for name, pruner in METHODS.items()}
    rows = [{"method": name, "what": text.split("\n")[0].rstrip(".")} for name, text in found.items()]
    if json:
        output.result({"methods": rows})
        return
    output.table(list(rows[0]), [list(row.values()) for row in rows])
