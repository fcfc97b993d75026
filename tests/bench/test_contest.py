"""Methods side by side on a small sample: what is alike comes out alike, and what is bad loses."""

import json

import pytest
import torch

from sharpv import SharpVConfig
from sharpv.bench.accuracy import fitting, run
from sharpv.bench.conditions import Condition
from sharpv.bench.contest import ALL_METHODS, CONTESTANTS, choose_contest
from sharpv.core import score
from sharpv.core.select import top_mask
from sharpv.hf.ask import VideoModel
from sharpv.methods import METHODS, Selection
from sharpv.tiny.random import RANDOM_MODELS
from tests.bench.conftest import small
from tests.bench.test_resume import without_times

QUICK = ("sharpv", "sharpv-coverage", "evs", "prumerge")
INSIDE = "fastv"


def names(*given, **options) -> list[str]:
    return [condition.name for condition in choose_contest(*given, **options)]


def test_random_and_uniform_stand_at_every_budget():
    assert names(["evs"], [0.12, 0.5]) == [
        *("dense", "random@12%", "uniform@12%", "evs@12%", "random@50%", "uniform@50%", "evs@50%")
    ]
    assert names(["uniform"], [0.25]) == ["dense", "random@25%", "uniform@25%"]


def test_all_methods_are_all_there_are():
    everyone = choose_contest([ALL_METHODS], [0.25])
    assert {condition.contestant for condition in everyone} == {None, *CONTESTANTS} >= set(METHODS)
    assert len(everyone) == 1 + len(CONTESTANTS)
    assert {condition.config.retention for condition in everyone[1:]} == {0.25}
    assert {condition.config.memory_threshold for condition in everyone} == {None}


def test_random_is_the_rival_of_all_that_choose():
    for condition in choose_contest([ALL_METHODS], [0.12, "adaptive"]):
        none = condition.contestant in (None, "random", "fastv", "vtw")
        none |= (condition.contestant, condition.budget) == ("prumerge", "adaptive")
        assert condition.rival == (None if none else condition.name.replace(condition.contestant, "random"))


def test_where_the_video_decides_only_those_who_let_it_take_part():
    found = choose_contest(["evs", "sharpv-coverage"], [0.25, "adaptive"])[-4:]
    assert [condition.name.removesuffix("@adaptive") for condition in found] == [
        *("sharpv", "random", "uniform", "sharpv-coverage")
    ]
    assert {condition.match for condition in found[1:3]} == {"sharpv@adaptive"}


def test_seeds_are_of_random_only():
    found = choose_contest(["evs"], [0.25], seeds=[0, 7])
    assert [(condition.name, condition.seed) for condition in found[1:]] == [
        *(("random@25%", 0), ("random@25%#7", 7), ("uniform@25%", 0), ("evs@25%", 0))
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((["fastest"],), "got methods fastest: accepted are all, sharpv, sharpv-coverage"),
        (([],), "got methods none"),
        ((["evs"], []), r"got budgets \[\]: give at least one, each once"),
        ((["evs"], [0.5, 0.5]), "each once"),
        ((["evs"], [1.5]), r"retention is 1.5: it must be 'adaptive' or a number in \(0, 1\]"),
        ((["evs"], [0.5], [-1]), "whole numbers from 0"),
        ((["evs", "sharpv"], ["adaptive"]), "got evs with no budget but 'adaptive', which only sharpv"),
    ],
)
def test_what_cannot_be_set_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        choose_contest(*given)


@pytest.fixture(scope="module")
def contest(toy) -> dict:
    conditions = choose_contest([*QUICK, INSIDE], [0.12, 0.25, "adaptive"], [0, 1])
    return run(toy, small(per_family=2, conditions=conditions))


def test_the_same_table_comes_twice(toy, contest, tmp_path):
    conditions = choose_contest([*QUICK, INSIDE], [0.12, 0.25, "adaptive"], [0, 1])
    again = run(toy, small(per_family=2, conditions=conditions), tmp_path)
    assert without_times(again) == without_times(contest)


def test_every_method_keeps_the_same_number_of_tokens(contest):
    for found in contest["conditions"].values():
        kept, budget = found["cost"]["kept_share"], found["budget"]
        if isinstance(budget, float):
            wanted = 1 if found["contestant"] == INSIDE else round(budget * 4 * 64) / (4 * 64)
            assert kept["min"] == kept["max"] == kept["mean"] == wanted
    adaptive = [
        found["cost"]
        for found in contest["conditions"].values()
        if found["budget"] == "adaptive" and found["contestant"] != "prumerge"
    ]
    assert len({cost["tokens_kept"] for cost in adaptive}) == 1
    assert adaptive[0]["kept_share"]["min"] < adaptive[0]["kept_share"]["max"]


def test_another_seed_is_another_draw(contest):
    first, second = (contest["conditions"][name] for name in ("random@12%", "random@12%#1"))
    assert first["cost"]["tokens_kept"] == second["cost"]["tokens_kept"]
    assert first["against_dense"] != second["against_dense"] or first["agreement"] != second["agreement"]


def test_costs_are_those_of_what_was_kept(contest):
    found = {name: condition["cost"] for name, condition in contest["conditions"].items()}
    dense = found["dense"]["flops"]
    assert dense["exact_of_dense"] == dense["paper_of_dense"] == 1
    for budget in ("12%", "25%"):
        same = {found[f"{name}@{budget}"]["flops"]["exact"] for name in ("random", "uniform", *QUICK)}
        assert len(same) == 1
    assert found["evs@12%"]["flops"]["exact"] < found["evs@25%"]["flops"]["exact"] < dense["exact"]
    # The layers' operations are nearly proportional to the tokens: 256 of video, some 20 of text.
    assert 0.12 < found["evs@12%"]["flops"]["exact_of_dense"] < 0.25
    for name, cost in found.items():
        scored, inside = cost["times"]["scoring_ms"], name.startswith(INSIDE)
        assert (scored is None) == (name == "dense" or inside)
        assert cost["times"]["prefill_ms"]["median"] > 0
        share = cost["kept_share"]["mean"]
        if inside:
            # Two of six layers read all tokens, the others the budget.
            share = (2 + 4 * round(contest["conditions"][name]["budget"] * 256) / 256) / 6
        assert cost["layer_share"]["mean"] == pytest.approx(share)


def test_a_model_of_the_box_runs_all_methods_at_all_budgets(toy):
    everyone = choose_contest([ALL_METHODS], [0.05, 0.5, "adaptive"])
    assert fitting(toy, everyone, pytest.fail) == everyone


def test_what_a_model_cannot_run_is_left_out_with_the_reason():
    model, processor = RANDOM_MODELS["video_llama_3"]()
    some = choose_contest(["evs", "visionzip", "fastv"], [0.25, 0.5])
    said: list[str] = []
    fit = fitting(VideoModel("random", model, processor), some, said.append)
    assert fit == tuple(condition for condition in some if condition.contestant != "visionzip")
    assert len(said) == 1
    assert said[0].startswith("without visionzip: got a method")
    assert "whose tower is not read" in said[0]


def test_a_model_whose_layers_cannot_be_fed_less_runs_the_others():
    model, processor = RANDOM_MODELS["gemma4"]()
    said: list[str] = []
    some = choose_contest(["evs", "fastv", "vtw"], [0.25])
    fit = fitting(VideoModel("random", model, processor), some, said.append)
    assert [condition.contestant for condition in fit] == [None, "random", "uniform", "evs"]
    assert [line.partition(":")[0] for line in said] == ["without fastv", "without vtw"]


class Worst:
    """Keeps the tokens that sharpv thinks the least of."""

    name = "worst"

    def check(self, config: SharpVConfig) -> None:
        pass

    def select(self, features, config, grid=None) -> Selection:
        importance = score(features).importance
        count = round(config.retention * importance.numel())
        return Selection(top_mask(-importance.view(1, -1), torch.tensor([count])).view_as(importance))


def test_dense_against_dense_shows_nothing_and_a_bad_method_loses(toy):
    quarter = SharpVConfig(retention=0.25, memory_threshold=None)
    conditions = (
        Condition(name="dense"),
        Condition(name="again"),
        Condition(name="sharpv", config=quarter),
        Condition(name="worst", config=quarter, method=Worst()),
    )
    families = ("recog", "start_pos", "direction", "moving_colour")
    found = run(toy, small(frames=8, per_family=6, families=families, conditions=conditions))["conditions"]
    again, bad = found["again"], found["worst"]
    assert again["agreement"] == 1
    assert (again["against_dense"]["better"], again["against_dense"]["worse"]) == (0, 0)
    assert again["against_dense"]["low"] < 0 < again["against_dense"]["high"]
    assert again["against_dense"]["p"] == 1
    assert bad["against_dense"]["high"] < 0
    assert bad["against_dense"]["p"] < 0.01
    assert bad["macro_interval"]["high"] < found["sharpv"]["macro_interval"]["low"]
    json.dumps(found)
