"""Prompts as embeddings, pruned outside vLLM."""

import pytest
import torch

import sharpv
from sharpv import SharpVConfig, keep_mask
from sharpv.engines.vllm.embeds import prompt_embeds
from sharpv.errors import InputError
from tests.engines.vllm.toys import NEW_TOKENS, Ask, engine, twin

VIDEO, N, F, D = 9, 3, 4, 5
TABLE = torch.randn(10, D, generator=torch.Generator().manual_seed(0))


def features(seed):
    return torch.randn(N * F + 1, D, generator=torch.Generator().manual_seed(seed))


def prompt(*videos):
    parts = [[1, 2], *([VIDEO] * len(video) + [3] for video in videos)]
    return torch.tensor([token for part in parts for token in part])


def test_text_stays_and_of_each_video_what_core_keeps():
    first, second = features(1), features(2)
    config = SharpVConfig(retention=0.5)
    found = prompt_embeds(prompt(first, second), TABLE.__getitem__, VIDEO, [(first, N), (second, N)], config)
    kept = [
        torch.cat([video[:-1][keep_mask(video[:-1].view(N, F, D), config).flatten()], video[-1:]])
        for video in (first, second)
    ]
    assert torch.equal(found, torch.cat([TABLE[[1, 2]], kept[0], TABLE[[3]], kept[1], TABLE[[3]]]))


@pytest.mark.parametrize(
    ("ids", "videos", "message"),
    [
        (prompt(features(1)), [], "13 placeholders for videos of"),
        (prompt(features(1)), [(features(1)[:-1], N)], "13 placeholders"),
        (torch.tensor([9] * 6 + [1] + [9] * 7), [(features(1), N)], "other tokens between"),
    ],
)
def test_prompts_that_do_not_match_are_refused(ids, videos, message):
    with pytest.raises(InputError, match=message):
        prompt_embeds(ids, TABLE.__getitem__, VIDEO, videos)


@pytest.mark.parametrize("kind", ["cut", "noise", "still"])
def test_vllm_answers_as_transformers_in_the_adaptive_mode(checkpoint, kind, embeds_engine):
    from vllm import SamplingParams  # noqa: PLC0415

    ask = Ask((kind,))
    reference = twin("llava_onevision", checkpoint("llava_onevision"))
    model, inputs = reference.model, ask.for_transformers("llava_onevision", reference.processor)
    config = SharpVConfig(positions="compact")
    with torch.no_grad():
        (encoded,) = model.get_video_features(inputs["pixel_values_videos"]).pooler_output
        pruned = sharpv.prune_inputs(model, inputs, config)
        expected = model.generate(**pruned, max_new_tokens=NEW_TOKENS, do_sample=False)
    embeds = prompt_embeds(
        inputs["input_ids"][0],
        model.get_input_embeddings(),
        model.config.video_token_id,
        [(encoded, ask.frames)],
        config,
    )
    length = pruned["input_ids"].shape[1]
    assert len(embeds) == length < inputs["input_ids"].shape[1]
    parameters = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)
    (output,) = embeds_engine.generate({"prompt_embeds": embeds}, parameters, use_tqdm=False)
    assert list(output.outputs[0].token_ids) == expected[0, length:].tolist()


@pytest.fixture(scope="module")
def embeds_engine(checkpoint):
    pytest.importorskip("vllm", reason="vLLM is not installed: run `make test-vllm`")
    with engine(checkpoint("llava_onevision"), enable_prompt_embeds=True) as llm:
        yield llm
