"""`sharpv models`: the families that can be pruned."""

from sharpv.cli import output
from sharpv.cli.options import Debug, Json

__all__ = ["models"]


def models(json: Json = False, debug: Debug = False) -> None:
    """List the model families, and what works on each."""
    from sharpv.hf.families import FAMILIES

    rows = [
        {
            "model_type": model_type,
            "family": family.name,
            "tokens": "yes",
            "memory": "yes",
            "positions": "original" if family.mrope else "original, compact",
        }
        for model_type, family in FAMILIES.items()
    ]
    if json:
        output.result({"models": rows})
    else:
        output.table(list(rows[0]), [list(row.values()) for row in rows])
