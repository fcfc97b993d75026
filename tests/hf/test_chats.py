"""Several turns with video on one cache, with the ids of the whole prompts and with shortened ones."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

import sharpv
from sharpv.hf.cache import CACHE
from sharpv.hf.families import FAMILIES
from tests.hf.conftest import GREEDY, OFF, STAGE_1, Config, clip, distance, next_positions

TOLERANCE = 1e-5  # float32, sums in another order
IDLE_STAGE_2 = Config(memory_threshold=-1.0)
INSIDE = sorted(
    name for name, family in FAMILIES.items() if family.modality == "video" and not family.stage_1_only
)
"""Families that are shortened inside the decoder, where a later turn has to be."""

ONE_AXIS = [name for name in INSIDE if not FAMILIES[name].mrope]
ALONG = ("mm_token_type_ids", "token_type_ids")


def is_hybrid(model: Any) -> bool:
    """Whether layers of linear attention carry what padding between turns does to them."""
    return "linear_attention" in (getattr(model.get_decoder().config, "layer_types", None) or ())


def joined(first: Any, one: dict[str, Any], other: dict[str, Any]) -> dict[str, Tensor]:
    """What stands along a conversation: a turn, its answer, and the next turn."""
    new = first.sequences.shape[1] - one["input_ids"].shape[1]
    along = {
        "input_ids": torch.cat([first.sequences, other["input_ids"]], dim=1),
        "attention_mask": torch.cat(
            [pad(one["attention_mask"], (0, new), value=1), other["attention_mask"]], 1
        ),
    }
    for name in ALONG:
        if name in other:
            before = one.get(name, torch.zeros_like(one["input_ids"]))
            along[name] = torch.cat([pad(before, (0, new)), other[name]], dim=1)
    return along


def answer(model: Any, turn: dict[str, Any]) -> Any:
    """An answer to go on from: a random model may say the token of a picture, which no turn could read."""
    pictures = {getattr(model.config, name, None) for name in ("image_token_id", "video_token_id")}
    return model.generate(**turn, **GREEDY, suppress_tokens=sorted(pictures - {None}))


class Chat:
    """Two turns with video on one cache, and the same conversation as one prompt.

    Attributes:
        first: output of the first turn.
        turn: what `generate()` takes for the second: the ids of both, and its own frames.
        whole: one prompt of both.
    """

    def __init__(
        self, model: Any, make_inputs: Callable[..., Any], first_rows: list, next_rows: list
    ) -> None:
        questions = ("And now?", "What is new in it?")
        one, other = make_inputs(*first_rows), make_inputs(*next_rows, questions=questions)
        self.first = answer(model, one)
        along = joined(self.first, one, other)
        both = [before + after for before, after in zip(first_rows, next_rows, strict=True)]
        self.whole = make_inputs(*both) | along
        self.turn = other | along | {CACHE: self.first[CACHE]}
        if FAMILIES[model.config.model_type].mrope:
            # generate() would look for the grids of the whole conversation among those of the turn.
            self.turn["position_ids"] = model._prepare_position_ids_for_generation(
                along["input_ids"], dict(self.whole)
            )


@pytest.mark.parametrize("family", INSIDE, indirect=True)
@pytest.mark.parametrize("config", [OFF, STAGE_1, IDLE_STAGE_2], ids=["off", "stage1", "idle stage 2"])
def test_a_second_video_in_a_later_turn_equals_one_prompt_with_both(model, make_inputs, config):
    """The cached turns are shortened inside the decoder, the single prompt before it."""
    rows = [[clip(0)], [clip(2)]], [[clip(1)], []]
    if is_hybrid(model):
        rows = [[clip(0)]], [[clip(1)]]
    with sharpv.attach(model, config) as session:
        chat = Chat(model, make_inputs, *rows)
        later = model.generate(**chat.turn, **GREEDY)
        one_prompt = model.generate(**chat.whole, **GREEDY)
    before, second, whole = session.reports
    assert torch.equal(later.sequences, one_prompt.sequences)
    assert distance(later, one_prompt) < TOLERANCE
    if config is not OFF:
        by_row = sorted((*before.videos, *second.videos), key=lambda video: video.row)
        assert [video.kept for video in by_row] == [video.kept for video in whole.videos]
        assert 0 < whole.tokens_kept < whole.tokens_total


@pytest.mark.parametrize("family", ONE_AXIS, indirect=True)
def test_a_second_video_in_a_later_turn_with_compact_ids(model, make_inputs):
    config = Config(memory_threshold=None, positions="compact")
    with sharpv.attach(model, config) as session:
        chat = Chat(model, make_inputs, [[clip(0)], [clip(2)]], [[clip(1)], []])
        later = model.generate(**chat.turn, **GREEDY)
        one_prompt = model.generate(**chat.whole, **GREEDY)
        cut = [report.tokens_total - report.tokens_kept for report in session.reports]
    assert distance(later, one_prompt) < TOLERANCE
    lag = later[CACHE].layers[0].position_shift
    assert lag.tolist() == one_prompt[CACHE].layers[0].position_shift.tolist()
    assert int(lag.sum()) == cut[0] + cut[1] == cut[2] > 0
    with sharpv.attach(model, STAGE_1):
        original = model.generate(**chat.whole, **GREEDY)
    assert distance(original, one_prompt) > TOLERANCE


MODES = [
    pytest.param(family, positions, id=f"{family}-{positions}")
    for family, positions in (
        ("llava_onevision", "original"),
        ("llava_onevision", "compact"),
        ("video_llama_3", "compact"),
        ("qwen2_5_vl", "original"),
        ("qwen3_vl", "original"),
    )
]


@pytest.mark.parametrize(("family", "positions"), MODES, indirect=["family"])
@pytest.mark.parametrize("threshold", [-1.0, 2.0])
def test_text_after_two_videos_equals_feeding_it_token_by_token(
    model, processor, make_inputs, positions, threshold
):
    text = processor.tokenizer("And then?", return_tensors="pt").input_ids.expand(2, -1)
    config = Config(memory_threshold=threshold, positions=positions)
    with sharpv.attach(model, config), torch.no_grad():
        chat = Chat(model, make_inputs, [[clip(0)], [clip(2)]], [[clip(1)], []])
        second = answer(model, chat.turn)
        cache = copy.deepcopy(second[CACHE])
        ids = torch.cat([second.sequences, text], dim=1)
        missing = ids.shape[1] - chat.turn["attention_mask"].shape[1]
        mask = pad(chat.turn["attention_mask"], (0, missing), value=1)
        third = model.generate(ids, attention_mask=mask, **{CACHE: second[CACHE]}, **GREEDY)
        for column in range(cache.get_seq_length(), ids.shape[1]):
            one = model(
                input_ids=ids[:, column : column + 1],
                attention_mask=mask[:, : column + 1],
                position_ids=next_positions(model, mask[:, : column + 1]),
                **{CACHE: cache},
            )
    assert float((third.logits[0] - one.logits[:, -1]).abs().max()) < TOLERANCE
    assert torch.equal(third.sequences[:, : ids.shape[1]], ids)


@pytest.mark.parametrize(("family", "positions"), MODES, indirect=["family"])
@pytest.mark.parametrize("stage_2", [False, True], ids=["stage1", "both"])
def test_turns_with_pruned_ids_equal_turns_with_original_ids(model, processor, inputs, positions, stage_2):
    """The caller holds the shortened prompt, and counts its positions on from it."""
    config = Config(memory_threshold=2.0 if stage_2 else None, positions=positions)
    text = processor.tokenizer("And then?", return_tensors="pt").input_ids
    with sharpv.attach(model, config):
        first = answer(model, inputs)
        ids = torch.cat([first.sequences, text], dim=1)
        mask = torch.ones_like(ids)
        original = model.generate(ids, attention_mask=mask, **{CACHE: first[CACHE]}, **GREEDY)

    pruned = sharpv.prune_inputs(model, inputs, config)
    session = sharpv.attach(model, config) if stage_2 else None
    try:
        own = answer(model, pruned)
        assert distance(own, first) < TOLERANCE
        ids = torch.cat([own.sequences, text], dim=1)
        missing = ids.shape[1] - pruned["input_ids"].shape[1]
        turn = {
            "attention_mask": pad(pruned["attention_mask"], (0, missing), value=1),
            CACHE: own[CACHE],
        }
        known = pruned["position_ids"]
        new = known[..., -1:] + 1 + torch.arange(missing)
        turn["position_ids"] = torch.cat([known, new], dim=-1)
        later = model.generate(ids, **turn, **GREEDY)
    finally:
        if session is not None:
            session.detach()
    assert ids.shape[1] < original.sequences.shape[1] - GREEDY["max_new_tokens"]
    assert distance(later, original) < TOLERANCE
    assert torch.equal(later.sequences[:, ids.shape[1] :], original.sequences[:, -GREEDY["max_new_tokens"] :])
