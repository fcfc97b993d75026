"""Counters in Prometheus' text format."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict

from sharpv.report import Report

__all__ = ["Metrics"]

COUNTERS = {
    "sharpv_requests_total": "Answered requests, by path and status; 499 is a client that left.",
    "sharpv_prompt_tokens_total": "Tokens of prompts: dense before pruning, read by the LLM.",
    "sharpv_video_tokens_total": "Visual tokens of videos: dense before pruning, read by the LLM.",
    "sharpv_completion_tokens_total": "Tokens of answers.",
    "sharpv_seconds_total": "Time of requests by phase; queue is waiting, for a place and for the model.",
}


class Metrics:
    """What has been served since the start. For one thread."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, float]] = {name: defaultdict(float) for name in COUNTERS}

    def add(self, counter: str, value: float = 1, **labels: object) -> None:
        """Adds to a counter; labels must be few, and none of a client's own."""
        text = ",".join(f'{name}="{label}"' for name, label in labels.items())
        self._values[counter][text] += float(value)

    def add_report(self, report: Report, answer_tokens: int, waited: Mapping[str, float]) -> None:
        """Counts an answered request.

        Args:
            report: of the request.
            answer_tokens: of its answer.
            waited: seconds before the model, by phase.
        """
        for state, prompt, video in (
            ("dense", report.prompt_tokens, report.tokens_total),
            ("read", report.prompt_tokens_kept, report.tokens_kept),
        ):
            self.add("sharpv_prompt_tokens_total", sum(prompt), state=state)
            self.add("sharpv_video_tokens_total", video, state=state)
        self.add("sharpv_completion_tokens_total", answer_tokens)
        seconds = {name: (value or 0) / 1e3 for name, value in asdict(report.milliseconds).items()}
        for phase, value in {**waited, **seconds}.items():
            self.add("sharpv_seconds_total", value, phase=phase)

    def text(self, waiting: int) -> str:
        """Returns the page of GET /metrics.

        Args:
            waiting: requests that are served or wait.
        """
        lines = []
        for name, values in self._values.items():
            lines += [f"# HELP {name} {COUNTERS[name]}", f"# TYPE {name} counter"]
            lines += [
                f"{name}{{{labels}}} {value!r}" if labels else f"{name} {value!r}"
                for labels, value in values.items()
            ]
        lines += ["# HELP sharpv_queue Requests that are served or wait.", "# TYPE sharpv_queue gauge"]
        return "\n".join([*lines, f"sharpv_queue {waiting}", ""])
