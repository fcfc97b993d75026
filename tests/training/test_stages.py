"""All stages in one process, as small as they get: what each trains, going on, and the model at the end."""

from dataclasses import replace

import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration, LlavaOnevisionProcessor

from training import stages
from training.export import export
from training.loop import Team
from training.model import Sizes, build_model, build_processor

ALONE = Team(0, 1, torch.device("cpu"))
SIZES = Sizes(image=32, vision_hidden=16, vision_mlp=16, hidden=24, mlp=16, layers=4, heads=3, kv_heads=1)
STAGES = {
    name: replace(stage, steps=2, warmup=1, log_every=1, save_every=1)
    for name, stage in stages.STAGES.items()
}
RECIPES = {
    name: replace(recipe, frames=(4,), shares=(1.0,), budget=8) for name, recipe in stages.RECIPES.items()
}


def train(folder):
    folder.mkdir(exist_ok=True)
    stages.train(ALONE, folder, 0, SIZES, STAGES, RECIPES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(folder)
    return folder


def modules(folder, stage):
    saved = torch.load(folder / f"{stage}.pt", weights_only=True)
    assert saved["step"] == saved["steps"] == 2
    return saved["modules"]


def changed(before, after, part):
    return any(not torch.equal(before[name], value) for name, value in after.items() if name.startswith(part))


def test_each_stage_trains_what_it_should(whole):
    tower, projector, language = (
        f"model.model.{part}" for part in ("vision_tower", "multi_modal_projector", "language_model.layers")
    )
    torch.manual_seed(0)
    fresh = build_model(SIZES, build_processor(SIZES).tokenizer).state_dict()
    fresh = {f"model.{name}": value for name, value in fresh.items()}
    vision, *later = (modules(whole, stage) for stage in STAGES)
    assert {name.split(".")[1] for name in vision if name.startswith("heads")} == {"patch", "token"}
    eyes = {
        name.replace("eyes.tower", tower).replace("eyes.projector", projector): value
        for name, value in vision.items()
        if name.startswith("eyes")
    }
    assert changed(fresh, eyes, tower)
    assert changed(fresh, eyes, projector)
    before = fresh | eyes | {name: later[0][name] for name in later[0] if name.startswith("heads")}
    found = {}
    for stage, after in zip(RECIPES, later, strict=True):
        parts = {
            "tower": tower,
            "projector": projector,
            "below": f"{language}.2",
            "above": f"{language}.3",
            "heads": "heads",
        }
        found[stage] = {name for name, part in parts.items() if changed(before, after, part)}
        before = after
    # No checkpoint holds the heads of the LLM as they were before "see".
    assert found == {
        "see": {"projector", "below"},
        "watch": {"projector", "below", "above", "heads"},
        "refine": {"tower", "projector", "below", "above", "heads"},
        "drop": {"projector", "below", "above"},
    }


def test_an_interrupted_run_ends_as_an_uninterrupted_one(whole, tmp_path, monkeypatch):
    made = stages.llm_step

    def interrupted(*arguments):
        step = made(*arguments)

        def limited(number):
            if arguments[-1] is RECIPES["watch"] and number == 1:
                raise KeyboardInterrupt
            return step(number)

        return limited

    with monkeypatch.context() as patch:
        patch.setattr(stages, "llm_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path)
    assert torch.load(tmp_path / "watch.pt", weights_only=True)["step"] == 1
    assert not (tmp_path / "refine.pt").exists()
    train(tmp_path)
    for stage in STAGES:
        one, other = modules(whole, stage), modules(tmp_path, stage)
        assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_what_comes_out_loads_as_a_model_of_the_real_class(whole, tmp_path):
    export(whole / "drop.pt", tmp_path, SIZES)
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(tmp_path)
    assert model.config._attn_implementation == "sdpa"
    trained = modules(whole, "drop")
    for name, value in model.state_dict().items():
        assert torch.equal(value, trained[f"model.{name}"].bfloat16()), name
    assert LlavaOnevisionProcessor.from_pretrained(tmp_path).chat_template
