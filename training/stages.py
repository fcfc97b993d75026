"""The stages from fresh weights to the model in the box, in order."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import transformers
from torch import nn

from sharpv import shapesqa
from training.attention import ATTENTION
from training.llm import Recipe, llm_heads, llm_step
from training.loop import Stage, Team, run_stage
from training.model import Sizes, build_model, build_processor
from training.vision import vision_heads, vision_step

__all__ = ["RECIPES", "STAGES", "differences", "settings", "train", "train_process"]

STAGES = {
    "vision": Stage("vision", steps=600, rate=4e-3, decay=0.6),
    "see": Stage("see", steps=600, rate=3e-3, decay=0.0),
    "watch": Stage("watch", steps=500, rate=3e-3, decay=0.0),
    "refine": Stage("refine", steps=400, rate=2e-3, decay=1.0),
    "drop": Stage("drop", steps=400, rate=1e-3, decay=1.0),
}
SHORT = Recipe(frames=(4, 5, 6, 8), shares=(0.4, 0.2, 0.2, 0.2), budget=64, ratios=(1.0,), first=0)
LONG = replace(
    SHORT,
    frames=(4, 6, 8, 12, 16, 24, 32),
    shares=(0.15, 0.15, 0.35, 0.15, 0.1, 0.05, 0.05),
    compressed=0.5,
)
RECIPES = {
    "see": replace(SHORT, first=10**7, text=False),
    "watch": replace(SHORT, first=2 * 10**7),
    "refine": replace(LONG, first=3 * 10**7),
    # With the ties, captions of pruned videos drift into their sentences.
    "drop": replace(
        LONG,
        first=4 * 10**7,
        ratios=(1.0, 1.0, 0.6, 0.4, 0.25, 0.15, 0.12),
        heads=False,
        ties=False,
    ),
}
WORLD = ("scene", "draw", "questions", "render")
"""The modules of `sharpv.shapesqa` that a run depends on."""


def settings(size: int, seed: int) -> dict[str, Any]:
    """Returns all that a run depends on, as plain JSON values; `size` is the number of processes.

    Sizes, stages, recipes, weights of the loss and the wording of questions stand in the sources.
    """
    world = [Path(shapesqa.__file__).parent / f"{name}.py" for name in WORLD]
    sources = [*Path(__file__).parent.glob("*.py"), *world]
    return {
        "seed": seed,
        "processes": size,
        "versions": {library.__name__: library.__version__ for library in (np, torch, transformers)},
        "sources": {
            f"{path.parent.name}/{path.name}": sha256(path.read_bytes()).hexdigest()
            for path in sorted(sources)
        },
    }


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Names the settings that two runs do not share; of versions and sources, which."""
    found = []
    for name in dict.fromkeys((*mine, *theirs)):
        ours, other = mine.get(name), theirs.get(name)
        if isinstance(ours, dict) and isinstance(other, dict):
            found += [f"{name} {part}" for part in differences(ours, other)]
        elif ours != other:
            found.append(name)
    return found


def train_process(rank: int, size: int, out: Path, seed: int) -> None:
    """Trains the model in the box, as one process of `size`."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    torch.set_num_threads(1 if size > 1 else torch.get_num_threads())
    if size > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{out.resolve()}/rendezvous", rank=rank, world_size=size
        )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train(Team(rank, size, device), out, seed)
    if size > 1:
        dist.destroy_process_group()


def train(
    team: Team,
    out: Path,
    seed: int,
    sizes: Sizes | None = None,
    stages: Mapping[str, Stage] = STAGES,
    recipes: Mapping[str, Recipe] = RECIPES,
) -> None:
    """Runs every stage, from where `out` stands.

    Args:
        team: the processes.
        out: folder of checkpoints and log.
        seed: of weights and scenes.
        sizes: of the model; None for those of the model in the box.
        stages: "vision", and one for each recipe.
        recipes: of the stages of the LLM, in order.
    """
    torch.manual_seed(seed)
    sizes = sizes or Sizes()
    tokenizer = build_processor(sizes).tokenizer
    model = build_model(sizes, tokenizer).to(team.device)
    model.set_attn_implementation(ATTENTION)
    heads = {"vision": vision_heads(sizes).to(team.device), "llm": llm_heads(sizes).to(team.device)}
    eyes = nn.ModuleDict({"tower": model.model.vision_tower, "projector": model.model.multi_modal_projector})
    modules = nn.ModuleDict({"eyes": eyes, "heads": heads["vision"]})
    run_stage(
        stages["vision"], modules, vision_step(model, heads["vision"], sizes, team, seed, batch=64), team, out
    )
    modules = nn.ModuleDict({"model": model, "heads": heads["llm"]})
    for name, recipe in recipes.items():
        # Muon's steps have one size whatever the gradient: early on they would wash the tower out.
        eyes["tower"].requires_grad_(name == "refine")
        step = llm_step(model, heads["llm"], tokenizer, sizes, team, seed, recipe)
        run_stage(stages[name], modules, step, team, out)
