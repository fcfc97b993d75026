"""A training sequence is what the model meets later: each packed turn equals its question asked alone."""

from contextlib import suppress

import numpy as np
import pytest
import torch

from sharpv.shapesqa import FAMILIES, render, render_clip, sample_scene, scene_rng
from training.attention import ATTENTION, Layout, use_layout
from training.llm import TAPS, Recipe, _forward, _kept, _watch_only, llm_heads, llm_step
from training.loop import Team
from training.model import Sizes, build_model, build_processor
from training.text import IGNORED, Turn, draw_turns, make_tokens
from training.vision import encode, pixels, subsample_chroma, vision_heads, vision_step

SIZES = Sizes(image=32, vision_hidden=16, vision_mlp=16, hidden=24, mlp=16, layers=4, heads=3, kv_heads=1)
SHORT = [family for family, options in FAMILIES.items() if options]
TEAM = Team(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def processor():
    return build_processor(SIZES)


@pytest.fixture
def model(processor):
    torch.manual_seed(0)
    return build_model(SIZES, processor.tokenizer).eval()


def features_of(model, scenes):
    return model.model.get_video_features(
        pixels(render(scenes, SIZES.image).frames),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    ).pooler_output


def everything(rows, frames):
    count = frames * SIZES.tokens_per_frame + 1
    return torch.arange(count).expand(rows, -1)


def test_each_packed_turn_equals_its_question_asked_alone(model, processor):
    scene = sample_scene(scene_rng("train", 0, 3), 5)
    turns = draw_turns(scene, np.random.default_rng(0), ties=True)[:5]
    tokens = make_tokens([turns], processor.tokenizer, SHORT, chat=False)
    with torch.no_grad():
        features = features_of(model, [scene])
        alone = []
        for turn in turns:
            content = [{"type": "video"}, {"type": "text", "text": turn.question}]
            prompt = processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
            inputs = processor(
                text=prompt + turn.answer, videos=[render_clip(scene, SIZES.image)], return_tensors="pt"
            )
            logits = model(**inputs).logits[0]
            learned = tokens.targets[tokens.turns == turns.index(turn)]
            words = len(processor.tokenizer(turn.answer).input_ids)
            assert learned[learned != IGNORED].tolist() == [*inputs["input_ids"][0, -words:].tolist(), 3]
            alone.append(logits[-words - 1 :])
        model.set_attn_implementation(ATTENTION)
        hidden = _forward(model, processor.tokenizer, features, tokens, everything(1, 5))
        packed = model.lm_head(hidden[tokens.targets != IGNORED])
    torch.testing.assert_close(packed, torch.cat(alone), atol=2e-5, rtol=1e-4)


def test_training_asks_for_both_ends_of_an_order():
    rng, asked = np.random.default_rng(0), 0
    for index in range(40):
        scene = sample_scene(scene_rng("train", 0, index), 6)
        turns = [turn for turn in draw_turns(scene, rng, ties=False) if turn.family == "order"]
        late = sorted((shape.first, shape.colour) for shape in scene.shapes if shape.first)
        if len(late) == 2:
            asked += 1
            answers = {word: turn.answer for turn in turns for word in turn.question.split()}
            assert (answers["first?"], answers["last"]) == (late[0][1], late[1][1])
        else:
            assert turns == []
    assert asked > 5


def test_the_first_stage_trains_the_tokens_that_the_llm_reads(model):
    scenes = [sample_scene(scene_rng("train", 0, index), 4) for index in range(2)]
    with torch.no_grad():
        tokens = encode(model, pixels(render(scenes, SIZES.image).frames).flatten(0, 1))[1]
        read = features_of(model, scenes)[:, :-1]
    torch.testing.assert_close(tokens.reshape(read.shape), read, atol=0, rtol=0)


def test_a_chat_sees_its_earlier_turns(model, processor):
    scene = sample_scene(scene_rng("train", 0, 4), 4)
    first = [Turn("caption", "Describe the video.", word) for word in ("red", "blue")]
    second = Turn("vanish", "Which colour disappears?", "red")
    model.set_attn_implementation(ATTENTION)
    answers = {}
    with torch.no_grad():
        features = features_of(model, [scene])
        for chat in (False, True):
            rows = []
            for turn in first:
                tokens = make_tokens([[turn, second]], processor.tokenizer, SHORT, chat=chat)
                hidden = _forward(model, processor.tokenizer, features, tokens, everything(1, 4))
                rows.append(hidden[0, -3])
            answers[chat] = rows
    torch.testing.assert_close(*answers[False], atol=0, rtol=0)
    assert (answers[True][0] - answers[True][1]).abs().max() > 1e-3


def test_kept_tokens_are_sorted_distinct_and_end_with_the_newline():
    kept = _kept(7, 64, 0.25, np.random.default_rng(0))
    assert kept.shape == (7, 17)
    assert (kept.diff() > 0).all()
    assert (kept[:, -1] == 64).all()
    assert len({tuple(row.tolist()) for row in kept}) > 1


def test_lost_colour_resolution_keeps_luma_and_flat_colours():
    flat = torch.full((2, 3, 8, 8), 90, dtype=torch.uint8)
    flat[:, 0] = 200
    assert (subsample_chroma(flat).int() - flat.int()).abs().max() <= 1
    noise = torch.randint(60, 200, (2, 3, 8, 8), dtype=torch.uint8)
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    before, after = ((x.float() * weights).sum(1) for x in (noise, subsample_chroma(noise)))
    assert (before - after).abs().max() < 2
    assert (noise.int() - subsample_chroma(noise).int()).abs().float().mean() > 5


@pytest.mark.parametrize("stage", ["vision", "see", "watch", "drop"])
def test_a_few_steps_on_one_batch_lower_the_loss(stage, model, processor):
    model.set_attn_implementation(ATTENTION)
    if stage == "vision":
        heads = vision_heads(SIZES)
        step = vision_step(model, heads, SIZES, TEAM, seed=0, batch=16)
    else:
        heads = llm_heads(SIZES)
        ratios = (0.25,) if stage == "drop" else (1.0,)
        recipe = Recipe(
            (4,), (1.0,), 16, ratios, 0, compressed=0.5, text=stage != "see", heads=stage != "drop"
        )
        step = llm_step(model, heads, processor.tokenizer, SIZES, TEAM, 0, recipe)
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    losses = []
    for _ in range(8):
        loss, figures = step(0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.95 * losses[0]
    assert all(isinstance(value, float) for value in figures.values())


def test_a_step_depends_on_its_number_and_rank_alone(model, processor):
    model.set_attn_implementation(ATTENTION)
    recipe = Recipe((4, 5), (0.5, 0.5), 8, (1.0, 0.5), first=0, heads=False)
    losses = {}
    for rank in (0, 1):
        team = Team(rank, 2, torch.device("cpu"))
        step = llm_step(model, llm_heads(SIZES), processor.tokenizer, SIZES, team, 0, recipe)
        with torch.no_grad():
            losses[rank] = [float(step(number)[0]) for number in (0, 1, 0)]
    assert losses[0][0] == losses[0][2]
    assert len({*losses[0], *losses[1]}) == 4


def test_heads_refuse_dropped_tokens():
    with pytest.raises(ValueError, match=r"ratios \(1\.0, 0\.5\) with heads=True: .*or give heads=False"):
        Recipe((4,), (1.0,), 16, (1.0, 0.5), 0)
    assert Recipe((4,), (1.0,), 16, (1.0, 0.5), 0, heads=False).ratios == (1.0, 0.5)


def test_a_layout_ends_with_its_block(model):
    model.set_attn_implementation(ATTENTION)
    language = model.model.language_model
    inputs = torch.randn(1, 4, SIZES.hidden, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = language(inputs_embeds=inputs, use_cache=False).last_hidden_state
        blind = Layout(2, torch.eye(2, 4, dtype=torch.bool)[None, None])
        with suppress(KeyboardInterrupt), use_layout(blind):
            inside = language(inputs_embeds=inputs, use_cache=False).last_hidden_state
            raise KeyboardInterrupt
        after = language(inputs_embeds=inputs, use_cache=False).last_hidden_state
    assert torch.equal(before, after)
    assert not torch.equal(before, inside)


def test_qwen2_runs_as_many_layers_as_its_configuration_says(model, processor):
    """A canary: were transformers to run all of them, the loss would be the same, and a step cost more."""
    language, ran = model.model.language_model, []
    for index, layer in enumerate(language.layers):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    with torch.no_grad():
        _watch_only(model, processor.tokenizer, torch.zeros(1, 5, SIZES.hidden))
    assert ran == list(range(max(TAPS)))
    assert language.config.num_hidden_layers == SIZES.layers == max(TAPS) + 1
