"""Writes the tables of docs/supported.md from what the tests found, or checks that they say so.

Run from the repository's root, after `make test`: `python docs/matrix.py`, or with `--check`.
"""

import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

from pages import filled

from sharpv.hf.families import FAMILIES

RESULTS = Path("build/tests.xml")
PAGE = Path("docs/supported.md")

MATRIX = {
    "off: `generate`": ("test_switched_off_is_bit_exact",),
    "off: `forward`": ("test_switched_off_is_bit_exact_in_a_bare_forward",),
    "seams agree": ("test_the_inputs_seam_equals_the_hook_seam",),
    "`prune_inputs`": ("test_prune_inputs_equals_an_attached_session",),
    "M = 2": ("test_a_threshold_of_two_leaves_only_text_in_the_cache",),
    "M = -1": ("test_a_threshold_of_minus_one_changes_nothing",),
    "later turn": ("test_a_second_turn_equals_feeding_it_token_by_token",),
}
"""What holds for each attention and batch: a column's name, and the tests that hold it."""

REQUESTS = {
    "padded rows": ("test_a_row_of_a_padded_batch_equals_the_row_alone",),
    "beams": ("test_beams_of_a_ragged_batch_equal_each_row_alone",),
    "beams of `prune_inputs`": ("test_prune_inputs_serves_beams_of_a_ragged_batch",),
    "0, 1 and 2 videos": ("test_rows_with_several_videos_none_and_one",),
    "image beside a video": ("test_images_beside_a_video_stay_whole", "test_rows_with_images_beside_videos"),
    "text only": ("test_text_between_requests_with_video_is_bit_exact",),
}
"""The same for kinds of requests, whatever attention and batch they are tried with."""

SUITES = ("test_exactness", "test_stage_1_only", "test_families", "test_mixed_requests")
"""Where these tests stand: others of the same names try other things."""


@dataclass(frozen=True)
class Case:
    """What became of one case of a test, and which it is; an axis that the test does not have is empty."""

    test: str
    family: str
    attention: str
    rows: str
    outcome: str


def read(results: Path) -> list[Case]:
    """Returns the cases of every family among the results, which pytest writes with `--junitxml`."""
    cases = []
    for node in ElementTree.parse(results).iter("testcase"):
        test, _, parameters = node.get("name", "").partition("[")
        parts = parameters.rstrip("]").split("-")
        family = next((part for part in parts if part in FAMILIES), "")
        if not family or not any(suite in node.get("classname", "").split(".") for suite in SUITES):
            continue
        kinds = {child.tag for child in node}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        attention = next((part for part in parts if part in ("sdpa", "eager")), "")
        rows = next((part[-1] for part in parts if part in ("batch1", "batch2")), "")
        cases.append(Case(test, family, attention, rows, outcome))
    return cases


def held(cases: Iterable[Case], tests: tuple[str, ...]) -> str:
    """Returns the rows for which the tests hold: "1, 2", "yes" where they have none; "no"; "-" untested."""
    outcomes = defaultdict(list)
    for case in cases:
        if case.test in tests:
            outcomes[case.rows].append(case)
    good = [
        rows or "yes"
        for rows, found in sorted(outcomes.items())
        if {case.test for case in found} == set(tests) and all(case.outcome == "passed" for case in found)
    ]
    return ", ".join(good) or ("no" if outcomes else "-")


def matrix(cases: list[Case]) -> str:
    """Returns the table of families, attentions and rows; one line where the attentions agree."""
    lines = [["family", "attention", *MATRIX]]
    for family in FAMILIES:
        found = {}
        for attention in ("sdpa", "eager"):
            some = [case for case in cases if (case.family, case.attention) == (family, attention)]
            found[attention] = [held(some, tests) for tests in MATRIX.values()]
        if found["sdpa"] == found["eager"]:
            found = {"sdpa, eager": found["sdpa"]}
        lines += [[f"`{family}`", attention, *cells] for attention, cells in found.items()]
    return table(lines)


def requests(cases: list[Case]) -> str:
    """Returns the table of families and kinds of requests."""
    lines = [["family", *REQUESTS]]
    for family in FAMILIES:
        some = [replace(case, rows="") for case in cases if case.family == family]
        lines.append([f"`{family}`", *(held(some, tests) for tests in REQUESTS.values())])
    return table(lines)


def table(lines: list[list[str]]) -> str:
    """Returns lines as a table of Markdown; the first is its head."""
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def main() -> None:
    """Writes the page, or with `--check` fails where it says something else."""
    if not RESULTS.exists():
        sys.exit(f"docs/matrix.py: no {RESULTS}; run `make test` first")
    cases, page = read(RESULTS), PAGE.read_text()
    absent = FAMILIES.keys() - {case.family for case in cases}
    failed = [case for case in cases if case.outcome == "failed"]
    if absent or failed:
        sys.exit(
            f"docs/matrix.py: {RESULTS} has {len(failed)} failed cases, and none of {sorted(absent)}: mend "
            "them, and run all of `make test`"
        )
    made = {"matrix": matrix(cases), "requests": requests(cases)}
    new = filled(page, "docs/matrix.py", made.__getitem__)
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(new)
    elif new != page:
        sys.exit(
            f"{PAGE} does not say what the tests found: run `python docs/matrix.py`, and look at the diff"
        )


if __name__ == "__main__":
    main()
