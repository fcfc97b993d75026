import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpv.video import Sampling, sample_indices


def test_uniform_is_the_papers_rule():
    assert sample_indices(Sampling(frames=4), 11).tolist() == [0, 3, 6, 10]
    assert sample_indices(Sampling(), 1000).tolist() == np.linspace(0, 999, 32).astype(int).tolist()
    assert sample_indices(Sampling(frames=1), 11).tolist() == [0]


@given(count=st.integers(0, 3000), frames=st.integers(1, 200))
def test_uniform_never_repeats_and_spans_the_clip(count, frames):
    indices = sample_indices(Sampling(frames=frames), count)
    assert len(indices) == min(count, frames)
    assert (np.diff(indices) > 0).all()
    if count and frames > 1:
        assert indices[0] == 0
        assert indices[-1] == count - 1


def test_all_takes_every_frame():
    assert sample_indices(Sampling.all(), 5000).tolist() == list(range(5000))


@given(
    gaps=st.lists(st.integers(1, 2000), max_size=60),
    fps=st.sampled_from([0.2, 0.5, 1.0, 2.0, 7.0, 30.0]),
    start=st.floats(0, 1e4),
)
def test_fps_takes_the_frame_on_screen_at_each_tick(gaps, fps, start):
    # Half milliseconds, so that no tick lies on the edge of the millisecond that the rule forgives.
    times = np.concatenate([[0], np.cumsum(gaps) + 0.5]) / 1000
    ticks = np.arange(int((times[-1] + 1e-3) * fps) + 1) / fps
    shown = set((np.searchsorted(times, ticks + 1e-3, side="right") - 1).tolist())
    got = sample_indices(Sampling(fps=fps, max_frames=10_000), times + start)
    assert got.tolist() == sorted(shown)


def test_fps_forgives_timestamps_rounded_to_milliseconds():
    rounded = np.round(np.arange(240) / 24, 3)
    assert sample_indices(Sampling(fps=24), rounded).tolist() == list(range(240))
    assert sample_indices(Sampling(fps=1), rounded).tolist() == list(range(0, 240, 24))


def test_fps_over_the_cap_spreads_the_cap():
    times = np.arange(1000) / 25
    assert len(sample_indices(Sampling(fps=5.0), times)) == 200
    capped = sample_indices(Sampling(fps=5.0, max_frames=10), times)
    assert capped.tolist() == np.linspace(0, 999, 10).astype(int).tolist()


def test_fps_beyond_the_clips_rate_gives_every_frame_once():
    assert sample_indices(Sampling(fps=1e9), np.arange(50) / 25).tolist() == list(range(50))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"frames": 0}, "frames=0"),
        ({"frames": 2.5}, "frames=2.5"),
        ({"frames": True}, "frames=True"),
        ({"fps": 0}, "fps=0"),
        ({"fps": float("nan")}, "fps=nan"),
        ({"fps": float("inf")}, "fps=inf"),
        ({"fps": "2"}, "fps='2'"),
        ({"fps": 1.0, "max_frames": 0}, "max_frames=0"),
        ({"max_frames": 5}, "max_frames=5"),
        ({"frames": 5, "fps": 1.0}, "frames=5, fps=1.0"),
        ({"frames": 5, "every_frame": True}, "every_frame=True"),
        ({"every_frame": 1}, "every_frame=1"),
    ],
)
def test_bad_values_are_named(arguments, field):
    with pytest.raises(ValueError, match=field):
        Sampling(**arguments)


@pytest.mark.parametrize("times", [np.array([0.0, 2.0, 1.0]), np.array([0.0, np.nan]), np.zeros((2, 2))])
def test_bad_timestamps_are_refused(times):
    with pytest.raises(ValueError, match="ascending"):
        sample_indices(Sampling(fps=1), times)


def test_fps_needs_timestamps():
    with pytest.raises(ValueError, match="timestamps"):
        sample_indices(Sampling(fps=1), 100)
