"""Which device a worker puts its model on."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from sharpv.batch import model as module
from sharpv.batch.model import Transformers
from sharpv.config import SharpVConfig
from sharpv.video import Sampling


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (None, ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda", ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda:1", ["cuda:1", "cuda:1", "cuda:1"]),
        ("mps", ["mps:0", "mps:0", "mps:0"]),
    ],
)
def test_workers_take_turns_over_gpus_unless_one_is_named(monkeypatch, given, taken):
    found = {None: "cuda", "cuda": "cuda:0", "cuda:1": "cuda:1", "mps": "mps:0"}
    devices: list[str] = []

    def load(name: str, dtype: str, device: str) -> SimpleNamespace:
        devices.append(device)
        return SimpleNamespace(model=None)

    monkeypatch.setattr(module, "find_device", lambda name: torch.device(found[name]))
    monkeypatch.setattr(module, "load_model", load)
    monkeypatch.setattr(module, "attach", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    how = {
        "model": "m",
        "config": SharpVConfig(),
        "method": "sharpv",
        "sampling": Sampling(),
        "dtype": "auto",
    }
    engine = Transformers(**how, max_side=None, max_new_tokens=1, device=given)
    for worker in range(3):
        engine.open(worker, 3)
    assert devices == taken
