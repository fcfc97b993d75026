"""What callers ask of `generate()` and `forward()`: a session answers as the dense model would."""

import inspect
import random

import pytest
import torch
from transformers import DynamicCache, GenerationConfig, TextIteratorStreamer

import sharpv
from sharpv.hf.cache import CACHE
from tests.hf.conftest import (
    GREEDY,
    OFF,
    QUESTIONS,
    STAGE_1,
    TEXT_ONLY,
    clip,
    distance,
    same_output,
    video_tokens,
)

TOLERANCE = 1e-6  # float32, sums in another order


def new_tokens(output: torch.Tensor, inputs: dict) -> int:
    return output.shape[1] - inputs["input_ids"].shape[1]


@pytest.mark.parametrize("videos", [(0, 1), (1, 0), (2, 1), (2, 0), (1, 2, 0)], ids=str)
@pytest.mark.parametrize("config", [STAGE_1, TEXT_ONLY], ids=["stage1", "both"])
def test_rows_with_any_number_of_videos(model, make_inputs, videos, config):
    rows = [[clip(10 * row + i) for i in range(count)] for row, count in enumerate(videos)]
    batch = make_inputs(*rows)
    dense = model.generate(**batch, **GREEDY)
    with sharpv.attach(model, OFF):
        assert same_output(model.generate(**batch, **GREEDY), dense)
    with sharpv.attach(model, config) as session:
        together = model.generate(**batch, **GREEDY)
        assert [video.row for video in session.report.videos] == [
            row for row, count in enumerate(videos) for _ in range(count)
        ]
        for row, question in enumerate(QUESTIONS[: len(videos)]):
            alone = model.generate(**make_inputs(rows[row], questions=(question,)), **GREEDY)
            for step, (whole, single) in enumerate(zip(together.logits, alone.logits, strict=True)):
                assert torch.allclose(whole[row], single[0], atol=TOLERANCE), (row, step)


@pytest.mark.parametrize("seed", [0, 5, 10])
def test_rows_of_any_length_do_not_touch_each_other(model, make_inputs, seed):
    """Which row is longest changes with each stage; what is padding must follow."""
    rng = random.Random(seed)
    frames = rng.choice([1, 2, 6])
    rows = [[clip(row, frames)] * rng.choice([0, 1, 2]) for row in range(3)]
    questions = tuple("a" * rng.choice([1, 50, 100]) for _ in rows)
    with sharpv.attach(model, TEXT_ONLY):
        together = model.generate(**make_inputs(*rows, questions=questions), **GREEDY)
        for row, videos in enumerate(rows):
            alone = model.generate(**make_inputs(videos, questions=questions[row : row + 1]), **GREEDY)
            for whole, single in zip(together.logits, alone.logits, strict=True):
                assert torch.allclose(whole[row], single[0], atol=TOLERANCE), row


@pytest.mark.parametrize("videos", [(0, 1), (2, 1), (1, 2, 0)], ids=str)
def test_beams_over_rows_with_any_number_of_videos(model, make_inputs, videos):
    model.double()
    rows = [[clip(10 * row + i) for i in range(count)] for row, count in enumerate(videos)]
    batch, beams = make_inputs(*rows), GREEDY | {"num_beams": 2, "num_return_sequences": 2}
    with sharpv.attach(model, TEXT_ONLY):
        together = model.generate(**batch, **beams).sequences[:, batch["input_ids"].shape[1] :]
        for row, question in enumerate(QUESTIONS[: len(videos)]):
            one = make_inputs(rows[row], questions=(question,))
            alone = model.generate(**one, **beams).sequences[:, one["input_ids"].shape[1] :]
            assert torch.equal(together[2 * row : 2 * row + 2], alone), row


def test_a_video_of_one_frame(model, make_inputs):
    inputs = make_inputs([clip(frames=1)])
    with sharpv.attach(model, TEXT_ONLY) as session:
        model.generate(**inputs, **GREEDY)
    assert session.report.videos[0].frames == 1
    assert 0 < session.report.tokens_kept < session.report.tokens_total


def test_the_prompt_may_be_given_in_any_way(model, inputs):
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    prompt = inputs["input_ids"]
    with sharpv.attach(model, TEXT_ONLY):
        expected = model.generate(**inputs, **GREEDY)
        assert same_output(model.generate(prompt, **rest, **GREEDY), expected)
        assert same_output(model.generate(inputs=prompt, **rest, **GREEDY), expected)
        assert torch.equal(expected.sequences[:, : prompt.shape[1]], prompt)
        plain = model.generate(**inputs, max_new_tokens=GREEDY["max_new_tokens"], do_sample=False)
    assert torch.equal(plain, expected.sequences)


LIMITS = {
    "none": lambda width: {},
    "max_length": lambda width: {"max_length": width + 5},
    "max_new_tokens": lambda width: {"max_new_tokens": 3, "max_length": width + 5},
    "config": lambda width: {"generation_config": GenerationConfig(max_length=width + 4)},
    "min_length": lambda width: {"min_length": width + 6, "max_length": width + 8},
}


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_mean_what_they_mean_in_the_dense_model(model, inputs, limit, monkeypatch):
    limits = LIMITS[limit](inputs["input_ids"].shape[1])
    with sharpv.attach(model, STAGE_1):
        first = model.generate(**inputs, max_new_tokens=1)[0, -1]
    if limit == "min_length":
        monkeypatch.setattr(model.generation_config, "eos_token_id", int(first))
    dense = model.generate(**inputs, **limits)
    with sharpv.attach(model, STAGE_1):
        attached = model.generate(**inputs, **limits)
    if limit == "min_length":
        assert new_tokens(attached, inputs) >= 6
    else:
        assert new_tokens(attached, inputs) == new_tokens(dense, inputs)


def test_a_limit_of_the_models_own_config_counts_the_callers_prompt(model, inputs, monkeypatch):
    monkeypatch.setattr(model.generation_config, "max_length", inputs["input_ids"].shape[1] + 4)
    other = GenerationConfig(do_sample=False)
    dense = model.generate(**inputs, generation_config=other)
    with sharpv.attach(model, STAGE_1):
        attached = model.generate(**inputs, generation_config=other)
    assert new_tokens(attached, inputs) == new_tokens(dense, inputs) == 4


def test_sampling_repeats_with_its_seed(model, batch):
    options = {"max_new_tokens": 4, "do_sample": True, "num_return_sequences": 2}
    with sharpv.attach(model, TEXT_ONLY):
        torch.manual_seed(1)
        one = model.generate(**batch, **options)
        torch.manual_seed(1)
        other = model.generate(**batch, **options)
    assert torch.equal(one, other)
    width = batch["input_ids"].shape[1]
    assert torch.equal(one[:, :width], batch["input_ids"].repeat_interleave(2, dim=0))


def test_prompt_lookup_equals_greedy(model, inputs):
    # A prompt that ends like what stands before its video makes the dense model, too, draft video tokens.
    inputs = inputs | {name: inputs[name][:, :-1] for name in ("input_ids", "attention_mask")}
    if "mm_token_type_ids" in inputs:
        inputs["mm_token_type_ids"] = inputs["mm_token_type_ids"][:, :-1]
    with sharpv.attach(model, TEXT_ONLY):
        greedy = model.generate(**inputs, **GREEDY)
        assisted = model.generate(**inputs, **GREEDY, prompt_lookup_num_tokens=3)
    assert torch.equal(greedy.sequences, assisted.sequences)
    assert distance(greedy, assisted) < TOLERANCE


def test_without_a_cache_an_attached_model_says_the_same(model, inputs):
    with sharpv.attach(model, STAGE_1):
        cached = model.generate(**inputs, **GREEDY)
        assert distance(model.generate(**inputs, **GREEDY, use_cache=False), cached) < TOLERANCE


def test_without_a_cache_shortened_inputs_say_the_same(model, inputs):
    """The trap: without cache and mask, transformers reads gapped position ids as several prompts."""
    pruned = sharpv.prune_inputs(model, inputs, STAGE_1)
    cached = model.generate(**pruned, **GREEDY)
    assert distance(model.generate(**pruned, **GREEDY, use_cache=False), cached) < TOLERANCE


def test_shortened_inputs_serve_many_calls(model, batch):
    pruned = sharpv.prune_inputs(model, batch, STAGE_1)
    one, other = (model.generate(**pruned, **GREEDY) for _ in range(2))
    assert same_output(one, other)


def test_streaming(model, processor, inputs):
    streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True)
    with sharpv.attach(model, TEXT_ONLY):
        output = model.generate(**inputs, max_new_tokens=6, do_sample=False, streamer=streamer)
    new = output[0, inputs["input_ids"].shape[1] :]
    assert "".join(streamer) == processor.tokenizer.decode(new)


@pytest.mark.parametrize("configured", [True, False])
def test_an_empty_cache_of_the_callers_own(model, inputs, configured):
    own = DynamicCache(config=model.config.get_text_config()) if configured else DynamicCache()
    with sharpv.attach(model, TEXT_ONLY):
        expected = model.generate(**inputs, **GREEDY)
        output = model.generate(**inputs, **GREEDY, **{CACHE: own})
    assert same_output(output, expected)
    assert output[CACHE] is own
    assert own.get_seq_length() == output.sequences.shape[1] - 1


def test_the_callers_inputs_are_left_alone(model, batch):
    before = {name: value.clone() for name, value in batch.items()}
    sharpv.prune_inputs(model, batch, STAGE_1)
    with sharpv.attach(model, TEXT_ONLY), torch.no_grad():
        model.generate(**batch, **GREEDY)
        model(**batch)
    assert batch.keys() == before.keys()
    assert all(torch.equal(batch[name], before[name]) for name in before)


@pytest.mark.parametrize("pad", ["a pad token", "no pad token"])
def test_the_mask_may_be_missing_without_padding(model, inputs, monkeypatch, pad):
    if pad == "no pad token":
        monkeypatch.setattr(model.generation_config, "pad_token_id", None)
    bare = {name: value for name, value in inputs.items() if name != "attention_mask"}
    with sharpv.attach(model, TEXT_ONLY):
        assert same_output(model.generate(**bare, **GREEDY), model.generate(**inputs, **GREEDY))


def test_ends_of_turns_are_no_padding(model, inputs, monkeypatch):
    """Many models pad with the token that ends a turn, and a chat holds that one anyway."""
    end = int(inputs["input_ids"][0, -12])
    for name in ("pad_token_id", "eos_token_id"):
        monkeypatch.setattr(model.generation_config, name, end)
    bare = {name: value for name, value in inputs.items() if name != "attention_mask"}
    with sharpv.attach(model, TEXT_ONLY):
        assert same_output(model.generate(**bare, **GREEDY), model.generate(**inputs, **GREEDY))


def test_the_mask_may_not_be_missing_with_padding(model, batch):
    del batch["attention_mask"]
    with sharpv.attach(model), pytest.raises(sharpv.InputError, match="attention_mask"):
        model.generate(**batch, **GREEDY)


def test_a_model_in_half_precision(model, inputs):
    model.bfloat16()
    inputs["pixel_values_videos"] = inputs["pixel_values_videos"].bfloat16()
    dense = model.generate(**inputs, **GREEDY)
    with sharpv.attach(model, OFF):
        assert same_output(model.generate(**inputs, **GREEDY), dense)
    with sharpv.attach(model, TEXT_ONLY) as session:
        model.generate(**inputs, **GREEDY)
    assert all(all(layer.dropped) for layer in session.report.layers)


@pytest.mark.parametrize("retention", [0.1, 0.25, 0.5, 0.77])
def test_a_budget_is_kept_to_the_token(model, batch, retention):
    with sharpv.attach(model, sharpv.SharpVConfig(retention=retention)) as session:
        model.generate(**batch, max_new_tokens=1)
    for video in session.report.videos:
        assert video.tokens_kept == round(retention * video.tokens_total)


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 1.2},
        {"coverage": 0.5},
        {"min_tokens_per_frame": 5},
        {"bucket": 16},
        {"threshold": 9.0, "min_tokens_per_frame": 0},
    ],
)
def test_every_rule_keeps_what_keep_mask_says(model, inputs, options):
    config = sharpv.SharpVConfig(**options)
    names = inspect.signature(model.model.get_video_features).parameters
    with torch.no_grad():
        pooled = model.model.get_video_features(
            **{k: v for k, v in inputs.items() if k in names}
        ).pooler_output
        with sharpv.attach(model, config) as session:
            model.generate(**inputs, max_new_tokens=1)
            model(**inputs)
    for report in session.reports:
        (video,) = report.videos
        features = torch.cat(list(pooled))[: video.tokens_total].unflatten(0, (video.frames, -1))
        assert video.kept == tuple(map(tuple, sharpv.keep_mask(features, config).tolist()))


def test_the_output_probe_lags_one_layer_behind_the_input_probe(model, inputs):
    similarity = {}
    for probe in ("input", "output"):
        config = sharpv.SharpVConfig(memory_threshold=-1.0, memory_probe=probe)
        with sharpv.attach(model, config) as session:
            model.generate(**inputs, max_new_tokens=1)
        similarity[probe] = [layer.similarity for layer in session.report.layers]
    assert similarity["output"][:-1] == similarity["input"][1:]


def test_images_beside_a_video_are_untouched(model, processor, inputs):
    content = [{"type": "image"}, {"type": "video"}, {"type": "text", "text": "What?"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    inputs = dict(
        processor(
            text=[prompt], images=[clip(5)[0]], videos=[clip()], do_sample_frames=False, return_tensors="pt"
        )
    )
    with sharpv.attach(model, OFF):
        off = model.generate(**inputs, **GREEDY)
    assert same_output(off, model.generate(**inputs, **GREEDY))
    with sharpv.attach(model, TEXT_ONLY) as session, torch.no_grad():
        by_inputs = model.generate(**inputs, **GREEDY).logits[0]
        assert torch.allclose(by_inputs, model(**inputs).logits[:, -1], atol=TOLERANCE)
    pruned = sharpv.prune_inputs(model, inputs, STAGE_1)
    for ids in (inputs["input_ids"], pruned["input_ids"]):
        assert (ids == model.config.image_token_id).sum() == (
            inputs["input_ids"] == model.config.image_token_id
        ).sum()
    assert int(video_tokens(model, inputs).sum() - video_tokens(model, pruned).sum()) == (
        session.report.tokens_total - session.report.tokens_kept
    )
