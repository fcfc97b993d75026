"""The plots of a report: what stands where, told apart and named, the same file for the same report."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="of the extra viz")

from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from sharpv.report import LayerReport
from sharpv.viz.plots import budget, layers, save
from tests.viz.records import drawn, record, report

RATIOS = (0.5, 0.25, 1.0)
VIDEO = record("##..", "#...", "####", ratios=RATIOS)


def bars(axes):
    """Returns where each bar starts, how wide it is with the gap behind it, and how high."""
    return [(bar.get_x(), pytest.approx(bar.get_width() / 0.94), bar.get_height()) for bar in axes.patches]


def texts(axes):
    return {text.get_text() for text in axes.texts} | {axes.get_title(loc="left")}


def guides(axes):
    """Returns where dashed lines go across."""
    return [line.get_ydata()[0] for line in axes.get_lines() if line.get_linestyle() == "--"]


def test_tokens_and_ratio_of_each_frame():
    tokens, ratio = budget(report(VIDEO)).axes
    assert bars(tokens) == [(0.5, 1, 2), (1.5, 1, 1), (2.5, 1, 4)]
    assert guides(tokens) == [4]
    assert texts(tokens) == {"dense: 4", "Tokens kept: 7 of 12 (58.3%)"}
    (line,) = ratio.get_lines()
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2, 3], list(RATIOS))
    assert ratio.get_ylim() == (0, 1)
    assert (tokens.get_ylabel(), ratio.get_ylabel()) == ("tokens per frame", "$r_t$, 0 to 1")
    assert ratio.get_xlabel() == "frame, as the LLM counts them, from 1"
    assert len({line.get_color(), tokens.patches[0].get_facecolor()}) == 2


def test_a_method_without_ratios_has_no_axis_of_them():
    (tokens,) = budget(report(record("#...", "##.."))).axes
    assert [height for *_, height in bars(tokens)] == [1, 2]
    assert tokens.get_xlabel()


def test_a_frame_lasts_until_the_next_one():
    tokens, ratio = budget(report(VIDEO), timestamps=[0.0, 0.5, 2.0]).axes
    assert bars(tokens) == [(0, 0.5, 2), (0.5, 1.5, 1), (2, 1.5, 4)]
    assert list(ratio.get_lines()[0].get_xdata()) == [0.25, 1.25, 2.75]
    assert ratio.get_xlabel() == "time in the clip, s"
    assert bars(budget(report(record("#.")), timestamps=[3.0]).axes[0]) == [(3, 1, 1)]


def test_a_frame_of_the_llm_starts_with_its_first_of_the_clip():
    two = record("##..", "#...", source_frames=2)
    assert bars(budget(report(two), timestamps=[0, 1, 3]).axes[0]) == [(0, 3, 2), (3, 2, 1)]
    with pytest.raises(InputError, match="got 2 frames, but the report is of 3 to 4"):
        budget(report(two), timestamps=[0, 1])


def test_what_left_inside_the_llm_is_not_counted():
    left = record("####", "##..", kept_inside=drawn("#...", "...."))
    (tokens,) = budget(report(left)).axes
    assert [height for *_, height in bars(tokens)] == [1, 0]
    assert "Tokens kept to the last layer: 1 of 8 (12.5%)" in texts(tokens)


def measured(*rows, dropped):
    """Returns one layer for each number of the rows."""
    return tuple(
        LayerReport(layer=2 * i, similarity=similarity, dropped=gone)
        for i, (similarity, gone) in enumerate(zip(zip(*rows, strict=True), dropped, strict=True))
    )


LAYERS = measured((None,) * 3, (1.0, 0.5, 0.1), dropped=[(False, False)] * 2 + [(False, True)])


def in_row(row):
    fields = {name: getattr(VIDEO, name) for name in VIDEO.__dataclass_fields__}
    return type(VIDEO)(**fields | {"row": row})


def test_similarity_of_each_layer_and_which_gave_up():
    config = SharpVConfig(memory_threshold=0.3, memory_probe="output")
    figure = layers(report(in_row(1), layers=LAYERS, config=config))
    (axes,) = figure.axes
    curve = axes.get_lines()[0]
    assert (list(curve.get_xdata()), list(curve.get_ydata())) == ([0, 2, 4], [1.0, 0.5, 0.1])
    assert guides(axes) == [0.3]
    assert texts(axes) == {"M = 0.3", "Layers that gave up their video: 1 of 3"}
    kept, gone = axes.collections
    assert kept.get_offsets().tolist() == [[0, 1], [2, 0.5]]
    assert gone.get_offsets().tolist() == [[4, 0.1]]
    assert kept.get_facecolor().tolist() != gone.get_facecolor().tolist()
    assert len(kept.get_paths()[0].vertices) != len(gone.get_paths()[0].vertices)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["keeps its video: 2", "gave its video up: 1"]
    assert axes.get_xlabel() == "decoder layer, measured at its output"
    assert "cosine" in axes.get_ylabel()


def test_a_negative_similarity_is_in_sight():
    below = measured((1.0, -0.3), dropped=[(False,), (True,)])
    assert layers(report(VIDEO, layers=below)).axes[0].get_ylim()[0] < -0.3


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"config": SharpVConfig(memory_threshold=None)}, "Stage 2 was off (memory_threshold=None)."),
        ({}, "had no KV cache to prune"),
        ({"layers": LAYERS}, "had no KV cache to prune"),
    ],
    ids=["off", "no cache", "another row"],
)
def test_a_plot_without_layers_says_why(fields, reason):
    (axes,) = layers(report(VIDEO, **fields)).axes
    assert not axes.get_lines()
    (text,) = axes.texts
    assert reason in text.get_text()


@pytest.mark.parametrize("plot", [budget, layers])
def test_the_same_report_gives_the_same_file(tmp_path, plot):
    made = report(in_row(1), layers=LAYERS)
    for name in ("a.svg", "b.svg", "c.png"):
        save(plot(made), tmp_path / name, "a test", "a source")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "a source" in (tmp_path / "a.svg").read_text()
    assert (tmp_path / "c.png").stat().st_size > 1000
    with pytest.raises(InputError, match="got video=1"):
        plot(made, video=1)


def test_many_frames_leave_no_white_gaps():
    many = record(*101 * ["#."])
    widths = [budget(report(record(*n * ["#."]))).axes[0].patches[0].get_width() for n in (100, 101)]
    assert widths == [0.94, 1]
    assert len(bars(budget(report(many), timestamps=np.arange(101) / 10).axes[0])) == 101


def test_only_plots_need_matplotlib_and_none_a_window_system():
    code = """
import sys, sharpv.viz.movie
print("matplotlib" in sys.modules, "transformers" in sys.modules)
import sharpv.viz.plots, sharpv.viz.accuracy_plot
print("matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False"] * 3
