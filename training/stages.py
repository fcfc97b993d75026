"""The stages from fresh weights to the model in the box, in order."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from training.attention import ATTENTION
from training.llm import Recipe, llm_heads, llm_step
from training.loop import Stage, Team, run_stage
from training.model import Sizes, build_model, build_processor
from training.vision import vision_heads, vision_step

__all__ = ["RECIPES", "STAGES", "settings", "train"]

STAGES = {
    "vision": Stage("vision", steps=600, rate=4e-3, decay=0.6),
    "see": Stage("see", steps=600, rate=3e-3, decay=0.0),
    "watch": Stage("watch", steps=500, rate=3e-3, decay=0.0),
    "refine": Stage("refine", steps=400, rate=2e-3, decay=1.0),
    "drop": Stage("drop", steps=400, rate=1e-3, decay=1.0),
}
SHORT = Recipe(frames=(4, 5, 6, 8), shares=(0.4, 0.2, 0.2, 0.2), budget=64, ratios=(1.0,), first=0)
LONG = SHORT._replace(
    frames=(4, 6, 8, 12, 16, 24, 32), shares=(0.15, 0.15, 0.35, 0.15, 0.1, 0.05, 0.05), compressed=0.5
)
RECIPES = {
    "see": SHORT._replace(first=10**7, text=False),
    "watch": SHORT._replace(first=2 * 10**7),
    "refine": LONG._replace(first=3 * 10**7),
    # With the ties, captions of pruned videos drift into their sentences.
    "drop": LONG._replace(
        first=4 * 10**7, ratios=(1.0, 1.0, 0.6, 0.4, 0.25, 0.15, 0.12), heads=False, ties=False
    ),
}


def settings(size: int, seed: int) -> dict[str, Any]:
    """Returns all that a run depends on, as plain JSON values; `size` is the number of processes."""
    stages = {name: asdict(stage) for name, stage in STAGES.items()}
    recipes = {name: recipe._asdict() for name, recipe in RECIPES.items()}
    found = {"seed": seed, "processes": size, "sizes": asdict(Sizes()), "stages": stages, "recipes": recipes}
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def train(rank: int, size: int, out: Path, seed: int) -> None:
    """Runs every stage in one process of `size`."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    torch.set_num_threads(1 if size > 1 else torch.get_num_threads())
    if size > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{out.resolve()}/rendezvous", rank=rank, world_size=size
        )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(seed)
    team, sizes = Team(rank, size, device), Sizes()
    tokenizer = build_processor(sizes).tokenizer
    model = build_model(sizes, tokenizer).to(device)
    model.set_attn_implementation(ATTENTION)
    heads = {"vision": vision_heads(sizes).to(device), "llm": llm_heads(sizes).to(device)}
    eyes = nn.ModuleDict({"tower": model.model.vision_tower, "projector": model.model.multi_modal_projector})
    run_stage(
        STAGES["vision"],
        nn.ModuleDict({"eyes": eyes, "heads": heads["vision"]}),
        vision_step(model, heads["vision"], sizes, team, seed, batch=64),
        team,
        out,
    )
    for name, recipe in RECIPES.items():
        # Muon's steps have one size whatever the gradient: early on they would wash the tower out.
        eyes["tower"].requires_grad_(name == "refine")
        step = llm_step(model, heads["llm"], tokenizer, sizes, team, seed, recipe)
        run_stage(STAGES[name], nn.ModuleDict({"model": model, "heads": heads["llm"]}), step, team, out)
    if size > 1:
        dist.destroy_process_group()
