"""The page of several methods: side by side, and how far they agree."""

from dataclasses import replace
from itertools import combinations

import numpy as np

from sharpv.config import SharpVConfig
from sharpv.viz.inspection import Run
from sharpv.viz.page import page
from tests.viz.inspections import BUDGET, chosen, inspection, mask_of

SEVERAL = ("sharpv", "uniform", "evs")


def jaccard(a, b) -> float:
    return (a & b).sum() / (a | b).sum()


def overlap_table(tab) -> list[list[str]]:
    rows = tab.locator("#overlap tbody tr").all()
    return [
        [cell.inner_text().replace("\N{NO-BREAK SPACE}", " ") for cell in row.locator("td").all()]
        for row in rows
    ]


def expected_table(masks) -> list[list[str]]:
    return [
        ["–" if a is b else f"{jaccard(a, b):.3f}\n{100 * (a & b).sum() / a.sum():.1f} %" for b in masks]
        for a in masks
    ]


def test_the_overlap_of_kept_sets(open_page):
    it = inspection(methods=SEVERAL)
    tab = open_page(page(it))
    masks = [mask_of(run) for run in it.runs]
    assert overlap_table(tab) == expected_table(masks)
    votes = np.sum(masks, axis=0)
    text = tab.inner_text("#agreement")
    assert text.startswith(f"All 3 keep the same {(votes == 3).sum()} of 120 ")
    assert f"{(votes == 0).sum()} of 120 " in text
    pairs = [jaccard(a, b) for a, b in combinations(masks, 2)]
    assert f"Most alike are sharpv and evs (Jaccard index {max(pairs):.2f}), least " in text
    assert text.endswith(f"(Jaccard index {min(pairs):.2f}).")


def test_a_knob_moves_sharpv_alone_and_the_overlap_with_it(open_page):
    it = inspection(methods=SEVERAL)
    tab = open_page(page(it))
    tab.fill("#retention", "0.6")
    masks = [chosen(it.scores, SharpVConfig(retention=0.6), (4, 5)), *map(mask_of, it.runs[1:])]
    assert overlap_table(tab) == expected_table(masks)
    captions = tab.locator(".stage figcaption").all_inner_texts()
    assert [text.split(" of ")[0] for text in captions] == [
        f"{name} kept {mask[0].sum()}" for name, mask in zip(SEVERAL, masks, strict=True)
    ]


def test_two_methods_agree_in_words(open_page):
    it = inspection(methods=("uniform", "sharpv"))
    a, b = map(mask_of, it.runs)
    tab = open_page(page(it))
    assert tab.inner_text("#agreement").startswith(f"Both keep the same {(a & b).sum()} of 120 ")
    assert "Most alike" not in tab.inner_text("#agreement")


def test_without_a_run_of_sharpv_the_page_shows_what_it_would_keep(open_page):
    it = inspection(methods=("uniform",))
    tab = open_page(page(it))
    assert tab.locator("canvas").count() == 2
    assert tab.locator(".stage figcaption bdi").all_inner_texts() == ["uniform", "sharpv (not run)"]
    wanted = chosen(it.scores, BUDGET, (4, 5))
    assert overlap_table(tab) == expected_table([mask_of(it.runs[0]), wanted])
    counts = tab.locator("#frame-table [data-live]").all_text_contents()
    assert counts == [str(k) for k in wanted.sum(1)]
    assert "SharpV was not run here" in tab.inner_text("#changed")
    # r is SharpV's alone.
    assert "may not heed it" in tab.inner_text(".viewer")


def test_methods_inside_the_llm_show_what_stays_to_the_last_layer(open_page):
    it = inspection(methods=("sharpv", "uniform"))
    kept = tuple(tuple(token and i % 2 == 0 for i, token in enumerate(frame)) for frame in it.runs[1].kept)
    video = replace(it.runs[1].video, kept_inside=kept)
    inside = Run(replace(it.runs[1].report, method="fastv", videos=(video,)))
    tab = open_page(page(replace(it, runs=(it.runs[0], inside))))
    assert "fastv lets tokens leave inside the LLM" in tab.inner_text(".viewer")
    assert overlap_table(tab) == expected_table([mask_of(it.runs[0]), np.array(kept, dtype=int)])
    assert f"{sum(map(sum, kept))} to the last layer" in tab.inner_text("#cost")


def test_a_method_that_merges_is_said_to(open_page):
    it = inspection(methods=("sharpv", "uniform"))
    video = replace(it.runs[1].video, merged=True)
    merging = Run(replace(it.runs[1].report, videos=(video,)))
    tab = open_page(page(replace(it, runs=(it.runs[0], merging))))
    assert "uniform merges" in tab.inner_text(".viewer")
