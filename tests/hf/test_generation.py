"""Every way to generate: off it is the dense model's, on it says what the other seam says."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import StaticCache, TextIteratorStreamer, pipeline

import sharpv
from sharpv._compat import installed_transformers
from sharpv.hf.cache import CACHE
from tests.hf.conftest import (
    GREEDY,
    OFF,
    STAGE_1,
    TEXT_ONLY,
    Config,
    clip,
    distance,
    next_positions,
    same_output,
)
from tests.hf.test_exactness import middle_threshold

TOLERANCE = 1e-6  # float32, sums in another order
WAYS = {
    "greedy": {},
    "sampling": {"do_sample": True},
    "return sequences": {"do_sample": True, "num_return_sequences": 2},
    "beams": {"num_beams": 3},
    "return beams": {"num_beams": 3, "num_return_sequences": 3},
    "sampled beams": {"num_beams": 2, "do_sample": True, "top_k": 0},
    "no cache": {"use_cache": False},
    "prompt lookup": {"prompt_lookup_num_tokens": 3},
    "sampled prompt lookup": {"prompt_lookup_num_tokens": 3, "do_sample": True},
}


@pytest.fixture(params=["internvl", "llava_onevision", "qwen2_5_vl", "qwen3_5", "qwen3_vl"])
def family(request) -> str:
    return request.param


@contextmanager
def deaf_to_its_own_deprecation() -> Iterator[None]:
    """Its assisted decoding, and pipelines of some releases, call `generate()` as it deprecates."""
    logger = logging.getLogger("transformers.generation.utils")

    def others(record: logging.LogRecord) -> bool:
        return "Passing `generation_config` together" not in record.getMessage()

    logger.addFilter(others)
    yield
    logger.removeFilter(others)


def is_hybrid(model: Any) -> bool:
    return "linear_attention" in (getattr(model.get_decoder().config, "layer_types", None) or ())


def no_pictures(model: Any) -> dict[str, list[int]]:
    """Noise may answer with a placeholder, which is no answer, and fails where it is read without a cache."""
    names = ("image_token_id", "video_token_id")
    return {"suppress_tokens": [getattr(model.config, name) for name in names if hasattr(model.config, name)]}


@pytest.fixture(params=WAYS)
def way(request, model) -> dict[str, Any]:
    if "lookup" in request.param and is_hybrid(model):
        pytest.skip("assisted decoding of a hybrid is refused by transformers: see test_assisted.py")
    return GREEDY | no_pictures(model) | WAYS[request.param] | {"output_scores": True}


@pytest.fixture
def asked(way, inputs, batch) -> dict[str, Any]:
    """Two prompts; one for assisted decoding, which takes no more."""
    return inputs if "prompt_lookup_num_tokens" in way else batch


def run(model: Any, requests: dict[str, Any], options: dict[str, Any]) -> Any:
    torch.manual_seed(1)
    return model.generate(**requests, **options)


def new_tokens(output: Any, requests: dict[str, Any]) -> torch.Tensor:
    """The new tokens, cut off as callers do; what stands before them is the caller's prompt."""
    sequences, prompt = getattr(output, "sequences", output), requests["input_ids"]
    before, new = sequences.split([prompt.shape[1], sequences.shape[1] - prompt.shape[1]], dim=1)
    assert torch.equal(before, prompt.repeat_interleave(len(sequences) // len(prompt), dim=0))
    return new


def replay(model: Any, requests: dict[str, Any], new: torch.Tensor) -> torch.Tensor:
    """Logits `[B, steps, vocabulary]` of answers `[B, steps]` that bare forward passes read one by one."""
    mask = requests["attention_mask"]
    whole = model._prepare_position_ids_for_generation(requests["input_ids"], dict(requests))
    out = model(**requests, position_ids=whole, use_cache=True, logits_to_keep=1)
    logits = [out.logits[:, -1]]
    for column in new.T[:-1]:
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        out = model(
            input_ids=column[:, None],
            attention_mask=mask,
            position_ids=next_positions(model, mask),
            **{CACHE: out[CACHE]},
        )
        logits.append(out.logits[:, -1])
    return torch.stack(logits, dim=1)


def test_switched_off_every_way_is_bit_exact(model, asked, way):
    if (
        {"num_return_sequences", "num_beams"} & way.keys()
        and is_hybrid(model)
        and installed_transformers() < (5, 20)
    ):
        pytest.skip("transformers 5.19 gives repeated rows of Qwen3.5 the wrong videos without SharpV")
    dense = run(model, asked, way)
    with sharpv.attach(model, OFF) as session:
        attached = run(model, asked, way)
    assert same_output(dense, attached)
    assert session.report.tokens_kept == session.report.tokens_total > 0


def test_every_way_says_what_the_hook_seam_says_token_by_token(model, asked, way):
    with_cache = way.get("use_cache", True)
    config = Config(memory_threshold=middle_threshold(model, asked)) if with_cache else STAGE_1
    with sharpv.attach(model, config) as session, torch.no_grad():
        output = run(model, asked, way)
        report = session.report
        new = new_tokens(output, asked)
        copies = len(new) // len(asked["input_ids"])
        replays = [replay(model, asked, new[copy::copies]) for copy in range(copies)]
    logits = torch.stack(replays, dim=1).flatten(0, 1)
    assert 0 < report.tokens_kept < report.tokens_total
    assert any(any(layer.dropped) for layer in report.layers) is with_cache
    if "num_beams" in way:
        likelihood = logits.log_softmax(-1).gather(2, new[..., None]).sum((1, 2))
        assert torch.allclose(output.sequences_scores * new.shape[1], likelihood, atol=1e-4)
    else:
        assert torch.allclose(torch.stack(output.logits, dim=1), logits, atol=TOLERANCE)


def test_every_way_equals_itself_on_explicit_inputs(model, asked, way):
    with sharpv.attach(model, STAGE_1):
        attached = run(model, asked, way)
    pruned = sharpv.prune_inputs(model, asked, STAGE_1)
    explicit = run(model, dict(pruned), way)
    assert torch.equal(new_tokens(explicit, pruned), new_tokens(attached, asked))
    assert distance(explicit, attached) < TOLERANCE


@pytest.mark.parametrize("family", ["internvl", "llava_onevision"], indirect=True)
def test_guidance_over_a_video(model, inputs):
    """A second pass per token, of the caller's own prompt or without one, in the middle of the request."""
    options = GREEDY | {"guidance_scale": 1.5}
    dense = run(model, inputs, options)
    with sharpv.attach(model, OFF):
        assert same_output(run(model, inputs, options), dense)
    with sharpv.attach(model, STAGE_1):
        attached = run(model, inputs, options)
    explicit = run(model, sharpv.prune_inputs(model, inputs, STAGE_1), options)
    assert distance(explicit, attached) < TOLERANCE
    with sharpv.attach(model, TEXT_ONLY), torch.no_grad():
        both = run(model, inputs, options)
        replayed = replay(model, inputs, new_tokens(both, inputs))
    assert float((torch.stack(both.logits, dim=1) - replayed).abs().max()) < TOLERANCE


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "qwen3_5"], indirect=True)
def test_guidance_over_m_rope_still_fails_in_the_dense_model(model, inputs):
    with pytest.raises(RuntimeError):
        run(model, inputs, GREEDY | {"guidance_scale": 1.5})


@pytest.mark.parametrize("config", [OFF, TEXT_ONLY], ids=["off", "on"])
@pytest.mark.parametrize("skip_prompt", [True, False])
def test_a_thread_streams_the_answer(model, processor, inputs, skip_prompt, config):
    """Without `skip_prompt` the prompt that is streamed is the shortened one, which the model reads."""
    streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=skip_prompt, timeout=60)
    greedy = {"max_new_tokens": 6, "do_sample": False}

    def work() -> None:
        model.generate(**inputs, **greedy, streamer=streamer)

    dense = model.generate(**inputs, **greedy)
    with sharpv.attach(model, config) as session:
        thread = threading.Thread(target=work)
        thread.start()
        streamed = "".join(streamer)
        thread.join()
        assert not session.owned
        unstreamed = dense if config is OFF else model.generate(**inputs, **greedy)
    expected = processor.tokenizer.decode(new_tokens(unstreamed, inputs)[0])
    if not skip_prompt:
        pruned = sharpv.prune_inputs(model, inputs, config)
        prompt = pruned["input_ids"][0][pruned["attention_mask"][0].bool()]
        expected = processor.tokenizer.decode(prompt) + expected
    assert streamed == expected


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl", "qwen3_5"], indirect=True)
@pytest.mark.parametrize("task", ["image-text-to-text", "any-to-any"])
def test_a_pipeline_made_before_is_pruned_while_attached(model, processor, task):
    content = [{"type": "video", "video": clip()}, {"type": "text", "text": "What?"}]
    chat = [{"role": "user", "content": content}]
    template = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "add_generation_prompt": True}
    inputs = processor.apply_chat_template(chat, **template)
    pipe = pipeline(task, model=model, processor=processor)
    options = {"max_new_tokens": 6, "do_sample": False}

    def answer() -> str:
        with deaf_to_its_own_deprecation():
            return pipe(text=chat, return_full_text=False, generate_kwargs=dict(options))[0]["generated_text"]

    dense = answer()
    with sharpv.attach(model, OFF):
        assert answer() == dense
    with sharpv.attach(model, TEXT_ONLY) as session:
        pruned = answer()
        expected = new_tokens(model.generate(**inputs, **options), inputs)
        by_pipe, by_generate = session.reports
    assert pruned == processor.tokenizer.decode(expected[0], skip_special_tokens=True)
    assert by_pipe.videos == by_generate.videos
    assert 0 < by_pipe.tokens_kept < by_pipe.tokens_total
    assert answer() == dense


def test_there_is_no_pipeline_of_the_name_for_videos_alone(model, processor):
    """`docs/generation.md` names the two that there are."""
    with pytest.raises(KeyError, match="video-text-to-text"):
        pipeline("video-text-to-text", model=model, processor=processor)


READING = {
    "static": {"cache_implementation": "static"},
    "chunks": {"prefill_chunk_size": 7},
    "static chunks": {"cache_implementation": "static", "prefill_chunk_size": 7},
}


@pytest.mark.parametrize("reading", READING)
def test_explicit_inputs_may_be_read_in_any_way(model, batch, reading):
    options = GREEDY | READING[reading]
    dense = run(model, batch, options)
    if installed_transformers() < (5, 23) and distance(dense, run(model, batch, GREEDY)) > TOLERANCE:
        pytest.skip("this release of transformers reads a dense prompt wrongly in this way, too")
    whole = sharpv.prune_inputs(model, batch, OFF)
    assert whole["input_ids"].shape == batch["input_ids"].shape
    assert distance(run(model, whole, options), dense) < TOLERANCE
    pruned = sharpv.prune_inputs(model, batch, STAGE_1)
    assert pruned["input_ids"].shape[1] < batch["input_ids"].shape[1]
    plain = run(model, pruned, GREEDY)
    assert distance(run(model, pruned, options), plain) < TOLERANCE


CACHES = ("static", "offloaded_static", "offloaded", "quantized")


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_5"], indirect=True)
@pytest.mark.parametrize("kind", [*CACHES, "an object", "by its older name", "the model's own"])
def test_another_cache_is_refused_before_the_video_is_encoded(model, inputs, kind, monkeypatch):
    if kind in ("an object", "by its older name"):
        config = model.config.get_text_config(decoder=True)
        name = CACHE if kind == "an object" else "past_key_values"
        options = {name: StaticCache(config=config, max_cache_len=256)}
    elif kind == "the model's own":
        monkeypatch.setattr(model.generation_config, "cache_implementation", "static")
        options = {}
    else:
        options = {"cache_implementation": kind}
    monkeypatch.setattr(model.model, "get_video_features", None)
    for config in (STAGE_1, TEXT_ONLY):
        with sharpv.attach(model, config) as session:
            with pytest.raises(sharpv.InputError, match=r"shorten the prompt with sharpv\.prune_inputs"):
                model.generate(**inputs, **GREEDY, **options)
            assert not session.owned
