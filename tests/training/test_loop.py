"""Stages, checkpoints and processes."""

import json
import logging

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from training.__main__ import main
from training.export import export
from training.loop import Stage, Team, run_stage
from training.model import Sizes, build_model, build_processor
from training.stages import differences, settings

ALONE = Team(0, 1, torch.device("cpu"))


def module():
    torch.manual_seed(0)
    return nn.ModuleDict({"net": nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))})


def problem(modules):
    def step(number):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(number))
        loss = (modules["net"](x) - x.sum(1, keepdim=True)).square().mean()
        return loss, {"loss": float(loss.detach()), "seldom": float("nan") if number % 2 else 1.0}

    return step


def run(folder, stage, modules, stop=None):
    step = problem(modules)

    def limited(number):
        if number == stop:
            raise KeyboardInterrupt
        return step(number)

    run_stage(stage, modules, limited, ALONE, folder)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    stage = Stage("toy", steps=30, rate=1e-2, decay=0.5, warmup=5, log_every=10, save_every=10)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = module()
    run(tmp_path / "a", stage, whole)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", stage, module(), stop=17)
    resumed = module()
    run(tmp_path / "b", stage, resumed)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    lines = [json.loads(line) for line in (tmp_path / "a/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert all(line["seldom"] == 1.0 for line in lines)


def test_it_says_how_fast_it_is_and_how_long_the_stage_takes(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="training.loop")
    run(tmp_path, Stage("toy", steps=4, rate=1e-2, decay=0.5, warmup=1, log_every=2), module())
    half, whole = (record.getMessage() for record in caplog.records)
    assert half.startswith("toy 2/4, 0.")
    assert " s per step, 0 min left: {" in half
    assert whole.startswith("toy 4/4, ")


def test_a_finished_stage_is_only_loaded(tmp_path):
    stage = Stage("toy", steps=5, rate=1e-2, decay=0.5, warmup=1)
    first, second = module(), module()
    run(tmp_path, stage, first)
    run(tmp_path, stage, second, stop=0)
    assert torch.equal(first["net"][0].weight, second["net"][0].weight)


def test_the_rate_rises_holds_and_falls():
    stage = Stage("toy", steps=100, rate=1.0, decay=0.5, warmup=10)
    assert [round(stage.scale(step), 3) for step in (0, 9, 50, 75, 99)] == [0.1, 1.0, 1.0, 0.5, 0.02]
    assert Stage("toy", steps=100, rate=1.0, decay=0.0, warmup=10).scale(99) == 1.0


def refused(folder, monkeypatch, capsys, held):
    (folder / "settings.json").write_text(json.dumps(held))
    arguments = ["training", "--out", str(folder), "--seed", "1", "--processes", "3"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit):
        main()
    assert json.loads((folder / "settings.json").read_text()) == held
    return capsys.readouterr().err


def test_a_folder_of_another_run_is_refused(tmp_path, monkeypatch, capsys):
    said = refused(tmp_path, monkeypatch, capsys, settings(2, seed=0))
    assert "holds a run with another seed, processes: give another --out, or go on with" in said


def test_a_folder_from_before_a_rewording_is_refused(tmp_path, monkeypatch, capsys):
    held = settings(3, seed=1)
    held["sources"]["shapesqa/questions.py"] = "0" * 64
    del held["sources"]["training/text.py"]
    held["versions"]["torch"] = "1.0"
    said = refused(tmp_path, monkeypatch, capsys, held)
    assert (
        "another versions torch, sources shapesqa/questions.py, sources training/text.py: give another"
        in said
    )


def test_settings_are_those_of_the_sources():
    mine = settings(2, seed=0)
    assert differences(mine, json.loads(json.dumps(mine))) == []
    assert {"shapesqa/draw.py", "shapesqa/questions.py", "shapesqa/render.py", "shapesqa/scene.py"} < set(
        mine["sources"]
    )
    assert {
        f"training/{name}.py" for name in ("labels", "llm", "loop", "model", "stages", "text", "vision")
    } < set(mine["sources"])
    assert differences(mine, {"seed": 0, "processes": 2, "stages": {}}) == ["versions", "sources", "stages"]


def test_export_keeps_the_model(tmp_path):
    sizes = Sizes(image=32, vision_hidden=16, vision_mlp=16, hidden=24, mlp=16, layers=2)
    processor = build_processor(sizes)
    model = build_model(sizes, processor.tokenizer)
    weights = nn.ModuleDict({"model": model}).state_dict()
    torch.save({"modules": weights, "step": 4, "steps": 5}, tmp_path / "stage.pt")
    with pytest.raises(ValueError, match=r"at step 4 of 5: let its stage end"):
        export(tmp_path / "stage.pt", tmp_path / "folder", sizes)
    torch.save({"modules": weights, "step": 5, "steps": 5}, tmp_path / "stage.pt")
    export(tmp_path / "stage.pt", tmp_path / "folder", sizes)
    loaded = type(model).from_pretrained(tmp_path / "folder")
    for name, value in model.state_dict().items():
        assert torch.equal(value.bfloat16(), loaded.state_dict()[name]), name
    assert (tmp_path / "folder/model.safetensors").stat().st_mode & 0o777 == 0o644


def _average(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.full((3,), float(rank + 1))
    unused = nn.Parameter(torch.zeros(2))
    Team(rank, 2, torch.device("cpu")).average([parameter, unused])
    (folder / f"{rank}").write_text(str(parameter.grad.tolist()))
    dist.destroy_process_group()


def test_two_processes_average_their_gradients(tmp_path):
    mp.start_processes(_average, (tmp_path,), 2, start_method="fork")
    assert {(tmp_path / str(rank)).read_text() for rank in (0, 1)} == {"[1.5, 1.5, 1.5]"}
