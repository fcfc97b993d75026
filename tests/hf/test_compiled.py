"""Pruned inputs and `torch.compile`: one graph, and with a bucket one for videos of different motion."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import sharpv
from tests.hf.conftest import GREEDY, OFF, STAGE_1, Config, clip, distance
from tests.hf.test_generation import READING, TOLERANCE, run

BUCKET = Config(bucket=16)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def two_videos(make_inputs) -> list[dict[str, Any]]:
    """The same question about two clips of the same size, of which one has more motion."""
    return [make_inputs([clip(seed)]) for seed in (1, 2)]


def compile_whole(model: Any) -> tuple[Callable[..., Any], list[int]]:
    """Returns the forward pass, compiled for fixed shapes, and a list that grows with each graph.

    The backend only records the graph.
    """
    graphs = []

    def record(graph: torch.fx.GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        graphs.append(len(graphs))
        return graph.forward

    return torch.compile(model.forward, fullgraph=True, dynamic=False, backend=record), graphs


@pytest.mark.parametrize("family", ["llava_onevision", "qwen3_vl"], indirect=True)
def test_a_forward_pass_is_one_graph(model, batch):
    compiled = torch.compile(model.forward, fullgraph=True, backend="eager")
    with torch.no_grad():
        dense, real = model(**batch, use_cache=False).logits, batch["attention_mask"].bool()
        for config in (OFF, STAGE_1):
            pruned = sharpv.prune_inputs(model, batch, config)
            expected = model(**pruned, use_cache=False).logits
            assert torch.equal(compiled(**pruned, use_cache=False).logits, expected)
            if config is OFF:
                assert float((expected - dense)[real].abs().max()) < TOLERANCE
            else:
                assert expected.shape[1] < dense.shape[1]


@pytest.mark.parametrize("family", ["llava_onevision", "qwen3_vl"], indirect=True)
@pytest.mark.parametrize(("config", "expected"), [(STAGE_1, 2), (BUCKET, 1)], ids=["without", "with"])
def test_with_a_bucket_two_videos_share_a_forward_pass(model, two_videos, config, expected):
    compiled, graphs = compile_whole(model)
    for inputs in two_videos:
        pruned = sharpv.prune_inputs(model, inputs, config)
        assert pruned["input_ids"].shape[1] < inputs["input_ids"].shape[1]
        with torch.no_grad():
            logits = model(**pruned, use_cache=False).logits
            assert torch.equal(compiled(**pruned, use_cache=False).logits, logits)
    assert len(graphs) == expected


def test_with_a_bucket_two_videos_share_the_graphs_of_generate(model, two_videos, monkeypatch):
    """One of the prefill, one of all decoding steps: a static cache is as long as prompt and answer."""
    pruned = [sharpv.prune_inputs(model, inputs, BUCKET) for inputs in two_videos]
    plain = [run(model, inputs, GREEDY) for inputs in pruned]
    compiled, graphs = compile_whole(model)
    monkeypatch.setattr(model, "forward", compiled)
    for inputs, right in zip(pruned, plain, strict=True):
        assert distance(run(model, inputs, GREEDY | READING["static"]), right) < TOLERANCE
    assert len(graphs) == 2
