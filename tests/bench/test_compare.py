"""Two results side by side: ratios, overlap, what differs, and files that cannot be compared."""

import copy
import json

import pytest

from sharpv.bench import scoring
from sharpv.bench.compare import Row, compare, load_result
from sharpv.errors import InputError

LATENCY = {
    "bench": "latency",
    "schema_version": 1,
    "spec": {"frames": 32, "config": {"retention": 0.12}},
    "card": {"model": {"name": "m"}, "ceilings": {"copy_bytes_per_second": 1.0}},
    "commit": "a",
    "shared": {"ms": {"read": [4.0, 3.0, 5.0], "projector": None}, "encodings": 7},
    "sides": {
        "dense": {
            "ms": {"prefill": [100.0, 90.0, 110.0], "scoring": [0.0, 0.0, 0.0]},
            "kv_bytes": 1000,
            "peak_bytes": None,
        },
        "sharpv": {
            "ms": {"prefill": [20.0, 18.0, 30.0]},
            "kv_bytes": 120,
            "peak_bytes": 5,
            "speed_up": {"prefill": {"reached": [5.0, 3.0, 6.0], "ideal": 10.0, "share": 0.5}},
        },
    },
}


def changed() -> dict:
    after = copy.deepcopy(LATENCY)
    after["commit"], after["spec"]["config"]["retention"] = "b", 0.25
    after["card"]["ceilings"]["copy_bytes_per_second"] = 2.0
    after["sides"]["sharpv"]["ms"]["prefill"] = [10.0, 9.0, 17.0]
    after["sides"]["dense"]["ms"]["prefill"] = [120.0, 110.0, 130.0]
    after["sides"]["random"] = after["sides"]["sharpv"]
    return after


def test_ratios_and_overlap():
    found = compare(LATENCY, changed())
    rows = {row.name: row for row in found.rows}
    assert rows["sharpv: prefill ms"].ratio == 0.5
    assert not rows["sharpv: prefill ms"].overlaps
    assert rows["dense: prefill ms"].ratio == 1.2
    assert rows["dense: prefill ms"].overlaps
    assert rows["dense: scoring ms"].ratio is None
    assert rows["dense: KV bytes"].before == (1000, 1000, 1000)
    assert rows["sharpv: prefill speed-up"].after == (5.0, 3.0, 6.0)
    assert "projector ms" not in rows
    assert "dense: peak bytes" not in rows


def test_what_differs_is_named_and_ceilings_are_no_setting():
    found = compare(LATENCY, changed())
    assert found.settings == (("commit", "a", "b"), ("spec.config.retention", 0.12, 0.25))
    assert found.only_before == ()
    assert all(name.startswith("random: ") for name in found.only_after)
    assert found.only_after


def test_a_result_is_like_itself():
    found = compare(LATENCY, LATENCY)
    assert found.settings == ()
    assert all(row.overlaps and row.ratio in (1.0, None) for row in found.rows)


@pytest.mark.parametrize(
    ("after", "overlaps"),
    [((3, 2, 4), True), ((6, 5.01, 7), False), ((1, 0.5, 1.9), False), ((3, 1, 9), True)],
)
def test_spreads_overlap_where_they_touch(after, overlaps):
    assert Row("x", (3, 2, 5), after).overlaps is overlaps


def test_scoring_results_too():
    before, after = (scoring.run([(4, 6, 8)], ["float32"], repeats=1) for _ in range(2))
    rows = {row.name for row in compare(before, after).rows}
    assert {"4x6x8 float32: sum ms", "4x6x8 float32: sharpv / sum"} < rows


def test_growth_results_too():
    point = {"frames": 8, "batch": 2, "sides": {"dense": LATENCY["sides"]["dense"]}}
    before = {**LATENCY, "bench": "growth", "points": [point]}
    after = {**before, "commit": "b"}
    found = compare(before, after)
    assert [row.name for row in found.rows] == [
        "8 frames x 2, dense: prefill ms",
        "8 frames x 2, dense: scoring ms",
        "8 frames x 2, dense: KV bytes",
    ]
    assert found.settings == (("commit", "a", "b"),)
    with pytest.raises(InputError, match="not whole"):
        compare(before, {**after, "points": [{"frames": 8}]})


def test_benches_and_cases_must_match():
    timed = scoring.run([(4, 6, 8)], ["float32"], repeats=1)
    with pytest.raises(InputError, match=r"`bench latency` and `bench scoring`"):
        compare(LATENCY, timed)
    other = scoring.run([(2, 6, 8)], ["float32"], repeats=1)
    with pytest.raises(InputError, match="no figure in common"):
        compare(timed, other)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda result: result.pop("sides"),
        lambda result: result["sides"].update(dense=3),
        lambda result: result["sides"]["dense"]["ms"].update(prefill=[1.0]),
        lambda result: result["sides"]["dense"]["ms"].update(prefill="fast"),
    ],
)
def test_results_that_are_not_whole_are_refused(break_it):
    broken = copy.deepcopy(LATENCY)
    break_it(broken)
    with pytest.raises(InputError, match="not whole"):
        compare(LATENCY, broken)


def test_a_whole_output_may_be_given(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("a table\n\n" + json.dumps(LATENCY) + "\n")
    assert load_result(path) == LATENCY
    path.write_text(json.dumps(LATENCY, indent=2))
    assert load_result(path) == LATENCY


@pytest.mark.parametrize(
    "text", ["", "not json", "[1, 2]", '{"bench": "eval"}', '{"bench": ["latency"]}', "3"]
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "out.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"sharpv bench latency"):
        load_result(path)


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        load_result(tmp_path / "none.json")
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read"):
        load_result(path)
