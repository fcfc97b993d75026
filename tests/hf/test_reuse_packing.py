"""The packed sequence, and packed passes against one that composes keys and values by hand."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from sharpv.hf.families import FAMILIES
from sharpv.hf.reuse import packed_attention
from sharpv.hf.reuse.fixed_grid import with_class_rows
from sharpv.hf.reuse.packing import pack
from sharpv.hf.reuse.supported import REUSABLE, reusable_tower

FIXED = ("internvl", "llava_next_video", "llava_onevision", "video_llava")


def families(names: Any) -> Any:
    return pytest.mark.parametrize("family", sorted(names), indirect=True)


def random_source(n: int, f: int, seed: int = 0, share: float = 0.3) -> Tensor:
    """A valid plan: the first frame in full, one frame without a row of its own, one in full in between."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.zeros(n, f, dtype=torch.long)
    for t in range(1, n):
        earlier = torch.randint(0, t, (f,), generator=generator)
        # A source is always a computed row.
        reference = source[earlier, torch.arange(f)]
        own = torch.rand(f, generator=generator) < share
        own |= torch.tensor(t == n - 2)
        own &= torch.tensor(t != n - 3)
        source[t] = torch.where(own, t, reference)
    return source


def all_own(n: int, f: int) -> Tensor:
    return torch.arange(n).unsqueeze(1).expand(n, f)


@pytest.mark.parametrize("seed", range(5))
def test_every_place_is_served_by_the_row_of_its_source(seed):
    sources = [random_source(6, 10, seed), random_source(4, 7, seed + 10), all_own(2, 7)]
    packing = pack(sources)
    frame = torch.cat([source.flatten() for source in sources])
    place = torch.cat([torch.arange(source.shape[1]).repeat(len(source)) for source in sources])
    video = torch.cat([torch.full((source.numel(),), number) for number, source in enumerate(sources)])
    for label in (frame, place, video):
        assert torch.equal(label[packing.rows][packing.gather], label)
    own = torch.cat([(source == torch.arange(len(source)).unsqueeze(1)).flatten() for source in sources])
    assert torch.equal(packing.rows.sort().values, own.nonzero().flatten())


def test_frames_in_full_come_first_by_their_size():
    packing = pack([random_source(6, 10), all_own(2, 7)])
    assert packing.full == ((2, 10), (2, 7))
    assert packing.rows[:10].tolist() == list(range(10))
    assert packing.rows[20:34].tolist() == list(range(60, 74))
    assert [len(places) for _, places in packing.partial] == [10, 10, 10]
    assert sum(count for count, _ in packing.partial) + 34 == len(packing.rows)


def test_parts_of_frames_can_stand_for_frames():
    """As windows do: their rows are those of the frames, in another order."""
    sources = [random_source(6, 10, 1), random_source(4, 6, 2)]
    whole = pack(sources)
    places = [torch.arange(60).view(6, 10), 60 + torch.arange(24).view(4, 6)]
    windows = [(0, [0, 3]), (0, [1, 2, 4, 5, 6, 7, 8, 9]), (1, [5, 4]), (1, [0, 1, 2, 3])]
    parts = pack([sources[v][:, w] for v, w in windows], [places[v][:, w] for v, w in windows])
    within = parts.within(whole)
    assert torch.equal(whole.rows[within.order], parts.rows)
    assert torch.equal(parts.rows[parts.gather], whole.rows[whole.gather])
    in_full = sum(frames * size for frames, size in parts.full)
    assert sum(count for count, _ in parts.partial) == len(parts.rows) - in_full
    for _, keys in parts.partial:
        # Each looks at rows of its own window.
        assert {int(place) % 10 for place in parts.rows[keys] if place < 60} in (
            set(),
            {0, 3},
            {*range(10)} - {0, 3},
        )


def test_a_class_token_is_computed_where_anything_is():
    source = torch.tensor([[0, 0, 0], [1, 1, 0], [0, 1, 0], [1, 1, 0], [0, 4, 0]])
    assert with_class_rows(source)[:, 0].tolist() == [0, 1, 0, 1, 4]
    assert torch.equal(with_class_rows(source)[:, 1:], source)


def pixels_of(model: Any, frames: int) -> Tensor:
    side = model.config.vision_config.image_size
    side = side if isinstance(side, int) else side[0]
    return torch.randn(frames, 3, side, side, generator=torch.Generator().manual_seed(1))


def encode(tower: Any, pixels: Tensor, **more: Any) -> list[Tensor]:
    """The hidden states before and after each layer, and the tower's last one, `[frames, f, d]`."""
    with torch.no_grad():
        output = tower(pixels, output_hidden_states=True, **more)
    return [*output.hidden_states, output.last_hidden_state]


def parts_of(tower: Any) -> tuple[Any, Any, Any]:
    """What a tower does before its layers, the layers, and what it does after them."""
    if tower.config.model_type == "internvl_vision":
        return tower.embeddings, tower.encoder.layer, tower.layernorm
    if tower.config.model_type == "clip_vision_model":
        return lambda pixels: tower.pre_layrnorm(tower.embeddings(pixels)), tower.encoder.layers, lambda x: x
    return tower.embeddings, tower.encoder.layers, tower.post_layernorm


def attend(attention: Any, rows: Tensor, keys: Tensor) -> Tensor:
    """Plain attention of rows `[q, d]` to keys `[k, d]`, in the module's own weights."""
    heads = attention.num_heads
    out = getattr(attention, "out_proj", None) or attention.projection_layer
    project = (attention.q_proj(rows), attention.k_proj(keys), attention.v_proj(keys))
    return out(attend_to(*(part.unflatten(-1, (heads, -1)) for part in project)))


def attend_to(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention of `[q, heads, d]` to `[k, heads, d]` where a mask `[q, k]` allows it, `[q, heads * d]`."""
    query, key, value = (part.transpose(0, 1) for part in (query, key, value))
    products = query @ key.mT * query.shape[-1] ** -0.5
    if mask is not None:
        products = products.masked_fill(~mask, -torch.inf)
    return (products.softmax(-1) @ value).transpose(0, 1).flatten(1)


def block(layer: Any, rows: Tensor, keys: Tensor) -> Tensor:
    """One layer on rows `[q, d]` that look at `[k, d]`."""
    if hasattr(layer, "lambda_1"):
        before, after, attention = layer.layernorm_before, layer.layernorm_after, layer.attention
        rows = rows + layer.lambda_1 * attend(attention, before(rows), before(keys))
        return rows + layer.lambda_2 * layer.mlp(after(rows))
    rows = rows + attend(layer.self_attn, layer.layer_norm1(rows), layer.layer_norm1(keys))
    return rows + layer.mlp(layer.layer_norm2(rows))


@torch.no_grad()
def by_hand(tower: Any, pixels: Tensor, source: Tensor) -> list[Tensor]:
    """The definition, frame by frame: in each layer, keys and values of a frame are its sources' rows."""
    before, layers, after = parts_of(tower)
    n, f = source.shape
    everything = before(pixels)
    states = [{(t, i): everything[t, i] for t in range(n) for i in range(f) if source[t, i] == t}]
    for layer in layers:
        last, now = states[-1], {}
        for t in range(n):
            own = [i for i in range(f) if source[t, i] == t]
            if own:
                keys = torch.stack([last[int(source[t, i]), i] for i in range(f)])
                new = block(layer, torch.stack([last[t, i] for i in own]), keys)
                now |= {(t, i): row for i, row in zip(own, new, strict=True)}
        states.append(now)
    whole = [
        torch.stack([torch.stack([state[int(source[t, i]), i] for i in range(f)]) for t in range(n)])
        for state in states
    ]
    return [*whole, after(whole[-1])]


@pytest.fixture
def choosy(model) -> Iterator[None]:
    """Attention far from uniform, which random weights of a new model give."""
    _, way = reusable_tower(model.base_model, FAMILIES[model.config.model_type])
    tower = model.base_model.get_submodule(REUSABLE[model.config.model_type])
    weights = [
        layer.weight
        for module in way.attention_modules(tower)
        for layer in (getattr(module, name, None) for name in ("qkv", "q_proj", "k_proj"))
        if layer is not None
    ]
    before = [weight.detach().clone() for weight in weights]
    for weight in weights:
        weight.data.mul_(8)
    yield
    for weight, value in zip(weights, before, strict=True):
        weight.data.copy_(value)


@families(FIXED)
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.usefixtures("choosy")
def test_a_packed_pass_is_the_definition(model, kernel, seed):
    model.set_attn_implementation(kernel)
    tower, way = reusable_tower(model.base_model, FAMILIES[model.config.model_type])
    pixels = pixels_of(model, 6)
    source = random_source(6, 64, seed)
    rows = with_class_rows(source) if way.class_token else source
    with way.packed(tower, {}, [source]):
        found = encode(tower, pixels)
    expected = by_hand(tower, pixels, rows)
    dense = encode(tower, pixels)
    assert len(found) == len(expected) == len(dense) == len(parts_of(tower)[1]) + 2
    for one, other, whole in zip(found, expected, dense, strict=True):
        assert one.shape == whole.shape
        torch.testing.assert_close(one, other, rtol=1e-4, atol=5e-5)
    assert float((found[-1] - dense[-1]).abs().max()) > 0.01
    # The definition itself, where everything is computed.
    torch.testing.assert_close(
        by_hand(tower, pixels, rows * 0 + all_own(6, 1))[-1], dense[-1], rtol=1e-4, atol=5e-5
    )


@families(FIXED)
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_where_everything_changed_features_are_dense(model, kernel):
    model.set_attn_implementation(kernel)
    tower, way = reusable_tower(model.base_model, FAMILIES[model.config.model_type])
    pixels = pixels_of(model, 5)
    with way.packed(tower, {}, [all_own(2, 64), all_own(3, 64)]):
        found = encode(tower, pixels)
    for one, other in zip(found, encode(tower, pixels), strict=True):
        assert float((one - other).abs().max()) <= 1e-5
    model.bfloat16()
    pixels = pixels.bfloat16()
    dense = encode(tower, pixels)[-1]
    with way.packed(tower, {}, [all_own(5, 64)]):
        alike = cosines(encode(tower, pixels)[-1], dense)
    assert alike.min() >= 0.9999
    source = random_source(5, 64)
    expected = by_hand(tower, pixels, with_class_rows(source) if way.class_token else source)[-1]
    with way.packed(tower, {}, [source]):
        alike = cosines(encode(tower, pixels)[-1], expected)
    assert alike.min() >= 0.999
    assert alike.mean() >= 0.9999
    assert cosines(expected, dense).mean() < 0.999


def cosines(one: Tensor, other: Tensor) -> Tensor:
    return torch.cosine_similarity(one.float(), other.float(), dim=-1)


@families(FIXED)
def test_a_static_clip_costs_one_frame(model):
    tower, way = reusable_tower(model.base_model, FAMILIES[model.config.model_type])
    frame = pixels_of(model, 1)
    seen = []
    layer = parts_of(tower)[1][0]
    hook = layer.register_forward_pre_hook(
        lambda module, args, given: seen.append((args or tuple(given.values()))[0].shape), with_kwargs=True
    )
    with way.packed(tower, {}, [torch.zeros(5, 64, dtype=torch.long)]):
        found = encode(tower, frame.expand(5, -1, -1, -1))
    hook.remove()
    assert packed_attention._RUNNING.get() is None
    assert seen == [torch.Size([1, 64 + way.class_token, 32])]
    dense = encode(tower, frame)
    for one, other in zip(found, dense, strict=True):
        assert all(torch.equal(row, other[0]) for row in one)


@families(FIXED)
def test_two_videos_are_each_as_alone(model):
    tower, way = reusable_tower(model.base_model, FAMILIES[model.config.model_type])
    pixels = pixels_of(model, 9)
    sources = [random_source(5, 64, 3), random_source(4, 64, 4)]
    with way.packed(tower, {}, sources):
        together = encode(tower, pixels)[-1]
    alone = []
    for frames, source in zip(pixels.split([5, 4]), sources, strict=True):
        with way.packed(tower, {}, [source]):
            alone.append(encode(tower, frames)[-1])
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)


def stand_in_for_flash_attention(monkeypatch, attention, calls):
    """Sets a module to a kernel of the tests; `calls` gets the numbers of parts of queries and keys."""

    def flash(module, query, key, value, attention_mask, scaling, **options):
        borders = options["cu_seq_lens_q"], options["cu_seq_lens_k"]
        calls.append([len(border) - 1 for border in borders])
        assert all(border.dtype == torch.int32 for border in borders)
        assert [int(border.diff().max()) for border in borders] == [
            options["max_length_q"],
            options["max_length_k"],
        ]
        q = query.split(borders[0].diff().tolist(), 2)
        kv = zip(*(part.split(borders[1].diff().tolist(), 2) for part in (key, value)), strict=True)
        out = [(one @ k.mT * scaling).softmax(-1) @ v for one, (k, v) in zip(q, kv, strict=True)]
        return torch.cat(out, 2).transpose(1, 2), None

    kernels = inspect.getmodule(type(attention)).ALL_ATTENTION_FUNCTIONS
    monkeypatch.setitem(kernels._local_mapping, "flash_attention_of_the_test", flash)
    monkeypatch.setitem(
        vars(attention.config), "_attn_implementation_internal", "flash_attention_of_the_test"
    )


@families(FIXED)
def test_flash_attention_gets_all_frames_in_one_call(model, monkeypatch):
    """By a kernel of the test's own, since FlashAttention runs on GPUs only."""
    tower, way = reusable_tower(model.base_model, FAMILIES[model.config.model_type])
    pixels, source = pixels_of(model, 6), random_source(6, 64)
    with way.packed(tower, {}, [source]):
        expected = encode(tower, pixels)[-1]
    attention = way.attention_modules(tower)[0]
    calls = []

    stand_in_for_flash_attention(monkeypatch, attention, calls)
    with way.packed(tower, {}, [source]):
        found = encode(tower, pixels)[-1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert calls == [[5, 5]] * len(parts_of(tower)[1])
