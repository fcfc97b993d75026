"""The plot of accuracy against tokens: lines, stars and bands stand where the figures are, told apart."""

import pytest

mpl = pytest.importorskip("matplotlib", reason="of the extra viz")

from sharpv.viz.accuracy_plot import Line, accuracy_plot  # noqa: E402
from sharpv.viz.plots import save  # noqa: E402

LINES = [
    Line("sharpv", ((0.25, 0.8), (0.12, 0.7)), ((0.14, 0.75),), "ours"),
    Line("random", ((0.12, 0.6), (0.25, 0.65)), (), "blind"),
    *(Line(f"peer{number:02}", ((0.12, 0.5), (0.25, 0.55)), (), "peer") for number in range(17)),
]


def test_lines_and_stars_stand_where_the_figures_are():
    axes = accuracy_plot(LINES, [("dense", 0.95, 0.9, 0.97)], "a title").axes[0]
    drawn = {line.get_label(): line for line in axes.get_lines()}
    assert list(drawn["sharpv"].get_xdata()) == [12, 25]
    assert list(drawn["sharpv"].get_ydata()) == [70, 80]
    (star,) = [line for line in axes.get_lines() if line.get_marker() == "*"]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == pytest.approx((14, 75))
    assert star.get_color() == drawn["sharpv"].get_color()
    assert axes.get_xscale() == "log"
    assert axes.get_title(loc="left") == "a title"
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    assert (band.y0, band.y1) == pytest.approx((90, 97))


def test_every_method_is_named_from_best_to_worst_and_looks_like_no_other():
    figure = accuracy_plot(LINES, [], "")
    axes, names = figure.axes[0], [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[:2] == ["sharpv", "random"]
    assert set(names) == {line.name for line in LINES}
    lines = [line for line in axes.get_lines() if line.get_label() in names]
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(looks) == len(LINES)
    assert len({line.get_color() for line in lines}) >= 9
    widths = {line.get_label(): line.get_linewidth() for line in lines}
    assert widths["sharpv"] > 2 * widths["peer00"]


def test_the_same_figures_give_the_same_file(tmp_path):
    for name in ("a.svg", "b.svg"):
        save(accuracy_plot(LINES, [], ""), tmp_path / name, "a test", "sha256 0")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "sha256 0" in (tmp_path / "a.svg").read_text()


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="at least one condition that prunes"):
        accuracy_plot([Line("a", (), (), "peer")], [], "")
