"""Summaries as rows: the figures are theirs, what is the same stands once, what does not fit is named."""

import copy
from dataclasses import replace

import pytest

from sharpv.bench.conditions import Condition
from sharpv.bench.contest_table import contest_rows, differing
from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from tests.contests import contest, summary_of


def test_a_row_holds_the_figures_of_its_condition():
    summary = contest(seeds=(0, 3))
    rows = {row.condition: row for row in contest_rows([("a", summary)])}
    assert set(rows) == set(summary["conditions"])
    for name, found in summary["conditions"].items():
        row, cost = rows[name], found["cost"]
        assert (row.accuracy.value, row.accuracy.low) == (found["macro"], found["macro_interval"]["low"])
        for other in ("against_dense", "against_random"):
            span, compared = getattr(row, other), found[other]
            assert (span is None) == (compared is None)
            if span is not None:
                assert (span.value, span.low, span.high) == tuple(
                    compared[key] for key in ("difference", "low", "high")
                )
        assert (row.tokens.value, row.tokens.low, row.tokens.high) == tuple(cost["kept_share"].values())
        assert row.layers.value == cost["layer_share"]["mean"]
        assert (row.flops, row.paper_flops) == (
            cost["flops"]["exact_of_dense"],
            cost["flops"]["paper_of_dense"],
        )
        assert row.cache == cost["cache_bytes"] / cost["dense_cache_bytes"]
        assert row.prefill.value == cost["times"]["prefill_of_dense"]["median"]
        assert (row.agreement, row.questions, row.clips) == (found["agreement"], 18, 6)
        for family, share in row.families.items():
            assert share.value == found["families"][family]["value"]
            assert share.constant == found["best_constant"][family]
    assert rows["vcast@12%"].tokens.value == 1
    assert rows["vcast@12%"].layers.value == pytest.approx(0.56)
    assert rows["random@12%#3"].method == "random #3"
    assert rows["dense"].scoring_ms is None


def test_rows_stand_by_budget_and_accuracy_after_dense():
    rows = contest_rows([("a", contest(budgets=("adaptive", 0.25, 0.12)))])
    assert rows[0].dense
    budgets = [row.budget for row in rows[1:]]
    assert budgets == [0.12] * 5 + [0.25] * 5 + ["adaptive"] * 4
    for budget in set(budgets):
        accuracies = [row.accuracy.value for row in rows if row.budget == budget]
        assert accuracies == sorted(accuracies, reverse=True)


def test_conditions_outside_a_contest_are_rows_too():
    conditions = (Condition(name="dense"), Condition(name="w = 0", config=SharpVConfig(spatial_weight=0)))
    rows = contest_rows([("a", summary_of(conditions))])
    assert [(row.condition, row.method, row.budget) for row in rows] == [
        ("dense", "dense", None),
        ("w = 0", "w = 0", None),
    ]


def test_what_two_files_found_alike_stands_once():
    low, high = contest(budgets=(0.12,)), contest(["divprune", "evs"], budgets=(0.12, 0.25))
    assert low["conditions"]["evs@12%"]["cost"]["times"] != high["conditions"]["evs@12%"]["cost"]["times"]
    rows = contest_rows([("low", low), ("high", high)])
    assert sorted(row.condition for row in rows) == sorted({*low["conditions"], *high["conditions"]})
    files = {row.condition: row.file for row in rows}
    assert files["dense"] == files["evs@12%"] == "low"
    assert files["divprune@12%"] == files["evs@25%"] == "high"


def test_other_questions_and_other_answers_stand_for_each_file():
    same, other_questions = contest(), contest(questions="0b", seed=1)
    rows = contest_rows([("a", same), ("b", other_questions)])
    assert [row.file for row in rows if row.dense] == ["a", "b"]
    changed = copy.deepcopy(same)
    changed["conditions"]["evs@12%"]["macro"] += 0.01
    rows = contest_rows([("a", same), ("b", changed)])
    assert [row.file for row in rows if row.condition == "evs@12%"] == ["b", "a"]
    assert [row.file for row in rows if row.dense] == ["a"]


def test_settings_that_differ_are_named():
    first, second = contest(), contest(["divprune"], seed=1, split="validation", commit="d")
    assert dict(differing([("a", first), ("b", second), ("c", first)])) == {
        "commit": ["c", "d", "c"],
        "split": ["test", "validation", "test"],
        "seed": [0, 1, 0],
    }


def test_other_models_and_suites_are_refused():
    with pytest.raises(
        InputError, match=r"'a' \(toy:default, weights ff\) and 'b' \(toy:dense, weights 00\)"
    ):
        contest_rows([("a", contest()), ("b", contest(weights="00", model="toy:dense"))])
    with pytest.raises(InputError, match="'a' of suite shapesqa and 'b' of suite clips"):
        contest_rows([("a", contest()), ("b", contest(suite="clips"))])


@pytest.mark.parametrize(
    "break_it",
    [
        lambda summary: summary.pop("conditions"),
        lambda summary: summary.update(settings=3),
        lambda summary: summary["conditions"]["evs@12%"].pop("macro"),
        lambda summary: summary["conditions"]["evs@12%"]["cost"].pop("layer_share"),
    ],
)
def test_summaries_that_are_not_whole_are_refused(break_it):
    broken = contest()
    break_it(broken)
    with pytest.raises(InputError, match="got 'b', a summary of `sharpv eval` that is not whole"):
        contest_rows([("a", contest()), ("b", broken)])


def test_times_alone_do_not_make_another_row():
    row = contest_rows([("a", contest())])[1]
    assert row.same_as(replace(row, scoring_ms=None, prefill=None, file="b"))
    assert not row.same_as(replace(row, asked="0b"))
    assert not row.same_as(replace(row, agreement=0.123))
