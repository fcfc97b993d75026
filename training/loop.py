"""What every stage of training shares: processes, optimisers, schedule, checkpoints and log."""

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["Stage", "Team", "run_stage"]

logger = logging.getLogger(__name__)

StepFn = Callable[[int], tuple[Tensor, dict[str, float]]]
Optimizers = list[tuple[torch.optim.Optimizer, float]]

ADAMW_SHARE = 0.5
"""Learning rate of AdamW as a share of Muon's."""


@dataclass(frozen=True, slots=True)
class Team:
    """The processes that train together.

    Attributes:
        rank: of this process.
        size: how many there are.
        device: of this process.
    """

    rank: int
    size: int
    device: torch.device

    def average(self, parameters: list[nn.Parameter]) -> None:
        """Averages the gradients over all processes, in place."""
        if self.size == 1:
            return
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        flat /= self.size
        for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(part.view_as(grad))


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of training.

    Attributes:
        name: of its checkpoint and its lines in the log.
        steps: of the optimisers.
        rate: learning rate of Muon at its peak; AdamW has half of it.
        decay: the share of the steps, at the end, over which the rate falls to 2 % of it.
        warmup: steps over which it rises.
        log_every: steps between lines in the log.
        save_every: steps between checkpoints.
    """

    name: str
    steps: int
    rate: float
    decay: float
    warmup: int = 50
    log_every: int = 50
    save_every: int = 200

    def scale(self, step: int) -> float:
        """Returns the share of the peak rate at a step."""
        left = (self.steps - step) / (self.decay * self.steps) if self.decay else 1.0
        return min(1.0, (step + 1) / self.warmup, max(left, 0.02))


def run_stage(
    stage: Stage,
    modules: nn.ModuleDict,
    step_fn: StepFn,
    team: Team,
    folder: Path,
) -> None:
    """Trains `modules` in place from the stage's checkpoint, or from where they stand.

    Args:
        stage: how long and how fast.
        modules: all that is trained or saved; parameters without gradient are only saved.
        step_fn: takes the step, returns loss and figures; must depend on the step alone, so that a resumed
            run sees what an uninterrupted one would have seen.
        team: the processes.
        folder: of checkpoints and log.
    """
    named = [(name, p) for name, p in modules.named_parameters() if p.requires_grad]
    parameters = [p for _, p in named]
    optimizers = _optimizers(named, stage.rate)
    path = folder / f"{stage.name}.pt"
    start = _resume(path, modules, optimizers)
    sums: dict[str, list[float]] = {}
    began = time.monotonic()
    for step in range(start, stage.steps):
        figures = _learn(step_fn, step, stage.scale(step), parameters, optimizers, team)
        for name, value in figures.items():
            if value == value:
                sums.setdefault(name, []).append(value)
        done = step + 1
        last = done == stage.steps
        if team.rank == 0 and (last or done % stage.save_every == 0):
            _save(path, stage, modules, optimizers, done)
        if team.rank == 0 and (last or done % stage.log_every == 0):
            seconds = (time.monotonic() - began) / (done - start)
            means = {name: round(sum(values) / len(values), 4) for name, values in sums.items()}
            _log(folder, stage, done, seconds, means)
            sums.clear()


def _learn(
    step_fn: StepFn,
    step: int,
    scale: float,
    parameters: list[nn.Parameter],
    optimizers: Optimizers,
    team: Team,
) -> dict[str, float]:
    """Makes one step at `scale` of the peak rate, in place; returns its figures."""
    for optimizer, peak in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = peak * scale
        optimizer.zero_grad()
    loss, figures = step_fn(step)
    loss.backward()
    team.average(parameters)
    figures["gradient"] = float(nn.utils.clip_grad_norm_(parameters, 1.0))
    for optimizer, _ in optimizers:
        optimizer.step()
    return figures


def _optimizers(named: list[tuple[str, nn.Parameter]], rate: float) -> Optimizers:
    """Muon for the matrices inside the networks, AdamW for embeddings, heads and vectors, with peak rates."""
    inner = [p for name, p in named if p.ndim == 2 and "embed" not in name and not name.startswith("heads")]
    chosen = {id(p) for p in inner}
    outer = [p for _, p in named if id(p) not in chosen]
    return [
        (
            torch.optim.Muon(
                inner, lr=rate, weight_decay=0.02, momentum=0.95, adjust_lr_fn="match_rms_adamw"
            ),
            rate,
        ),
        (torch.optim.AdamW(outer, lr=rate, betas=(0.9, 0.98), weight_decay=0.0), ADAMW_SHARE * rate),
    ]


def _resume(path: Path, modules: nn.ModuleDict, optimizers: Optimizers) -> int:
    if not path.exists():
        return 0
    saved = torch.load(path, map_location="cpu", weights_only=True)
    modules.load_state_dict(saved["modules"])
    for (optimizer, _), state in zip(optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    return int(saved["step"])


def _save(path: Path, stage: Stage, modules: nn.ModuleDict, optimizers: Optimizers, step: int) -> None:
    state = {
        "step": step,
        "steps": stage.steps,
        "modules": modules.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer, _ in optimizers],
    }
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def _log(folder: Path, stage: Stage, step: int, seconds: float, means: dict[str, float]) -> None:
    left = (stage.steps - step) * seconds
    line = {
        "stage": stage.name,
        "step": step,
        "steps": stage.steps,
        "seconds_per_step": round(seconds, 3),
        **means,
    }
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    rate = f"{seconds:.2f} s per step, {left / 60:.0f} min left"
    logger.info("%s %d/%d, %s: %s", stage.name, step, stage.steps, rate, json.dumps(means))
