"""The page of clips and models of every shape, of hostile text, in every window: nothing overflows."""

import re
import subprocess
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest

from sharpv.config import SharpVConfig
from sharpv.viz.inspection import Run
from sharpv.viz.page import page
from tests.viz.inspections import CELL, inspection, mask_of

HOSTILE = (
    """</script><script>alert(1)</script><img src=x onerror="x"> <!-- {{ 7 * 7 }} & ' " \u202egpj \u200b"""
)
LIMIT = 6_000_000
TEXTS = ("--ink", "--soft", "--accent", "--wrong")
SHAPES = ("--edge", "--ratio", *(f"--look-{i}" for i in range(6)))
FOCUSABLE = "a[href], button, input, textarea, summary, [tabindex='0']"


def caption(tab) -> str:
    return tab.inner_text("#caption").replace("\N{NO-BREAK SPACE}", " ")


def picture(tab) -> np.ndarray:
    """Draws the frame, and reads the first canvas back, as `[h, w, 3]`."""
    flat, width = tab.evaluate(
        """async () => {
          await drawViews();
          const canvas = document.querySelector("canvas");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return [btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join("")), canvas.width];
        }"""
    )
    return np.frombuffer(b64decode(flat), np.uint8).reshape(-1, width, 4)[..., :3]


def test_hostile_text_is_shown_as_text(open_page):
    it = inspection(methods=("sharpv", "uniform"))
    runs = tuple(Run(replace(run.report, notes=(HOSTILE,)), HOSTILE) for run in it.runs)
    named = Run(replace(runs[1].report, method=HOSTILE, versions={HOSTILE: HOSTILE}), HOSTILE)
    it = replace(
        it,
        clip=HOSTILE,
        model=HOSTILE,
        question=HOSTILE,
        dense_answer=HOSTILE,
        notes=(HOSTILE,),
        runs=(runs[0], named),
        command=("sharpv", "inspect", HOSTILE),
    )
    tab = open_page(page(it))
    for place in (
        "h1 bdi",
        "#question",
        ".answers blockquote bdi",
        ".notes bdi",
        ".stage figcaption bdi >> nth=1",
    ):
        assert tab.locator(place).first.text_content() == HOSTILE
    assert tab.locator("#overlap tbody th").nth(1).text_content() == HOSTILE
    assert tab.title().startswith("</script><script>alert(1)")
    assert tab.locator("img").count() == 0
    assert tab.locator("script").count() == tab.evaluate("document.scripts.length") == 10
    # In a line to copy nothing is out of sight, and bash reads the same words.
    line = tab.input_value("#cli")
    assert line.isprintable()
    words = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True).stdout
    assert words.decode().split("\0")[:3] == ["sharpv", "inspect", HOSTILE]
    # Its right-to-left mark turns nothing beyond itself.
    assert tab.evaluate("getComputedStyle(document.querySelector('h1 bdi')).unicodeBidi") == "isolate"


def test_what_is_not_of_the_page_may_not_run_or_ask(chromium):
    html = page(inspection())
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src &#39;none&#39;; img-src data:; style-src &#39;sha256-")
    assert "unsafe" not in policy
    assert "http" not in re.sub(r"http-equiv|http://www.w3.org/2000/svg", "", html)


def test_a_clip_of_one_frame_of_one_token(open_page):
    tab = open_page(page(inspection(n=1, grid=(1, 1))))
    assert caption(tab).startswith("Frame 1 of 1 · 0.00 s")
    tab.click("#play")
    tab.fill("#retention", "1")
    assert "Keeps 1 of 1" in tab.inner_text("#choice")


def test_a_still_clip_has_no_cut(open_page):
    tab = open_page(page(inspection(still=True, config=SharpVConfig())))
    assert "No cut is likely" in tab.inner_text(".viewer")
    assert tab.locator("[data-step]").count() == 0


def test_two_frames_of_the_clip_may_be_one_to_the_model(open_page):
    it = inspection(n=3, source_frames=2, last_holds=1)
    tab = open_page(page(it))
    counts = mask_of(it.runs[0]).sum(1)
    for frame, (step, words) in enumerate([(0, "frames 1 to 2"), (0, "frames 1 to 2"), (1, "frames 3 to 4")]):
        assert caption(tab).startswith(
            f"Frame {frame + 1} of 5 · {frame / 4:.2f} s · {words} are one to the model"
        )
        assert f"kept {counts[step]} of 20" in caption(tab)
        tab.keyboard.press("ArrowRight")
    tab.focus("#bars")
    tab.keyboard.press("End")
    assert caption(tab).startswith("Frame 5 of 5 · 1.00 s · r =")
    rows = tab.locator("#frame-table tbody th").all_text_contents()
    assert rows == ["1 to 2", "3 to 4", "5"]


def test_a_class_token_is_told_in_words(open_page):
    it = inspection(leading=1)
    tab = open_page(page(it))
    said = {True: "class token kept", False: "class token dropped"}
    for t in range(6):
        assert said[it.runs[0].kept[t][0]] in caption(tab)
        tab.keyboard.press("ArrowRight")
    assert "a class token: it stands for the whole frame" in tab.inner_text("#leading")
    # The picture leaves it out.
    shown = picture(tab)[8 * CELL // 2 :: 8 * CELL, 8 * CELL // 2 :: 8 * CELL].astype(int)
    grey = np.ptp(shown, axis=-1).ravel() <= 2
    assert (~grey).tolist() == list(it.runs[0].kept[5][1:])


def test_without_a_known_place_there_is_no_overlay(open_page):
    it = inspection(placed=False)
    tab = open_page(page(it))
    assert "not known where" in tab.inner_text("#no-overlay")
    assert tab.locator("#maps").count() == 0
    assert picture(tab)[::8, ::8].tolist() == it.frames[0].tolist()
    tab.fill("#retention", "0.5")
    assert "Keeps 60 of 120" in tab.inner_text("#choice")


def test_what_no_token_sees_is_veiled(open_page):
    # The window leaves out the first row of squares.
    it = inspection(grid=(4, 5), window=(0.25, 0.0, 1.0, 1.0), config=SharpVConfig(retention=1.0))
    shown = picture(open_page(page(it))).astype(int)
    edge = 8 * CELL
    assert shown.shape == (4 * edge, 5 * edge, 3)
    # All is kept, so below it the frame is as it is, but for the outline.
    inside = np.s_[4 : 3 * edge - 4, 4 : 5 * edge - 4]
    assert (shown[edge:][inside] == it.frames[0].repeat(8, 0).repeat(8, 1)[edge:][inside]).all()
    assert np.ptp(shown[: edge - 4], axis=-1).max() <= 2


def test_tokens_on_padding_are_shown_beside_the_frame(open_page):
    # Two rows of padding above and two below four rows of frame.
    it = inspection(grid=(8, 5), config=SharpVConfig(retention=1.0))
    it = replace(it, frames=it.frames[:, : 4 * CELL])
    it = replace(
        it,
        runs=tuple(
            Run(replace(r.report, videos=(replace(r.video, window=(-0.5, 0, 1.5, 1)),))) for r in it.runs
        ),
    )
    tab = open_page(page(it))
    shown = picture(tab).astype(int)
    edge = 8 * CELL
    assert shown.shape == (8 * edge, 5 * edge, 3)
    assert (shown[edge, edge] == 0x8A).all()
    assert (shown[2 * edge : 6 * edge] == it.frames[0].repeat(8, 0).repeat(8, 1))[:, 4:-4].all()
    assert "padding that the model sees" in tab.inner_text("#kept-legend")


def test_nothing_is_wider_than_the_window(open_page):
    long = "a_very_long_name_without_a_single_space_" * 5
    many = inspection(
        n=9, methods=("sharpv", "uniform", "evs", "random", "dycoke"), clip=long, question=long * 3
    )
    three = [inspection(methods=("sharpv", "vidcom2", "random")[:count]) for count in (2, 3)]
    for it in (
        inspection(),
        inspection(n=1),
        many,
        *three,
        inspection(n=256, grid=(2, 2), methods=("uniform",)),
    ):
        tab = open_page(page(it))
        tab.eval_on_selector_all("details", "all => all.forEach((one) => (one.open = true))")
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            for width in (400, 1400):
                tab.set_viewport_size({"width": width, "height": 900})
                # The charts follow the width one picture later.
                tab.evaluate(
                    "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
                )
                assert tab.evaluate("document.documentElement.scrollWidth") == width
                assert tab.evaluate("document.querySelector('#bars svg').clientWidth") <= width
        if len(it.runs) < 4:
            assert (
                tab.evaluate(
                    "(box => box.scrollWidth - box.clientWidth)(document.querySelector('#cost').parentNode)"
                )
                == 0
            )
        # Before a page is laid out it has no width at all.
        tab.evaluate("document.body.hidden = true; drawCharts()")


def luminance(colour: str) -> float:
    """Relative luminance of WCAG of a colour #rrggbb."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a: float, b: float) -> float:
    low, high = sorted((a, b))
    return (high + 0.05) / (low + 0.05)


def test_colours_have_the_contrast_of_wcag_aa(open_page):
    tab = open_page(page(inspection()))
    names = [*TEXTS, *SHAPES, "--ground", "--paper", "--wash", "--on-accent"]
    script = "names => names.map((name) => getComputedStyle(document.documentElement).getPropertyValue(name))"
    grounds = []
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        of = dict(zip(names, map(luminance, tab.evaluate(script, names)), strict=True))
        grounds.append(of["--ground"])
        assert contrast(of["--on-accent"], of["--accent"]) >= 4.5
        assert contrast(of["--ink"], of["--wash"]) >= 4.5
        for ground in (of["--ground"], of["--paper"]):
            assert [name for name in TEXTS if contrast(of[name], ground) < 4.5] == []
            assert [name for name in SHAPES if contrast(of[name], ground) < 3] == []
    assert grounds[0] > 0.8
    assert grounds[1] < 0.1


def test_tab_reaches_every_control_in_order(open_page):
    tab = open_page(page(inspection(methods=("sharpv", "uniform"))))
    wanted = tab.evaluate(
        """(all) => Array.from(document.querySelectorAll(all))
          .filter((one) => one.checkVisibility() && (one.type !== "radio" || one.checked))
          .map((one) => one.outerHTML)""",
        FOCUSABLE,
    )
    found = []
    for _ in wanted:
        tab.keyboard.press("Tab")
        found.append(tab.evaluate("document.activeElement.outerHTML"))
    assert found == wanted
    assert len(wanted) > 20
    # Each has a name: a label, or words of its own.
    named = """(all) => Array.from(document.querySelectorAll(all)).map((one) => [
      one.labels?.[0]?.textContent, one.ariaLabel, one.getAttribute("aria-labelledby"), one.textContent,
    ])"""
    assert all(any(part and part.strip() for part in parts) for parts in tab.evaluate(named, FOCUSABLE))


def noise(m: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (height + m, width, 3), dtype=np.uint8)
    return np.stack([one[i : i + height] for i in range(m)])


@pytest.mark.parametrize(("n", "height", "width"), [(32, 720, 1280), (256, 135, 240)])
def test_the_file_stays_small_whatever_the_frames(n, height, width):
    html = page(inspection(n=n, grid=(14, 14), frames=noise(n, height, width)))
    assert len(html.encode()) < LIMIT
