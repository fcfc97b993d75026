"""Shares, intervals and differences in percent, as tables show them."""

__all__ = ["difference", "interval", "percent", "span"]


def percent(value: float | None) -> str:
    """Returns a share in percent; nothing for None."""
    return "" if value is None else f"{100 * value:.1f}"


def span(low: float, high: float) -> str:
    """Returns two shares in whole percent."""
    return f"{100 * low:.0f}-{100 * high:.0f}"


def interval(value: float, low: float, high: float) -> str:
    """Returns a share in percent with its interval."""
    return f"{percent(value)} ({span(low, high)})"


def difference(value: float, low: float | None, high: float | None) -> str:
    """Returns a difference of shares in percent with its sign, and its interval where there is one."""
    ends = "" if low is None or high is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{100 * value:+.1f}{ends}"
