"""Stage 2 against a model with nothing attached, whose cache is cut by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

import sharpv
from sharpv.hf.cache import CACHE
from tests.hf.conftest import GREEDY, Config, clip, video_tokens
from tests.hf.test_chats import Chat
from tests.hf.test_exactness import middle_threshold

TOLERANCE = 1e-5  # float32, sums in another order
EVERY_TOKEN = {"retention": 1.0}


@pytest.fixture(params=["internvl", "llava_onevision", "qwen2_5_vl", "qwen3_vl", "video_llama_3"])
def family(request) -> str:
    return request.param


class ByHand:
    """One conversation of a dense model; after each pass with video, layers lose its columns."""

    def __init__(self, model: Any, whole: dict[str, Any], new: Tensor, dropped: list[bool]) -> None:
        self.model, self.dropped, self.cache = model, dropped, DynamicCache()
        self.ids = torch.cat([whole["input_ids"], new], dim=1)
        told = dict(whole) | {"input_ids": self.ids, "attention_mask": torch.ones_like(self.ids)}
        if "mm_token_type_ids" in told:
            told["mm_token_type_ids"] = torch.nn.functional.pad(told["mm_token_type_ids"], (0, new.shape[1]))
        self.positions = model._prepare_position_ids_for_generation(self.ids, told)
        self.read = 0

    @torch.no_grad()
    def feed(self, columns: int, frames: dict[str, Any]) -> Tensor:
        """Reads the next columns; returns the logits of the last."""
        part = slice(self.read, self.read + columns)
        self.read += columns
        ids = self.ids[:, part]
        # No mask: layers of different length each attend to all that they hold.
        output = self.model(
            input_ids=ids, position_ids=self.positions[..., part], **{CACHE: self.cache}, **frames
        )
        text = ~video_tokens(self.model, {"input_ids": ids})[0]
        for layer, drop in zip(self.cache.layers, self.dropped, strict=True):
            if drop:
                held = layer.keys.shape[2] - columns
                keep = torch.cat([torch.ones(held, dtype=torch.bool), text])
                layer.keys, layer.values = layer.keys[:, :, keep], layer.values[:, :, keep]
        return output.logits[:, -1]


def frames_of(inputs: dict[str, Any]) -> dict[str, Any]:
    """What stands beside the ids: pixels, grids."""
    along = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids", "position_ids")
    return {name: value for name, value in inputs.items() if name not in (*along, CACHE)}


def check(output: Any, hand: ByHand, logits: list[Tensor]) -> None:
    assert all(
        torch.allclose(ours, theirs, atol=TOLERANCE)
        for ours, theirs in zip(output.logits, logits, strict=True)
    )
    for ours, theirs in zip(output[CACHE].layers, hand.cache.layers, strict=True):
        assert torch.allclose(ours.keys, theirs.keys, atol=TOLERANCE)
        assert torch.allclose(ours.values, theirs.values, atol=TOLERANCE)


@pytest.mark.parametrize("level", ["some", "all"])
def test_layers_lose_the_columns_of_the_video_and_no_others(model, inputs, level):
    threshold = 2.0 if level == "all" else middle_threshold(model, inputs)
    with sharpv.attach(model, Config(**EVERY_TOKEN, memory_threshold=threshold)) as session:
        output = model.generate(**inputs, **GREEDY)
    dropped = [layer.dropped[0] for layer in session.report.layers]
    assert any(dropped)
    assert all(dropped) == (level == "all")
    prompt = inputs["input_ids"].shape[1]
    new = output.sequences[:, prompt:]
    hand = ByHand(model, inputs, new, dropped)
    logits = [hand.feed(prompt, frames_of(inputs))]
    logits += [hand.feed(1, {}) for _ in new[0, :-1]]
    check(output, hand, logits)


def test_a_video_in_a_later_turn_loses_its_own_columns_too(model, make_inputs):
    with sharpv.attach(model, Config(**EVERY_TOKEN, memory_threshold=2.0)) as session:
        chat = Chat(model, make_inputs, [[clip(0)]], [[clip(1)]])
        output = model.generate(**chat.turn, **GREEDY)
    assert all(all(layer.dropped) for report in session.reports for layer in report.layers)
    whole = chat.whole["input_ids"].shape[1]
    new = output.sequences[:, whole:]
    hand = ByHand(model, chat.whole, new, [True] * len(session.report.layers))
    first = make_inputs([clip(0)])
    hand.feed(first["input_ids"].shape[1], frames_of(first))
    logits = [hand.feed(whole - hand.read, frames_of(chat.turn))]
    logits += [hand.feed(1, {}) for _ in new[0, :-1]]
    check(output, hand, logits)
