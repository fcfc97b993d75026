"""The random models: real prompts and token counts, weights by seed, and dense requests of every shape."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from sharpv.tiny.random import RANDOM_MODELS

SIZE = 112
NEEDS = {"perception_lm": "timm", "smolvlm": "num2words"}
"""Packages of transformers' own that a family cannot do without."""

PAIRS, FRAMES = {112: (4, 12), 56: (4, 2)}, {112: (8, 16), 56: (8, 4)}
TOKENS = {
    "gemma4": {112: (8, 63)},
    "glm4v": PAIRS,
    "internvl": FRAMES,
    "llava_next_video": FRAMES,
    "llava_onevision": FRAMES,
    "perception_lm": FRAMES,
    "qwen2_5_omni_thinker": PAIRS,
    "qwen2_5_vl": PAIRS,
    "qwen2_vl": PAIRS,
    "qwen3_5": PAIRS,
    "qwen3_5_moe": PAIRS,
    "qwen3_omni_moe_thinker": PAIRS,
    "qwen3_vl": PAIRS,
    "qwen3_vl_moe": PAIRS,
    "smolvlm": FRAMES,
    "video_llama_3": {112: (8, 12), 56: (8, 2)},
    "video_llava": {112: (8, 65), 56: (8, 17)},
}
"""By frame size, of 8 frames of 120 x 160 pixels: frames that the LLM sees, and tokens of each."""

NO_IMAGE_BESIDE_A_VIDEO = ("glm4v", "smolvlm")
"""Here transformers counts a video's tokens as an image's; here it overwrites an image's pixels."""


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=sorted(RANDOM_MODELS))
def family(request) -> str:
    if request.param in NEEDS:
        pytest.importorskip(NEEDS[request.param])
    return request.param


@cache
def built(family: str, size: int = SIZE) -> tuple[Any, Any]:
    return RANDOM_MODELS[family](image_size=size)


def clip(seed: int, frames: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (frames, 120, 160, 3), dtype=np.uint8)


def build_inputs(processor: Any, *rows: tuple[str, ...], seed: int = 0, frames: int = 4) -> dict[str, Any]:
    """What the processor returns for rows of "video", "image" and texts."""
    prompts, videos, images = [], [], []
    for row in rows:
        content = []
        for part in row:
            media = part in ("video", "image")
            content.append({"type": part} if media else {"type": "text", "text": part})
            if part == "video":
                videos.append(clip(seed + len(videos), frames))
            elif part == "image":
                images.append(clip(seed + 50, frames=1)[0])
        message = [{"role": "user", "content": content}]
        prompts.append(processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False))
    given: dict[str, Any] = {"images": images} if images else {}
    if videos:
        numbers = {"total_num_frames": frames, "fps": 4.0, "duration": frames / 4}
        metadata = [{**numbers, "frames_indices": list(range(frames))} for _ in videos]
        given |= {"videos": videos, "video_metadata": metadata, "do_sample_frames": False}
    return dict(processor(text=prompts, padding=True, return_tensors="pt", **given))


def generate(model: Any, inputs: dict[str, Any], attention: str = "sdpa") -> Any:
    model.set_attn_implementation(attention)
    return model.generate(
        **inputs, max_new_tokens=4, do_sample=False, return_dict_in_generate=True, output_logits=True
    )


def media_tokens(model: Any, inputs: dict[str, Any]) -> int:
    ids = [getattr(model.config, f"{kind}_token_id", None) for kind in ("image", "video")]
    return int(sum((inputs["input_ids"] == token).sum() for token in ids if token is not None))


def test_a_seed_names_the_weights_and_leaves_the_generator_alone(family):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    one, other, third = (RANDOM_MODELS[family](image_size=56, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)]
    different = [torch.equal(a, b) for a, b in zip(one.parameters(), third.parameters(), strict=True)]
    assert all(same)
    assert not all(different)
    assert one.config.model_type == family
    assert {parameter.dtype for parameter in one.parameters()} == {torch.float32}
    assert not one.training


def test_layers_with_full_attention_are_at_least_two(family):
    model, _ = built(family)
    text = model.get_decoder().config
    kinds = getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers
    assert len(model.get_decoder().layers) == len(kinds) >= 4
    assert kinds.count("full_attention") >= 2
    assert text.num_key_value_heads < text.num_attention_heads


@pytest.mark.parametrize("size", [112, 56])
def test_the_frame_size_sets_the_tokens_of_a_frame(family, size):
    if size not in TOKENS[family]:
        pytest.skip("frames of one size only")
    model, processor = built(family, size)
    frames, tokens = TOKENS[family][size]
    newline = family == "llava_onevision"
    inputs = build_inputs(processor, ("video", "What?"), frames=8)
    assert media_tokens(model, inputs) == frames * tokens + newline


def test_llava_onevision_has_the_tokens_of_the_released_model():
    model, processor = built("llava_onevision", 384)
    assert media_tokens(model, build_inputs(processor, ("video",))) == 4 * 196 + 1


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_row_says_the_same_alone_and_in_a_padded_batch(family, attention):
    model, processor = built(family)
    short, long = ("video", "What?"), ("video", "What happens in the end?")
    alone = generate(model, build_inputs(processor, short), attention)
    ragged = build_inputs(processor, short, long)
    assert ragged["attention_mask"].all(1).tolist() == [False, True]
    batch = generate(model, ragged, attention)
    torch.testing.assert_close(batch.logits[0][:1], alone.logits[0], atol=1e-5, rtol=0)
    assert batch.sequences.shape[0] == 2
    assert torch.isfinite(torch.stack(batch.logits)).all()


def test_what_is_said_depends_on_the_video(family):
    model, processor = built(family)
    one, other = (generate(model, build_inputs(processor, ("video", "What?"), seed=seed)) for seed in (0, 9))
    assert float((one.logits[0] - other.logits[0]).abs().max()) > 1e-4


@pytest.mark.parametrize(
    "rows", [[("video", "video", "What?")], [("What?",)], [("What?",), ("video", "Why?")]]
)
def test_rows_with_two_videos_one_and_none(family, rows):
    model, processor = built(family)
    inputs = build_inputs(processor, *rows)
    videos = sum(row.count("video") for row in rows)
    one = media_tokens(model, build_inputs(processor, ("video", "What?")))
    assert media_tokens(model, inputs) == videos * one
    assert torch.isfinite(torch.stack(generate(model, inputs).logits)).all()


def test_an_image_beside_a_video(family):
    model, processor = built(family)
    inputs = build_inputs(processor, ("image", "video", "What?"))
    assert media_tokens(model, inputs) > media_tokens(model, build_inputs(processor, ("video", "What?")))
    if family in NO_IMAGE_BESIDE_A_VIDEO:
        with pytest.raises(ValueError, match="Image features and image tokens do not match"):
            generate(model, inputs)
    else:
        assert torch.isfinite(torch.stack(generate(model, inputs).logits)).all()


def test_any_text_comes_back_from_its_tokens(family):
    tokenizer = built(family)[1].tokenizer
    text = "Où est le chat ? 猫 <b>\n\t1.5"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
