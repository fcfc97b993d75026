"""PLLaVA: a tiny checkpoint in the published layout loads, computes what the paper says, and prunes."""

import json
from collections.abc import Callable
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlavaConfig, LlavaNextVideoForConditionalGeneration

import sharpv
from sharpv import VisionReuse
from sharpv.hf.ask import ask, load_model
from sharpv.hf.cache import CACHE
from sharpv.hf.pllava import load_pllava
from sharpv.video import Video
from tests.hf.conftest import (
    GREEDY,
    OFF,
    STAGE_1,
    TEXT_ONLY,
    Config,
    clip,
    distance,
    forward_loop,
    same_output,
    video_tokens,
)
from tests.hf.published_pllava import FRAMES, LLM, RANK, Tensors, build, byte_tokenizer, stored, write

ALPHA = 4.0
Q_PROJ = f"{LLM}model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> tuple[Path, Any]:
    """A checkpoint for frames of 8 x 8 patches, which become 4 x 4, and its twin."""
    folder = tmp_path_factory.mktemp("pllava")
    return folder, build(folder, 112)


@pytest.fixture(scope="module")
def loaded(checkpoint) -> tuple[Any, Any]:
    return load_pllava(checkpoint[0])


@pytest.fixture
def family() -> str:
    return "llava_next_video"


@pytest.fixture
def model(loaded) -> Any:
    return loaded[0]


@pytest.fixture
def processor(loaded) -> Any:
    return loaded[1]


@pytest.fixture
def inputs(make_inputs) -> dict[str, Any]:
    return make_inputs([clip(frames=FRAMES)])


@pytest.fixture
def batch(make_inputs) -> dict[str, Any]:
    return make_inputs([clip(0, FRAMES)], [clip(1, FRAMES)])


@pytest.fixture
def changed(checkpoint, tmp_path) -> Callable[..., Path]:
    """Writes the checkpoint once more, with other tensors."""

    def make(change: Callable[[Tensors], Any]) -> Path:
        tensors = stored(checkpoint[0])
        for file in checkpoint[0].glob("*.json"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
        change(tensors)
        write(tmp_path, tensors)
        return tmp_path

    return make


@torch.no_grad()
def reference_features(folder: Path, twin: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The projector on the patches of the last layer but one, then the pooling, from the stored tensors."""
    tensors, linear = stored(folder), torch.nn.functional.linear
    tensors = {name.removeprefix("multi_modal_projector."): tensor for name, tensor in tensors.items()}
    hidden = twin.model.vision_tower(pixels.flatten(0, 1), output_hidden_states=True).hidden_states[-2][:, 1:]
    hidden = torch.nn.functional.gelu(linear(hidden, tensors["linear_1.weight"], tensors["linear_1.bias"]))
    hidden = linear(hidden, tensors["linear_2.weight"], tensors["linear_2.bias"])
    side = isqrt(hidden.shape[1])
    grid = hidden.view(*pixels.shape[:2], side, side, -1).permute(0, 4, 1, 2, 3)
    pooled = torch.nn.AdaptiveAvgPool3d((FRAMES, side // 2, side // 2))(grid)
    return pooled.flatten(2).transpose(1, 2)


def test_the_lora_is_merged_and_the_rest_is_as_stored(checkpoint, model):
    tensors, ours = stored(checkpoint[0]), model.state_dict()
    adapted = 0
    for name, tensor in tensors.items():
        plain = name.replace(f"{LLM}model.", "model.language_model.").replace(LLM, "")
        if ".base_layer" in name:
            down, up = (tensors[name.replace("base_layer", f"lora_{part}.default")] for part in "AB")
            assert torch.equal(ours[plain.replace(".base_layer", "")], tensor + ALPHA / RANK * (up @ down))
            adapted += 1
        elif name.startswith(LLM) and "lora_" not in name:
            assert torch.equal(ours[plain], tensor)
    assert adapted == 2 * model.config.text_config.num_hidden_layers


def test_the_strength_of_the_lora_is_the_callers(checkpoint):
    folder, twin = checkpoint
    model, _ = load_pllava(folder, lora_alpha=0.0)
    ours, plain = model.get_decoder().state_dict(), twin.get_decoder().state_dict()
    assert ours.keys() == plain.keys()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in plain.items())


def test_features_are_pooled_after_the_projector(tmp_path):
    """At the published size: 16 frames of 24 x 24 patches become 16 x 12 x 12 tokens."""
    twin = build(tmp_path, 336)
    model, _ = load_pllava(tmp_path)
    pixels = torch.randn(2, FRAMES, 3, 336, 336)
    with torch.no_grad():
        encoded = model.model.get_video_features(pixels, return_dict=True).pooler_output
    ours = torch.stack([video.flatten(0, -2) for video in encoded])
    assert ours.shape == (2, 16 * 12 * 12, 64)
    assert torch.equal(ours, reference_features(tmp_path, twin, pixels))


@torch.no_grad()
def test_the_llm_reads_the_features_in_their_places(checkpoint, model, inputs):
    """Against the merged LLM, fed embeddings that are put together here."""
    llm, ids = model.get_decoder(), inputs["input_ids"]
    visual = ids == model.config.video_token_id
    assert int(visual.sum()) == 16 * 4 * 4
    embeds = llm.embed_tokens(ids)
    embeds[visual] = reference_features(*checkpoint, inputs["pixel_values_videos"])[0]
    expected = model.lm_head(llm(inputs_embeds=embeds).last_hidden_state)
    assert float((model(**inputs).logits - expected).abs().max()) < 1e-6


def test_the_prompt_is_that_of_the_authors(processor):
    turns = [
        {"role": "system", "content": [{"type": "text", "text": "Watch."}]},
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
        {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
    ]
    prompt = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert prompt == "Watch. USER: <image>\n USER: What? ASSISTANT: A cat.</s>USER: Why? ASSISTANT:"


def test_a_tokenizer_for_chatml_has_no_template_yet(changed):
    folder = changed(lambda tensors: None)
    byte_tokenizer("<image>", "<|im_start|>", "<pad>").save_pretrained(folder)
    with pytest.raises(sharpv.InputError, match="has no chat template"):
        load_model(str(folder))


@pytest.mark.parametrize("rows", [1, 2])
def test_switched_off_is_bit_exact(model, inputs, batch, rows):
    requests = inputs if rows == 1 else batch
    dense = model.generate(**requests, **GREEDY)
    with sharpv.attach(model, OFF) as session:
        attached = model.generate(**requests, **GREEDY)
    assert same_output(dense, attached)
    assert session.report.tokens_kept == session.report.tokens_total == rows * 16 * 16


@pytest.mark.parametrize("rows", [1, 2])
def test_the_two_seams_are_one(model, inputs, batch, rows):
    requests = inputs if rows == 1 else batch
    with sharpv.attach(model, STAGE_1) as session, torch.no_grad():
        by_inputs = model.generate(**requests, **GREEDY)
        by_hooks = forward_loop(model, requests, GREEDY["max_new_tokens"])
    assert all(map(torch.equal, by_inputs.logits, by_hooks))
    video = session.report.videos[0]
    assert (video.frames, video.tokens_per_frame) == (16, 16)
    assert 0 < session.report.tokens_kept < session.report.tokens_total
    explicit = model.generate(**sharpv.prune_inputs(model, requests, STAGE_1), **GREEDY)
    # A single prompt gets a column of padding, and with it another kernel.
    assert distance(explicit, by_inputs) <= (1e-6 if rows == 1 else 0)


def test_patches_that_have_not_changed_are_reused(model, inputs):
    expected = model.generate(**inputs, **GREEDY)
    everything = VisionReuse(threshold=0.0, texture=0.0, full_frame=0.0, max_share=1.0)
    keep_all = {"retention": 1.0, "memory_threshold": -1.0}
    with sharpv.attach(model, Config(vision_reuse=everything, **keep_all)) as session:
        assert distance(model.generate(**inputs, **GREEDY), expected) <= 1e-5
        assert session.report.videos[0].reuse.share == 1
    with sharpv.attach(model, Config(vision_reuse=VisionReuse(max_share=1.0, audit=3))) as session:
        model.generate(**inputs, **GREEDY)
    (video,) = session.report.videos
    assert 0 < video.reuse.share < 0.9
    assert video.reuse.audit.frames == 3
    assert 0.5 < video.reuse.audit.cosine_mean < 1


def test_stage_2_leaves_only_text_in_the_cache(model, batch):
    with sharpv.attach(model, TEXT_ONLY) as session:
        output = model.generate(**batch, **GREEDY)
    text = (batch["attention_mask"].bool() & ~video_tokens(model, batch)).sum(1)
    columns = int(text.max()) + GREEDY["max_new_tokens"] - 1
    assert [layer.physical for layer in output[CACHE].layers] == [columns] * 4
    assert all(all(layer.dropped) for layer in session.report.layers)


def test_ask_finds_it_by_its_folder(checkpoint):
    loaded = load_model(str(checkpoint[0]), device="cpu")
    sixteen, eight = (
        Video(clip(frames=n), np.arange(n) / 4.0, np.arange(n), total_frames=n, fps=4.0, duration=n / 4)
        for n in (16, 8)
    )
    assert ask(loaded, sixteen, "What moves?", Config(), max_new_tokens=2).report.tokens_total == 16 * 16
    with pytest.raises(sharpv.InputError, match=r"got 8 frames; PLLaVA reads 16.*--frames 16"):
        ask(loaded, eight, "What moves?", Config())


def test_the_dtype_is_the_checkpoints_unless_asked_otherwise(changed, checkpoint):
    half = changed(lambda tensors: tensors.update({name: part.bfloat16() for name, part in tensors.items()}))
    model, _ = load_pllava(half)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}
    assert load_pllava(checkpoint[0], dtype=torch.float16)[0].dtype == torch.float16


def drop(part: str) -> Callable[[Tensors], Any]:
    return lambda tensors: [tensors.pop(name) for name in list(tensors) if part in name]


def put(name: str, *shape: int) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.update({name: torch.zeros(shape)})


DAMAGE = {
    "missing": (
        drop("layers.1.input_layernorm"),
        r"1 missing \(model\.language_model\.layers\.1\.input_layer",
    ),
    "left over": (put("score.weight", 2), r"1 left over \(score\.weight\)"),
    "another shape": (put(f"{LLM}lm_head.weight", 3, 64), r"1 misshapen \(lm_head\.weight \[3, 64\], not \["),
    "half a LoRA": (drop("0.self_attn.q_proj.lora_B"), r"a LoRA of A \[8, 64\] and B \[0, 0\] for '"),
    "LoRA of another shape": (
        put(f"{Q_PROJ}.lora_A.default.weight", 8, 65),
        r"A \[8, 65\] and B \[64, 8\] for '.*q_proj\.base_layer\.weight' \[64, 64\]",
    ),
    "LoRA alone": (drop("base_layer"), r"8 missing \(.*q_proj.*16 left over \(.*lora_A"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_refused(changed, damage):
    change, message = DAMAGE[damage]
    with pytest.raises(sharpv.InputError, match=message):
        load_pllava(changed(change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pooling_shape": [8, 6, 6]},
            r"got a PLLaVA with pooling_shape=\[8, 6, 6\] and pooling_method='avg'",
        ),
        ({"pooling_method": "max"}, r"pooling_method='max'; only \[16, 12, 12\] by 'avg' is known"),
        ({"text_config": None}, r"cannot read .*download the whole folder again"),
    ],
)
def test_another_configuration_is_refused(changed, change, message):
    folder = changed(lambda tensors: None)
    stored_config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps({k: v for k, v in stored_config.items() if v is not None}))
    for load in (load_pllava, load_model):
        with pytest.raises(sharpv.InputError, match=message) as caught:
            load(str(folder))
        assert "cannot load" not in str(caught.value)


def test_a_broken_configuration_is_refused(changed):
    folder = changed(lambda tensors: None)
    (folder / "config.json").write_text('{"pooling_shape": [16, 12')
    for load in (load_pllava, load_model):
        with pytest.raises(sharpv.InputError, match="download the whole folder again"):
            load(str(folder))


def test_a_name_on_the_hub_is_refused_with_the_way_on(monkeypatch):
    config = LlavaConfig(pooling_shape=[16, 12, 12])
    monkeypatch.setattr("sharpv.hf.ask.AutoConfig.from_pretrained", lambda source: config)
    with pytest.raises(sharpv.InputError, match="hf download ermu2001/pllava-7b --local-dir"):
        load_model("ermu2001/pllava-7b")


def test_other_folders_are_refused(tmp_path, checkpoint):
    with pytest.raises(
        sharpv.InputError, match=r"no config\.json has a PLLaVA's 'pooling_shape'.*hf download"
    ):
        load_pllava(tmp_path)
    (tmp_path / "config.json").write_text((checkpoint[0] / "config.json").read_text())
    with pytest.raises(sharpv.InputError, match=r"cannot read.*download the whole folder again"):
        load_pllava(tmp_path)


def test_images_and_copies_are_refused(model, tmp_path):
    with pytest.raises(sharpv.InputError, match="got 5 frames or images; PLLaVA reads videos of 16 frames"):
        model.model.multi_modal_projector(torch.zeros(5, 64, 32))
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Unknown pooling mode: pllava"):
        LlavaNextVideoForConditionalGeneration.from_pretrained(tmp_path)
