"""What the KV cache holds while a prompt is read, measured after each layer in bytes of storage."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

import sharpv
from sharpv.hf.cache import CACHE, PrunedLayer
from tests.hf.conftest import GREEDY, OFF, STAGE_1, TEXT_ONLY, Config, clip, video_tokens

ONLY_STAGE_2 = Config(retention=1.0, memory_threshold=2.0)


@pytest.fixture(params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def family(request) -> str:
    return request.param


@pytest.fixture(params=["one prompt", "ragged batch", "video and none"])
def requests(request, make_inputs, inputs, batch) -> dict[str, Any]:
    return {"one prompt": inputs, "ragged batch": batch, "video and none": None}[
        request.param
    ] or make_inputs([clip()], [])


def by_generate(model: Any, requests: dict[str, Any]) -> None:
    model.generate(**requests, **GREEDY | {"max_new_tokens": 1})


def by_forward(model: Any, requests: dict[str, Any]) -> None:
    with torch.no_grad():
        model(**requests)


@pytest.fixture(params=[by_generate, by_forward], ids=["generate", "forward"])
def read(request) -> Callable[[Any, dict[str, Any]], None]:
    return request.param


def storage_bytes(layer: Any) -> int:
    """Bytes of the storages behind a layer's keys and values, each counted once and in full."""
    states = [getattr(layer, "keys", None), getattr(layer, "values", None)]
    storages = {s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in states if t is not None)}
    return sum(storages.values())


def bytes_while_reading(model: Any, read: Callable[..., None], requests: dict[str, Any]) -> list[int]:
    """Bytes of the whole cache after each layer of the prefill."""
    held: list[int] = []

    def measure(module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        cache = kwargs[CACHE]
        held.append(sum(map(storage_bytes, cache.layers)))

    handles = [layer.register_forward_hook(measure, with_kwargs=True) for layer in model.get_decoder().layers]
    try:
        read(model, requests)
    finally:
        for handle in handles:
            handle.remove()
    return held


def growth(model: Any, rows: int, columns: int) -> list[int]:
    """Bytes after each layer where every layer holds `columns` float32 columns of `rows` rows."""
    config = model.config.get_text_config()
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_layer = 2 * rows * config.num_key_value_heads * columns * head_dim * 4
    return [per_layer * (index + 1) for index in range(config.num_hidden_layers)]


@pytest.mark.parametrize("config", [TEXT_ONLY, ONLY_STAGE_2], ids=["both stages", "stage 2"])
def test_during_prefill_the_cache_grows_by_text_only(model, read, requests, config):
    text = (requests["attention_mask"].bool() & ~video_tokens(model, requests)).sum(1)
    with sharpv.attach(model, config) as session:
        held = bytes_while_reading(model, read, requests)
    assert held == growth(model, len(text), int(text.max()))
    assert session.report.cache_bytes == held[-1]


def test_without_pruning_it_grows_by_the_whole_prompt(model, read, batch):
    whole = growth(model, *batch["input_ids"].shape)
    assert bytes_while_reading(model, read, batch) == whole
    with sharpv.attach(model, OFF):
        assert bytes_while_reading(model, read, batch) == whole


def test_stage_1_grows_by_what_it_keeps(model, read, requests):
    with sharpv.attach(model, STAGE_1) as session:
        held = bytes_while_reading(model, read, requests)
    kept = session.report.prompt_tokens_kept
    assert max(kept) < requests["input_ids"].shape[1]
    assert held == growth(model, len(kept), max(kept))


def test_a_layer_that_keeps_its_video_grows_by_it(model, inputs):
    """A threshold between the layers: what each adds follows from its own decision."""
    with sharpv.attach(model, Config(memory_threshold=-1.0)) as session:
        by_generate(model, inputs)
    similarity = sorted(layer.similarity[0] for layer in session.report.layers)
    with sharpv.attach(model, Config(memory_threshold=sum(similarity[1:3]) / 2)) as session:
        held = bytes_while_reading(model, by_generate, inputs)
    text = int((~video_tokens(model, inputs)).sum())
    (kept,) = session.report.prompt_tokens_kept
    expected, total = [], 0
    for layer in session.report.layers:
        total += growth(model, 1, text if layer.dropped[0] else kept)[0]
        expected.append(total)
    assert len({layer.dropped for layer in session.report.layers}) == 2
    assert held == expected


def test_images_beside_the_video_stay_in_the_cache(model, processor):
    parts = [{"type": "image"}, {"type": "video"}, {"type": "text", "text": "What?"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": parts}], tokenize=False)
    requests = dict(
        processor(
            text=[prompt], images=[clip(5)[0]], videos=[clip()], do_sample_frames=False, return_tensors="pt"
        )
    )
    rest = int((~video_tokens(model, requests)).sum())
    assert rest > int((requests["input_ids"] == model.config.image_token_id).sum()) > 0
    with sharpv.attach(model, TEXT_ONLY):
        assert bytes_while_reading(model, by_generate, requests) == growth(model, 1, rest)


def test_the_dropped_keys_are_released_as_soon_as_their_layer_has_run(model, inputs, monkeypatch):
    whole: list[weakref.ref] = []
    alive: list[int] = []
    update = PrunedLayer.update

    def remember(layer, keys, values, *args, **kwargs):
        made = update(layer, keys, values, *args, **kwargs)
        whole.extend(map(weakref.ref, made))
        return made

    def count(module: Any, args: Any, output: Any) -> None:
        alive.append(sum(reference() is not None for reference in whole))

    monkeypatch.setattr(PrunedLayer, "update", remember)
    with sharpv.attach(model, TEXT_ONLY):
        handles = [layer.register_forward_hook(count) for layer in model.get_decoder().layers]
        try:
            by_generate(model, inputs)
        finally:
            for handle in handles:
                handle.remove()
    assert len(whole) == 2 * len(alive) > 0
    assert not any(alive)


def test_beams_hold_text_only_in_every_copy(model, batch):
    text = int((batch["attention_mask"].bool() & ~video_tokens(model, batch)).sum(1).max())
    with sharpv.attach(model, TEXT_ONLY):
        beams = {"num_beams": 3, "max_new_tokens": 1, "do_sample": False}
        held = bytes_while_reading(model, lambda model, requests: model.generate(**requests, **beams), batch)
    layers = model.config.get_text_config().num_hidden_layers
    assert held[:layers] == growth(model, 3 * len(batch["input_ids"]), text)
