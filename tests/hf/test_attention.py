"""Every attention implementation gives what sdpa gives, and FlashAttention is told no borders but real ones.

The FlashAttention kernels need a GPU. Their two entry points are short, so they stand here in plain torch,
under transformers' own code, which chooses between them and cuts the prompt: what a session hands to
FlashAttention is checked on its numbers.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers.modeling_flash_attention_utils as flash_attention
from torch import Tensor
from torch.nn.attention import flex_attention as torch_flex
from torch.nn.functional import scaled_dot_product_attention
from transformers import masking_utils
from transformers.integrations import flex_attention

import sharpv
from sharpv.hf.cache import CACHE
from sharpv.hf.families import FAMILIES
from sharpv.hf.layer_hooks import LayerHooks
from tests.hf.conftest import GREEDY, STAGE_1, TEXT_ONLY, Config, clip, distance, second_turn

TOLERANCE = 1e-6  # float32, sums in another order
FLEX = ("llava_onevision", "qwen3_vl_moe")
"""Families that declare flex_attention: one with positions of one axis, one with M-RoPE."""


class Kernels:
    """FlashAttention in plain torch, with a record of the borders that it was told.

    Attributes:
        borders: `cu_seqlens_q` and `cu_seqlens_k` of every call for sequences of different length.
        calls: calls for sequences of one length.
    """

    def __init__(self) -> None:
        self.borders: list[tuple[list[int], list[int]]] = []
        self.calls = 0

    def dense(self, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        """Attention of `[B, q, heads, d]`, causal from the last column back."""
        self.calls += 1
        return self._attend(q, k, v, **options)

    def varlen(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        cu_seqlens_q: Tensor,
        cu_seqlens_k: Tensor,
        max_seqlen_q: int,
        max_seqlen_k: int,
        **options: Any,
    ) -> Tensor:
        """Attention of sequences one after another, `[tokens, heads, d]`."""
        starts, others = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
        self.borders.append((starts, others))
        rows = [
            self._attend(q[None, a:b], k[None, c:d], v[None, c:d], **options)[0]
            for a, b, c, d in zip(starts, starts[1:], others, others[1:], strict=False)
        ]
        return torch.cat(rows)

    @staticmethod
    def _attend(
        q: Tensor, k: Tensor, v: Tensor, causal: bool = False, softmax_scale: float | None = None
    ) -> Tensor:
        queries, keys, values = (states.transpose(1, 2) for states in (q, k, v))
        mask = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool)
        mask = mask.tril(k.shape[1] - q.shape[1]) if causal else mask
        return scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, scale=softmax_scale, enable_gqa=True
        ).transpose(1, 2)


def use_flash(model: Any, monkeypatch: Any) -> Kernels:
    """Runs the decoder of a model with FlashAttention 2 in plain torch."""
    kernels = Kernels()
    for name, value in {
        "_loaded_implementation": "flash_attention_2",
        "_flash_fn": kernels.dense,
        "_flash_varlen_fn": kernels.varlen,
        "_pad_fn": flash_attention._pad_input,
        "_unpad_fn": flash_attention._unpad_input,
        "_process_flash_kwargs_fn": flash_attention._lazy_define_process_function(kernels.varlen),
        "_process_with_kvcache_kwargs_fn": dict,
    }.items():
        monkeypatch.setattr(flash_attention, name, value)
    monkeypatch.setattr(model.get_decoder().config, "_attn_implementation", "flash_attention_2")
    return kernels


def use_flex(model: Any, monkeypatch: Any) -> None:
    """Runs a model with flex_attention as it is without a compiler."""

    def uncompiled(*args: Any, training: bool = False, **kwargs: Any) -> Any:
        return torch_flex.flex_attention(*args, **kwargs)

    def block_mask(**kwargs: Any) -> Any:
        return torch_flex.create_block_mask(**kwargs | {"_compile": False})

    monkeypatch.setattr(flex_attention, "compile_friendly_flex_attention", uncompiled)
    monkeypatch.setattr(masking_utils, "create_block_mask", block_mask)
    model.set_attn_implementation({"text_config": "flex_attention"})


def use_eager(model: Any, monkeypatch: Any) -> None:
    model.set_attn_implementation("eager")


def later_turn(model: Any, make_inputs: Callable[..., Any], rows: int, **options: Any) -> Any:
    """A turn with video, after one with video on the same cache, with the ids of the whole conversation."""
    turns = [make_inputs(*([clip(row + 5 * turn)] for row in range(rows))) for turn in (0, 1)]
    # A random model may say the token of a picture, which the next turn could not read.
    pictures = [model.config.image_token_id, model.config.video_token_id]
    first = model.generate(**turns[0], **GREEDY, suppress_tokens=pictures)
    grown = torch.nn.functional.pad(turns[0]["attention_mask"], (0, GREEDY["max_new_tokens"]), value=1)
    turn = turns[1] | {
        "input_ids": torch.cat([first.sequences, turns[1]["input_ids"]], dim=1),
        "attention_mask": torch.cat([grown, turns[1]["attention_mask"]], dim=1),
        CACHE: first[CACHE],
    }
    if FAMILIES[model.config.model_type].mrope:
        # generate() would look for the grids of both turns, row by row, among those of the second.
        types = torch.nn.functional.pad(turns[0]["mm_token_type_ids"], (0, GREEDY["max_new_tokens"]))
        turn["mm_token_type_ids"] = torch.cat([types, turns[1]["mm_token_type_ids"]], dim=1)
        grids = torch.stack([one["video_grid_thw"] for one in turns], dim=1).flatten(0, 1)
        whole = {name: turn[name] for name in ("attention_mask", "mm_token_type_ids")}
        turn["position_ids"] = model._prepare_position_ids_for_generation(
            turn["input_ids"], whole | {"input_ids": turn["input_ids"], "video_grid_thw": grids}
        )
    return model.generate(**turn, **GREEDY | options)


def answers(model: Any, make_inputs: Callable[..., Any], rows: int) -> list[Tensor]:
    """Logits of the prefill, of the answer and of a later turn, by both seams."""
    requests = make_inputs(*([clip(row)] for row in range(rows)))
    with torch.no_grad():
        logits = [model(**requests).logits[:, -1], model(**requests, use_cache=False).logits[:, -1]]
    return [
        *logits,
        *model.generate(**requests, **GREEDY).logits,
        *later_turn(model, make_inputs, rows).logits,
    ]


def apart(one: list[Tensor], other: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def some_layers_drop(model: Any, requests: dict[str, Any]) -> Any:
    """A configuration under which layers hold different columns, so that each needs a mask of its own."""
    with sharpv.attach(model, Config(memory_threshold=-1.0)) as session:
        model.generate(**requests, max_new_tokens=1)
    similarity = sorted(min(layer.similarity) for layer in session.report.layers)
    return Config(memory_threshold=sum(similarity[1:3]) / 2)


@pytest.fixture(params=[1, 2], ids=["batch1", "batch2"])
def rows(request) -> int:
    return request.param


@pytest.mark.parametrize("use", [use_flash, use_eager], ids=lambda use: use.__name__)
def test_what_sdpa_says(model, make_inputs, rows, use, monkeypatch):
    configs = [TEXT_ONLY, some_layers_drop(model, make_inputs([clip()]))]
    expected = []
    for config in configs:
        with sharpv.attach(model, config):
            expected.append(answers(model, make_inputs, rows))
    assert apart(*expected) > 10 * TOLERANCE
    use(model, monkeypatch)
    for config, right in zip(configs, expected, strict=True):
        with sharpv.attach(model, config):
            assert apart(answers(model, make_inputs, rows), right) < TOLERANCE


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("family", FLEX, indirect=True)
def test_flex_attention_says_what_sdpa_says(model, inputs, batch, monkeypatch):
    runs = [(inputs, STAGE_1), (batch, some_layers_drop(model, batch))]

    def logits(requests: dict[str, Any], config: Any) -> list[Tensor]:
        with sharpv.attach(model, config), torch.no_grad():
            bare = model(**requests).logits[:, -1]
            return [bare, *model.generate(**requests, **GREEDY | {"max_new_tokens": 2}).logits]

    expected = [logits(*run) for run in runs]
    use_flex(model, monkeypatch)
    assert model.get_decoder().config._attn_implementation == "flex_attention"
    assert all(apart(logits(*run), right) < TOLERANCE for run, right in zip(runs, expected, strict=True))


@pytest.mark.parametrize("config", [STAGE_1, TEXT_ONLY], ids=["stage1", "both"])
def test_one_prompt_is_one_sequence(model, make_inputs, inputs, config, monkeypatch):
    """Nothing infers borders from gaps in its position ids: no prefill, no decoding, no later turn."""
    kernels = use_flash(model, monkeypatch)
    with sharpv.attach(model, config) as session:
        answers(model, make_inputs, 1)
    assert all(0 < report.tokens_kept < report.tokens_total for report in session.reports)
    # What a bare forward pass without a cache is given is a mask of ones, which is no mask to FlashAttention.
    assert kernels.calls > 0
    assert kernels.borders == []


@pytest.mark.parametrize("seam", ["generate", "forward", "forward without a cache", "prune_inputs"])
def test_the_borders_of_a_batch_are_those_of_its_padding(model, batch, seam, monkeypatch):
    kernels = use_flash(model, monkeypatch)
    layers = len(model.get_decoder().layers)
    if seam == "prune_inputs":
        pruned = sharpv.prune_inputs(model, batch, STAGE_1)
        kept = pruned["attention_mask"].sum(1).tolist()
        model.generate(**pruned, **GREEDY | {"max_new_tokens": 2})
    else:
        with sharpv.attach(model, STAGE_1) as session, torch.no_grad():
            if seam == "generate":
                model.generate(**batch, **GREEDY | {"max_new_tokens": 2})
            else:
                model(**batch, use_cache=seam == "forward")
        kept = list(session.report.prompt_tokens_kept)
    assert kept[0] < kept[1] < batch["input_ids"].shape[1]
    ends = [0, kept[0], sum(kept)]
    assert kernels.borders[:layers] == [(ends, ends)] * layers
    decoding = [([0, 1, 2], [0, kept[0] + 1, sum(kept) + 2])] * layers
    assert kernels.borders[layers:] == (decoding if seam in ("generate", "prune_inputs") else [])
    assert kernels.calls == 0


def test_the_borders_of_a_dropped_layer_are_those_of_its_text(model, batch, monkeypatch):
    kernels = use_flash(model, monkeypatch)
    with sharpv.attach(model, TEXT_ONLY) as session:
        model.generate(**batch, **GREEDY | {"max_new_tokens": 2})
    report = session.report
    text = [
        kept - sum(video.tokens_kept + video.separators for video in report.videos if video.row == row)
        for row, kept in enumerate(report.prompt_tokens_kept)
    ]
    layers = len(model.get_decoder().layers)
    assert kernels.borders[layers:] == [([0, 1, 2], [0, text[0] + 1, sum(text) + 2])] * layers


def test_explicit_inputs_of_one_prompt_are_one_sequence(model, inputs, monkeypatch):
    kernels = use_flash(model, monkeypatch)
    pruned = sharpv.prune_inputs(model, inputs, STAGE_1)
    expected = model.generate(**pruned, **GREEDY)
    assert kernels.calls + len(kernels.borders) > 0
    assert all(len(starts) == len(others) == 2 for starts, others in kernels.borders)
    monkeypatch.undo()
    assert distance(model.generate(**pruned, **GREEDY), expected) < TOLERANCE


def test_a_session_keeps_gaps_from_flash_in_a_later_turn(model, make_inputs, monkeypatch):
    """Without it, the second video would be read as a packed prompt, and its turn would forget the first."""
    with sharpv.attach(model, STAGE_1):
        expected = later_turn(model, make_inputs, 1)
    kernels = use_flash(model, monkeypatch)
    before_layer = LayerHooks.before_layer

    def forgetful(self: Any, index: int, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        gapped = kwargs.get("position_ids")
        changed = before_layer(self, index, module, args, kwargs)
        return changed and (changed[0], changed[1] | {"position_ids": gapped})

    with sharpv.attach(model, STAGE_1):
        assert distance(later_turn(model, make_inputs, 1), expected) < TOLERANCE
        assert kernels.borders == []
    monkeypatch.setattr(LayerHooks, "before_layer", forgetful)
    with sharpv.attach(model, STAGE_1):
        later_turn(model, make_inputs, 1)
    assert kernels.borders != []


def test_text_after_a_pruned_prompt_is_one_sequence(model, processor, inputs, monkeypatch):
    """Several tokens on a cache at once, whose ids go on after gaps."""
    kernels = use_flash(model, monkeypatch)
    with sharpv.attach(model, TEXT_ONLY), torch.no_grad():
        at_once, one_by_one = second_turn(model, processor, inputs)
    assert kernels.borders == []
    assert apart([at_once.logits[0]], [one_by_one]) < TOLERANCE
