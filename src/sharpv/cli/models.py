"""`sharpv models`: the families that can be pruned, and the toys in the box."""

from sharpv.cli import output
from sharpv.cli.options import Debug, Json

__all__ = ["models"]

MEMORY = {(False, False): "yes", (False, True): "full attention", (True, False): "no"}


def models(json: Json = False, debug: Debug = False) -> None:
    """List the model families, what works on each, and the toys in the box."""
    from sharpv._compat import TRANSFORMERS_FROM
    from sharpv.hf.families import FAMILIES
    from sharpv.tiny.load import TOY_PREFIX, TOYS

    families = [
        {
            "model_type": model_type,
            "family": family.name,
            "tokens": "yes",
            "memory": MEMORY[bool(family.stage_1_only), family.hybrid],
            "video as": "images" if family.modality == "image" else "video",
            "positions": "original" if family.mrope else "original, compact",
            "transformers": ">= " + ".".join(map(str, family.since or TRANSFORMERS_FROM)),
        }
        for model_type, family in FAMILIES.items()
    ]
    toys = [{"model": TOY_PREFIX + name, "description": description} for name, description in TOYS.items()]
    if json:
        output.result({"models": families, "toys": toys})
        return
    output.table(list(families[0]), [list(row.values()) for row in families])
    output.answer("")
    output.table(["model in the box", "description"], [list(row.values()) for row in toys])
