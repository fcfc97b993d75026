"""The growth benchmark on models too small to time: what it counts, and that it checks what it says."""

import json
from dataclasses import replace

import pytest
import torch

from sharpv.bench import growth, phases
from sharpv.bench.drawn import draw_request
from sharpv.bench.flops import on_meta
from sharpv.bench.growth import run
from sharpv.bench.growth_spec import GrowthSpec
from sharpv.bench.phases import preprocess, read_clip
from sharpv.bench.random_weights import open_shape
from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from sharpv.hf.ask import VideoModel
from sharpv.hf.attach import attach
from sharpv.hf.families import require_family
from sharpv.hf.features import encode_video
from sharpv.tiny.clip import moving_square
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.tiny.shapes import SHAPES
from sharpv.video import write_video


def tiny(family: str = "llava_onevision") -> VideoModel:
    return VideoModel(family, *RANDOM_MODELS[family](image_size=112))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(moving_square(frames=24, height=112, width=112), path, fps=6)
    return str(path)


def small(**given) -> GrowthSpec:
    return GrowthSpec(**{"frames": (16, 4, 8), "batches": (1, 3), "repeats": 2, "new_tokens": 2} | given)


@pytest.fixture(scope="module")
def result(clip) -> dict:
    return run(tiny(), small(), clip)


def test_the_result_is_plain_json(result):
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["bench"], result["schema_version"]) == ("growth", 1)
    assert result["checked"]["idle_exact"] is True
    assert result["card"]["model"]["layers"] == [4, 4]
    points = [(point["frames"], point["batch"]) for point in result["points"]]
    assert points == [(4, 1), (8, 1), (16, 1), (4, 3)]


def test_each_point_counts_what_it_kept_and_holds(result):
    per_token = result["card"]["kv_bytes_per_token"]
    for point in result["points"]:
        dense, pruned = point["sides"]["dense"], point["sides"]["sharpv"]
        frames, batch, prompt = (point[name] for name in ("frames", "batch", "prompt_tokens"))
        assert point["video_tokens"] == frames * 16 + 1
        assert pruned["tokens_kept"] == round(0.12 * frames * 16)
        assert dense["kv_bytes"] == dense["kv_bytes_predicted"] == per_token * batch * prompt
        left = prompt - frames * 16 + pruned["tokens_kept"]
        assert pruned["kv_bytes"] == pruned["kv_bytes_predicted"] == per_token * batch * left
        assert pruned["prefill_flops"] < dense["prefill_flops"]
        assert point["rounds"] == 2
        scoring = pruned["ms"]["scoring"][0]
        assert point["scoring_ms_per_frame"] == pytest.approx(scoring / frames / batch, abs=1e-4)
        for middle, low, high in (*dense["ms"].values(), *pruned["ms"].values()):
            assert 0 <= low <= middle <= high


def test_the_vision_tower_runs_in_the_check_only(clip):
    loaded, calls = tiny(), []
    loaded.model.model.vision_tower.register_forward_pre_hook(lambda *_: calls.append(1))
    run(loaded, small(), clip)
    assert len(calls) == 3


def test_points_that_take_long_get_one_round(clip):
    points = run(tiny(), small(repeats=4, minutes=1e-9), clip)["points"]
    assert [point["rounds"] for point in points] == [1] * 4


SMALL_TEXT = {"hidden_size": 256, "intermediate_size": 96, "vocab_size": 400, "num_hidden_layers": 3}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}
SMALL_TOWERS = {
    "llava_onevision": {
        "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2
    },
    "qwen2_5_vl": {"hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 256},
    "qwen3_vl": {"hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 256},
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_grows_with_one_layer(name, clip, monkeypatch):
    """Qwen3-VL then has fewer layers than features to add to them."""
    shape = SHAPES[name]
    text, vision = {**shape.text, **SMALL_TEXT, **HEADS}, {**shape.vision, **SMALL_TOWERS[shape.family]}
    monkeypatch.setitem(SHAPES, name, replace(shape, text=text, vision=vision))
    loaded = open_shape(name, "float32", torch.device("cpu"), layers=1)
    assert loaded.name == f"{name}, 1 of 3 layers"
    found = run(loaded, small(frames=(4, 8), batches=(2,), repeats=1), clip)
    assert found["card"]["model"]["layers"] == [1, 3]
    assert found["card"]["kv_bytes_per_token"] == 2 * 1 * 128 * 4
    whole = open_shape(name, "float32", torch.device("cpu"), layers=3)
    assert (whole.name, whole.whole_layers) == (name, None)


def test_other_bytes_than_predicted_are_not_reported(clip, monkeypatch):
    held = phases.cache_bytes
    monkeypatch.setattr(phases, "cache_bytes", lambda cache: held(cache) + 1)
    with pytest.raises(RuntimeError, match=r"dense holds 114,689 bytes .* tokens take 114,688: no time"):
        run(tiny(), small(), clip)


def test_other_counts_than_asked_are_not_reported(clip, monkeypatch):
    monkeypatch.setattr(
        growth, "attach", lambda model, config: attach(model, replace(config, retention=0.25))
    )
    with pytest.raises(RuntimeError, match=r"kept 16 of 64 .* asks for 8"):
        run(tiny(), small(), clip)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_drawn_features_have_the_shapes_of_encoded_ones(family, clip):
    loaded = tiny(family)
    inputs = preprocess(loaded, read_clip(clip, 4), ("What?", "Where is it?"))
    request = draw_request(loaded, on_meta(loaded.model), inputs)
    kind = require_family(family)
    with torch.no_grad():
        encoded, _ = encode_video(loaded.model.base_model, kind, inputs)
    drawn = tensors(request.encoded)
    assert [(one.shape, one.dtype) for one in drawn] == [(one.shape, one.dtype) for one in tensors(encoded)]
    assert all(float(one.std()) == pytest.approx(1.0, abs=0.2) for one in drawn)
    assert all(map(torch.equal, drawn, tensors(draw_request(loaded, on_meta(loaded.model), inputs).encoded)))
    pixels = request.inputs[kind.pixels]
    assert pixels.shape == inputs[kind.pixels].shape
    assert pixels.untyped_storage().nbytes() == pixels.element_size()


def tensors(encoded) -> list[torch.Tensor]:
    pooled = encoded.pooler_output
    videos = [pooled] if isinstance(pooled, torch.Tensor) else list(pooled)
    deep = getattr(encoded, "deepstack_features", None) or []
    return videos + [video for layer in deep for video in layer]


def test_an_encoder_that_needs_data_is_refused(clip):
    loaded = tiny("smolvlm")
    inputs = preprocess(loaded, read_clip(clip, 4), ("What?",))
    with pytest.raises(InputError, match=r"smolvlm, whose encoder does not say .* published sizes"):
        draw_request(loaded, on_meta(loaded.model), inputs)


def test_cheap_points_come_first_and_none_twice():
    points = GrowthSpec().points
    assert points[0] == (8, 1)
    assert points[-2:] == [(128, 1), (256, 1)]
    assert len(points) == len(set(points)) == 6 + 4 - 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"frames": ()}, "GrowthSpec.frames is ()"),
        ({"frames": (8, 8)}, "each once"),
        ({"batches": ()}, "GrowthSpec.batches is ()"),
        ({"batches": (0,)}, "batch is 0"),
        ({"frames": (8, 1.5)}, "frames is 1.5"),
        ({"repeats": 0}, "repeats is 0"),
        ({"minutes": -1}, "minutes is -1"),
        ({"config": SharpVConfig(memory_threshold=None)}, "retention='adaptive'"),
        ({"config": SharpVConfig(retention=0.5)}, "memory_threshold=0.2: give a share and None"),
        ({"config": SharpVConfig(threshold=1.0, memory_threshold=None)}, "give a share"),
    ],
)
def test_what_cannot_be_grown_is_refused(given, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace(")", r"\)")):
        GrowthSpec(**given)
