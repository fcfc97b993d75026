"""What vision reuse did, in words."""

from dataclasses import replace

import pytest

from sharpv.cli.ask import _summary
from sharpv.cli.inspect_show import show
from sharpv.cli.reuse_show import reuse_lines
from sharpv.report import ReuseAudit, ReuseReport
from tests.viz.inspections import inspection
from tests.viz.records import VIDEO, report

REUSE = ReuseReport(
    computed=((True,) * 1200, (True,) * 60 + (False,) * 1140), grid=(30, 40), plan_milliseconds=9.0
)
AUDIT = ReuseAudit(frames=2, cosine_mean=0.9912, cosine_p5=0.9618, temporal_error=0.01, kept_overlap=0.974)
ENCODED = "1,260 of 2,400 patches encoded (52%), 1 frame in full, plan in 9 ms"


def of(*reuses):
    return report(*(replace(VIDEO, reuse=reuse) for reuse in reuses))


@pytest.mark.parametrize(
    ("reuses", "lines"),
    [
        ((None,), []),
        ((REUSE,), [f"vision tower: {ENCODED}"]),
        ((None, REUSE), [f"vision tower, video 2: {ENCODED}"]),
        (
            (replace(REUSE, fallback="too much changed"),),
            ["vision tower: all patches encoded: too much changed"],
        ),
        (
            (replace(REUSE, audit=AUDIT),),
            [
                f"vision tower: {ENCODED}; audit of 2 frames: cosine 0.991, 5th percentile 0.962, "
                "97.4% of what is kept the same"
            ],
        ),
        (
            (
                replace(
                    REUSE, computed=((True, False),) * 2, audit=replace(AUDIT, frames=1, kept_overlap=None)
                ),
            ),
            [
                "vision tower: 2 of 4 patches encoded (50%), 0 frames in full, plan in 9 ms; "
                "audit of 1 frame: cosine 0.991, 5th percentile 0.962"
            ],
        ),
    ],
)
def test_a_line_for_each_video_with_reuse(reuses, lines):
    assert reuse_lines(of(*reuses)) == lines


def test_ask_and_inspect_say_it(capsys):
    (line,) = reuse_lines(of(REUSE))
    assert line in _summary(of(REUSE)).splitlines()
    assert "vision tower" not in _summary(of(None))
    found = inspection()
    show(found, picture=False)
    assert "vision tower" not in capsys.readouterr().out
    (run, *_) = found.runs
    videos = tuple(replace(video, reuse=REUSE) for video in run.report.videos)
    show(replace(found, runs=(replace(run, report=replace(run.report, videos=videos)),)), picture=False)
    assert line in capsys.readouterr().out
