"""The page of counters."""

import pytest

from sharpv.server.metrics import Metrics


@pytest.mark.parametrize("value", [1_234_567, 9_876_543_210, 1_234_567.125])
def test_a_large_counter_counts_every_one(value):
    metrics = Metrics()
    metrics.add("sharpv_completion_tokens_total", value)
    metrics.add("sharpv_prompt_tokens_total", value, state="read")
    for more in range(3):
        lines = dict(line.rsplit(" ", 1) for line in metrics.text(0).splitlines() if line[0] != "#")
        assert float(lines["sharpv_completion_tokens_total"]) == value + more
        assert float(lines['sharpv_prompt_tokens_total{state="read"}']) == value + more
        metrics.add("sharpv_completion_tokens_total")
        metrics.add("sharpv_prompt_tokens_total", state="read")
