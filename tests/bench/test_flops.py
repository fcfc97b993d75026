"""Operations counted without running: against hand counts, closed formulas, and a real run."""

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sharpv.bench.flops import PrefillFlops, llm_flops, on_meta, paper_formula, vision_flops
from sharpv.bench.parts import encode_in_parts
from sharpv.hf.ask import build_inputs
from sharpv.hf.families import require_family
from sharpv.tiny.clip import moving_square
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.video import Video

L, D, M, V, HEADS = 3, 32, 48, 100, 4


def llama(key_value_heads: int) -> transformers.LlamaForCausalLM:
    config = transformers.LlamaConfig(
        hidden_size=D,
        intermediate_size=M,
        num_hidden_layers=L,
        num_attention_heads=HEADS,
        num_key_value_heads=key_value_heads,
        vocab_size=V,
    )
    return on_meta(transformers.LlamaForCausalLM(config))


def request(family: str, frames: int = 8):
    model, processor = RANDOM_MODELS[family](image_size=112)
    numbers = np.arange(frames)
    video = Video(moving_square(frames, 112, 112), numbers / 4.0, numbers, frames, 4.0, frames / 4)
    return model, require_family(family), dict(build_inputs(processor, video, "What?"))


@pytest.mark.parametrize("n", [1, 7, 64])
def test_the_prefill_is_the_closed_formula_doubled_and_the_third_matrix_of_the_mlp_and_the_head(n):
    model = llama(key_value_heads=HEADS)
    by_hand = 2 * (paper_formula(model.config, n) + L * n * D * M + D * V)
    assert llm_flops(model, 1, n)[0] == by_hand


@pytest.mark.parametrize("n", [1, 50])
def test_fewer_heads_of_keys_take_less(n):
    width = D // HEADS
    by_hand = 2 * L * (2 * n * D * D + 2 * n * D * width + 2 * n * n * D + 3 * n * D * M) + 2 * D * V
    assert llm_flops(llama(key_value_heads=1), 1, n)[0] == by_hand


@pytest.mark.parametrize("n", [1, 50])
def test_a_decoding_step_reads_the_whole_cache(n):
    by_hand = 2 * L * (4 * D * D + 2 * (n + 1) * D + 3 * D * M) + 2 * D * V
    assert llm_flops(llama(key_value_heads=HEADS), 1, n)[1] == by_hand


def test_rows_add_up():
    model = llama(key_value_heads=2)
    assert llm_flops(model, 3, 20) == tuple(3 * count for count in llm_flops(model, 1, 20))


def test_the_formula_is_the_papers():
    config = transformers.LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32)
    n, d, m = 576, 4096, 11008
    assert paper_formula(config, n) == 32 * (4 * n * d * d + 2 * n * n * d + 2 * n * d * m)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl", "internvl", "qwen3_5"])
def test_counts_without_data_are_those_of_a_real_run(family):
    model, known, inputs = request(family)
    # The counter of torch before 2.15 does not know the CPU's own kernel of attention, but its products.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        encoded = encode_in_parts(model.base_model, known, inputs, counter.get_total_flops)
    assert vision_flops(on_meta(model), known, inputs) == (encoded.tower, encoded.projector)
    assert encoded.tower > encoded.projector > 0
    assert encoded.tower + encoded.projector == counter.get_total_flops()

    embedded = torch.zeros(2, 40, model.get_input_embeddings().weight.shape[1])
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        output = model.get_decoder()(inputs_embeds=embedded)
        model.get_output_embeddings()(output.last_hidden_state[:, -1:])
    assert llm_flops(on_meta(model), 2, 40)[0] == counter.get_total_flops()


def test_a_tower_counts_every_frame():
    few, many = (
        vision_flops(on_meta(model), known, inputs)
        for model, known, inputs in (request("llava_onevision", frames) for frames in (2, 6))
    )
    assert many == tuple(3 * count for count in few)


def test_the_twin_has_no_data_and_leaves_the_model_alone():
    model = RANDOM_MODELS["llava_onevision"](image_size=112)[0].to(torch.bfloat16)
    twin = on_meta(model)
    assert {weight.device.type for weight in twin.parameters()} == {"meta"}
    assert twin.dtype == torch.bfloat16
    assert [w.shape for w in twin.parameters()] == [w.shape for w in model.parameters()]
    assert {weight.device.type for weight in model.parameters()} == {"cpu"}


def test_what_cannot_be_told_apart_is_all_tower():
    class Encoder(nn.Module):
        def get_video_features(self, pixel_values_videos, return_dict=True):
            return pixel_values_videos

    clock = iter((10.0, 13.0))
    encoded = encode_in_parts(
        Encoder(), require_family("llava_onevision"), {"pixel_values_videos": 1}, lambda: next(clock)
    )
    assert (encoded.tower, encoded.projector) == (3.0, None)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl", "internvl"])
def test_the_prefill_of_any_length_follows_from_four(family):
    model, _ = RANDOM_MODELS[family]()
    flops, twin = PrefillFlops(model), on_meta(model)
    for n in (1, 16, 47, 100, 301):
        assert flops.exact([n]) == llm_flops(twin, 1, n)[0]
        assert flops.paper([n]) == paper_formula(model.config.get_text_config(), n)
    # Layers that read fewer tokens cost their share of a shorter prompt.
    assert flops.exact([100, 47]) == (flops.exact([100]) + flops.exact([47])) / 2


def test_what_cannot_be_counted_is_none_with_a_warning(caplog):
    model, _ = RANDOM_MODELS["gemma4"]()
    flops = PrefillFlops(model)
    assert flops.exact([20]) is None
    assert flops.exact([30]) is None
    assert [
        record.message.startswith("the FLOPs of gemma4_text cannot be counted") for record in caplog.records
    ] == [True]
    assert flops.paper([20]) == paper_formula(model.config.get_text_config(), 20)


def test_lengths_that_no_polynomial_foretells_are_counted(monkeypatch):
    model, _ = RANDOM_MODELS["llava_onevision"]()
    # As of a sliding window: linear from 40 tokens on.
    monkeypatch.setattr("sharpv.bench.flops.llm_flops", lambda model, rows, n: (n * min(n, 40), 0))
    assert [PrefillFlops(model).exact([n]) for n in (10, 40, 50)] == [100, 1600, 2000]
