"""The knobs of the page: what another setting keeps, as in Python, and the texts to copy."""

import shlex
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

from sharpv.config import SharpVConfig
from sharpv.viz.page import page
from tests.browser import shown_counts, turn
from tests.viz.inspections import BUDGET, chosen, inspection, mask_of

GRID = (4, 5)
NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', { value: undefined });"
HEIGHTS = "bars => bars.map((bar) => bar.height.baseVal.value)"
CONFIGS = [
    SharpVConfig(),
    SharpVConfig(min_tokens_per_frame=0),
    SharpVConfig(min_tokens_per_frame=4, spatial_weight=0.0),
    SharpVConfig(spatial_weight=2.5, coverage=0.5),
    SharpVConfig(retention=0.12),
    SharpVConfig(retention=0.55, coverage=0.3, spatial_weight=0.25),
    SharpVConfig(retention=1.0),
    SharpVConfig(threshold=1.1),
    SharpVConfig(threshold=1.4, coverage=1.0, min_tokens_per_frame=3, spatial_weight=1.5),
]
REFUSED = [
    ("spatial_weight", "-1"),
    ("spatial_weight", ""),
    ("spatial_weight", "1e39"),
    ("retention", "0"),
    ("retention", "1.2"),
    ("threshold", ""),
    ("min_tokens_per_frame", "1.5"),
    ("min_tokens_per_frame", "-1"),
    ("coverage", "2"),
]


def shown_mask(tab) -> list[list[int]]:
    flat = tab.evaluate("Array.from(live.kept)")
    return np.reshape(flat, (tab.evaluate("record.n"), -1)).tolist()


def options_of(line: str) -> dict[str, str | bool]:
    """Reads the options that decide which tokens stay from a command line."""
    words = shlex.split(line)
    return {
        word: following if following and not following.startswith("--") else True
        for word, following in zip(words, [*words[1:], ""], strict=True)
        if word.startswith("--")
    }


def test_every_setting_keeps_what_python_keeps(open_page):
    it = inspection()
    tab = open_page(page(it))
    for config in CONFIGS:
        turn(tab, config)
        wanted = chosen(it.scores, config, GRID)
        assert shown_mask(tab) == wanted.tolist(), config
        assert shown_counts(tab) == wanted.sum(1).tolist()
        assert f"Keeps {wanted.sum()} of 120" in tab.inner_text("#choice")
        assert f"a prompt of {wanted.sum() + 40} tokens" in tab.inner_text("#choice")
        assert f"kept {wanted[0].sum()} of 20" in tab.inner_text("#caption")
        bars = tab.locator("#bars rect.fill-0").evaluate_all(HEIGHTS)
        assert bars == pytest.approx(wanted.sum(1) * max(bars) / wanted.sum(1).max())


def test_the_texts_to_copy_say_the_setting(open_page):
    tab = open_page(page(inspection()), permissions=["clipboard-read", "clipboard-write"])
    config = SharpVConfig(threshold=1.25, coverage=0.5, min_tokens_per_frame=2, spatial_weight=0.1)
    turn(tab, config)
    tab.click("[data-copy=cli]")
    expect(tab.locator("#copied")).to_have_text("Command line copied.")
    line = tab.evaluate("navigator.clipboard.readText()")
    assert shlex.split(line)[:7] == list(inspection().command)
    assert options_of(line) == {
        "--threshold": "1.25",
        "--coverage": "0.5",
        "--min-tokens-per-frame": "2",
        "--spatial-weight": "0.1",
    }
    tab.click("[data-copy=python]")
    expect(tab.locator("#copied")).to_have_text("Python copied.")
    text = tab.evaluate("navigator.clipboard.readText()")
    assert eval(text, {"SharpVConfig": SharpVConfig}) == config


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (SharpVConfig(), {}),
        (SharpVConfig(retention=0.25), {"--retention": "0.25"}),
        (
            SharpVConfig(retention=1.0, memory_threshold=None, bucket=8),
            {"--retention": "1", "--bucket": "8", "--no-memory": True},
        ),
        (
            SharpVConfig(diversity=True, memory_threshold=0.35),
            {"--diversity": True, "--memory-threshold": "0.35"},
        ),
        (SharpVConfig(positions="compact", memory_probe="output", images_as_frames=True), {}),
        (SharpVConfig(vision_reuse="safe"), {"--vision-reuse": "safe"}),
        (SharpVConfig(vision_reuse={"threshold": 8.0, "audit": 2}), {}),
    ],
    ids=str,
)
def test_the_texts_say_the_setting_of_the_run(open_page, config, options):
    tab = open_page(page(inspection(config=config)))
    assert options_of(tab.input_value("#cli")) == options
    assert eval(tab.input_value("#python"), {"SharpVConfig": SharpVConfig}) == config
    silent = config.positions == "compact" or (config.reuse is not None and config.reuse.audit > 0)
    assert tab.is_visible("#no-option") == silent
    if config.positions == "compact":
        assert "No option sets memory_probe and positions:" in tab.inner_text("#no-option")


def test_without_a_clipboard_the_text_is_selected(open_page):
    tab = open_page(page(inspection()), before=NO_CLIPBOARD)
    tab.click("[data-copy=python]")
    expect(tab.locator("#copied")).to_contain_text("Python selected: copy it with Ctrl+C")
    assert tab.evaluate("getSelection().toString()") == "SharpVConfig(retention=0.3)"


def test_what_is_no_setting_is_said_and_changes_nothing(open_page):
    it = inspection()
    tab = open_page(page(it))
    for name, value in REFUSED:
        tab.check(f"[name=mode][value={'threshold' if name == 'threshold' else 'budget'}]")
        before = tab.inner_text("#choice"), tab.input_value("#cli"), shown_mask(tab)
        tab.fill(f"#{name}", value)
        assert tab.get_attribute(f"#{name}", "aria-invalid") == "true", (name, value)
        assert tab.inner_text(f"#{name}-error").startswith("This must be")
        assert (tab.inner_text("#choice"), tab.input_value("#cli"), shown_mask(tab)) == before
        assert tab.is_disabled("[data-copy=cli]")
        assert tab.is_disabled("[data-copy=python]")
        tab.fill(f"#{name}", "1")
        assert tab.get_attribute(f"#{name}", "aria-invalid") == "false"
        assert not tab.is_visible(f"#{name}-error")


def test_reset_goes_back_to_the_run(open_page):
    it = inspection()
    tab = open_page(page(it))
    as_run = tab.inner_text("#choice"), tab.input_value("#cli"), tab.input_value("#python")
    turn(tab, SharpVConfig(threshold=0.5, spatial_weight=3.0, coverage=1.0, min_tokens_per_frame=7))
    assert tab.is_visible("#changed")
    assert f"the run kept {it.runs[0].video.tokens_kept}" in tab.inner_text("#changed")
    assert tab.inner_text("#choice") != as_run[0]
    tab.fill("#coverage", "")
    tab.click("#back")
    assert (tab.inner_text("#choice"), tab.input_value("#cli"), tab.input_value("#python")) == as_run
    assert tab.input_value("#spatial_weight") == "1"
    assert shown_mask(tab) == mask_of(it.runs[0]).tolist()
    assert tab.is_visible("#as-run")
    assert not tab.is_visible("#changed")
    assert not tab.is_visible("#coverage-error")


def test_a_slider_and_its_number_go_together(open_page):
    tab = open_page(page(inspection()))
    tab.focus("[data-for=coverage]")
    tab.keyboard.press("End")
    assert tab.input_value("#coverage") == "1"
    tab.fill("#coverage", "0.4")
    assert tab.input_value("[data-for=coverage]") == "0.4"
    assert "--coverage 0.4" in tab.input_value("#cli")


def test_the_bucket_of_the_run_is_kept(open_page):
    it = inspection(config=SharpVConfig(bucket=16))
    tab = open_page(page(it))
    tab.fill("#spatial_weight", "0.5")
    wanted = chosen(it.scores, SharpVConfig(bucket=16, spatial_weight=0.5), GRID)
    assert wanted.sum() % 16 == 0
    assert shown_mask(tab) == wanted.tolist()


def test_diversity_is_shown_as_run_until_a_knob_turns(open_page):
    config = replace(BUDGET, diversity=True)
    it = inspection(config=config)
    tab = open_page(page(it))
    run, plain = mask_of(it.runs[0]), chosen(it.scores, BUDGET, GRID)
    assert run.tolist() != plain.tolist()
    assert shown_mask(tab) == run.tolist()
    tab.fill("#retention", "0.5")
    assert shown_mask(tab) == chosen(it.scores, SharpVConfig(retention=0.5), GRID).tolist()
    assert "diversity" in tab.inner_text("#changed")
    assert "--diversity" in tab.input_value("#cli")
    tab.fill("#retention", "0.3")
    assert shown_mask(tab) == run.tolist()
    assert not tab.is_visible("#changed")
