"""What the vision tower encoded of a video, in words."""

from sharpv.report import ReuseAudit, ReuseReport

__all__ = ["encoded_words"]


def encoded_words(reuse: ReuseReport) -> str:
    """Says how many patches were encoded, or why all of them were, and what an audit found."""
    if reuse.fallback is not None:
        return f"all patches encoded: {reuse.fallback}"
    rows = f"{reuse.rows_computed:,} of {reuse.rows_total:,} patches encoded ({reuse.share:.0%})"
    words = f"{rows}, {_frames(reuse.full_frames)} in full, plan in {reuse.plan_milliseconds:.0f} ms"
    return words if reuse.audit is None else f"{words}; {_audit(reuse.audit)}"


def _audit(audit: ReuseAudit) -> str:
    cosine = f"cosine {audit.cosine_mean:.3f}, 5th percentile {audit.cosine_p5:.3f}"
    kept = "" if audit.kept_overlap is None else f", {audit.kept_overlap:.1%} of what is kept the same"
    return f"audit of {_frames(audit.frames)}: {cosine}{kept}"


def _frames(number: int) -> str:
    return "1 frame" if number == 1 else f"{number} frames"
