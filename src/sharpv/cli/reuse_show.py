"""What vision reuse did, in words."""

from sharpv.report import Report, ReuseAudit

__all__ = ["reuse_lines"]


def reuse_lines(report: Report) -> list[str]:
    """Returns a line for each video of a request with reuse."""
    lines = []
    for number, video in enumerate(report.videos, 1):
        if video.reuse is None:
            continue
        name = "vision tower" if len(report.videos) == 1 else f"vision tower, video {number}"
        if video.reuse.fallback is not None:
            lines.append(f"{name}: all patches encoded: {video.reuse.fallback}")
            continue
        rows = f"{video.reuse.rows_computed:,} of {video.reuse.rows_total:,} patches"
        full = video.reuse.full_frames
        frames = "1 frame" if full == 1 else f"{full} frames"
        line = f"{name}: {rows} encoded ({video.reuse.share:.0%}), {frames} in full"
        lines.append(line if video.reuse.audit is None else f"{line}; {_audit(video.reuse.audit)}")
    return lines


def _audit(audit: ReuseAudit) -> str:
    frames = "1 frame" if audit.frames == 1 else f"{audit.frames} frames"
    cosine = f"cosine {audit.cosine_mean:.3f}, 5th percentile {audit.cosine_p5:.3f}"
    kept = "" if audit.kept_overlap is None else f", {audit.kept_overlap:.1%} of what is kept the same"
    return f"audit of {frames}: {cosine}{kept}"
