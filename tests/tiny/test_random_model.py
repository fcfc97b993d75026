"""The random models: real token counts, the same weights for the same seed, and no trace on the generator."""

import pytest
import torch

from sharpv.tiny.random_model import RANDOM_MODELS, llava_onevision


@pytest.mark.parametrize("family", sorted(RANDOM_MODELS))
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
    assert not one.training


@pytest.mark.parametrize(("size", "tokens"), [(384, 196), (112, 16), (56, 4)])
def test_a_frame_has_the_tokens_of_the_released_model(size, tokens):
    model, processor = llava_onevision(image_size=size)
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "video"}]}], tokenize=False, add_generation_prompt=True
    )
    video = torch.zeros(2, 3, 60, 80, dtype=torch.uint8)
    inputs = processor(text=[prompt], videos=[video], do_sample_frames=False, return_tensors="pt")
    assert int((inputs["input_ids"] == model.config.video_token_id).sum()) == 2 * tokens + 1


@pytest.mark.parametrize("family", sorted(RANDOM_MODELS))
def test_any_text_comes_back_from_its_tokens(family):
    tokenizer = RANDOM_MODELS[family](image_size=56)[1].tokenizer
    text = "Où est le chat ? 猫 <b>\n\t1.5"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
