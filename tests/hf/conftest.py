"""Tiny random models of every supported family, and requests for them."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch

from sharpv import SharpVConfig
from sharpv._compat import installed_transformers
from sharpv.hf.cache import CACHE
from sharpv.hf.families import FAMILIES
from sharpv.tiny.random import RANDOM_MODELS

REPRESENTATIVES = ("llava_onevision", "qwen2_5_vl")
"""Families that stand for the others: one with 1-D positions and stacked features, one with M-RoPE."""

NEEDS = {"perception_lm": "timm", "smolvlm": "num2words"}
"""Packages of transformers' own that a family cannot do without."""

PROCESSING = {"video_llama_3": {"use_token_compression": False}}
"""How a family's processor has to be called."""

FORWARD_OF_GEMMA_4 = (5, 23)
"""From here on transformers passes the frame counts of videos on, without which a bare `forward()` fails."""

FRAMES = 6
GREEDY = {"max_new_tokens": 6, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
QUESTIONS = ("What?", "What happens in the end?", "Why?")
Config = partial(SharpVConfig, images_as_frames=True)
OFF = Config(retention=1.0, memory_threshold=None)
KEEP_ALL = Config(retention=1.0, memory_threshold=-1.0)
STAGE_1 = Config(memory_threshold=None)
TEXT_ONLY = Config(memory_threshold=2.0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two small models side by side run faster on a thread each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def built(family: str) -> tuple[Any, Any]:
    if family in NEEDS:
        pytest.importorskip(NEEDS[family])
    since = FAMILIES[family].since
    if since is not None and installed_transformers() < since:
        pytest.skip(f"{family} can be pruned from transformers {since} on")
    model, processor = RANDOM_MODELS[family](image_size=112)
    model.generation_config.eos_token_id = None
    if model._can_set_experts_implementation():
        # The default multiplies groups of experts, which it cannot in float64.
        model.set_experts_implementation("eager")
    return model, processor


@cache
def exact(family: str) -> list[torch.Tensor]:
    """Copies of the weights, and of the buffers, which a state dict does not hold all of."""
    return [tensor.clone() for tensor in tensors(built(family)[0])]


def tensors(model: Any) -> Iterator[torch.Tensor]:
    return chain(model.parameters(), model.buffers())


@pytest.fixture(params=REPRESENTATIVES)
def family(request) -> str:
    return request.param


@pytest.fixture
def model(family) -> Iterator[Any]:
    """The family's model in float32 with sdpa, as it was before."""
    model, _ = built(family)
    before = exact(family)
    yield model
    rounded = model.dtype.itemsize < torch.float32.itemsize
    model.float().set_attn_implementation("sdpa")
    if rounded:
        for tensor, value in zip(tensors(model), before, strict=True):
            tensor.data.copy_(value)
    if hasattr(model.model, "rope_deltas"):
        model.model.rope_deltas = None


@pytest.fixture
def processor(family) -> Any:
    return built(family)[1]


def clip(seed: int = 0, frames: int = FRAMES) -> np.ndarray:
    """Frames `[n, 120, 160, 3]` of which a part moves and the rest stays, with a little noise."""
    rng = np.random.default_rng(seed)
    video = np.repeat(rng.integers(0, 255, (1, 120, 160, 3)), frames, axis=0).astype(float)
    for t in range(frames):
        video[t, 30:70, 10 * t : 10 * t + 40] = rng.integers(0, 255, 3)
    return (video + rng.normal(0, 4, video.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def make_inputs(processor, family) -> Callable[..., dict[str, Any]]:
    """Builds what the processor returns for one prompt per list of clips; None is a prompt without video."""

    def make(*rows: list[np.ndarray], questions: tuple[str, ...] = QUESTIONS) -> dict[str, Any]:
        prompts = []
        for videos, question in zip(rows, questions, strict=False):
            content = [{"type": "video"} for _ in videos] + [{"type": "text", "text": question}]
            message = [{"role": "user", "content": content}]
            prompts.append(processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False))
        videos = [video for row in rows for video in row]
        metadata = [
            {"total_num_frames": len(video), "fps": 4.0, "frames_indices": list(range(len(video)))}
            for video in videos
        ]
        given = {"videos": videos, "video_metadata": metadata, "do_sample_frames": False} if videos else {}
        if family == "smolvlm" and videos:
            given["videos"] = rows  # before transformers 5.23 its processor knows no flat list
        given |= PROCESSING.get(family, {})
        return dict(processor(text=prompts, padding=True, return_tensors="pt", **given))

    return make


@pytest.fixture
def inputs(make_inputs) -> dict[str, Any]:
    """One prompt with one video."""
    return make_inputs([clip()])


@pytest.fixture
def batch(make_inputs) -> dict[str, Any]:
    """Two prompts of different length, each with its video; the first is padded on the left."""
    return make_inputs([clip(0)], [clip(1)])


@pytest.fixture(params=["sdpa", "eager"])
def attention(request, model) -> str:
    model.set_attn_implementation(request.param)
    return request.param


@pytest.fixture(params=[1, 2], ids=["batch1", "batch2"])
def requests(request, inputs, batch) -> dict:
    return inputs if request.param == 1 else batch


def video_tokens(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Where the placeholders of videos stand, bool `[B, L]`."""
    return inputs["input_ids"] == getattr(model.config, FAMILIES[model.config.model_type].placeholder)


def same_output(one: Any, other: Any) -> bool:
    """Whether two `generate()` outputs have bit for bit the same tokens and logits."""
    return torch.equal(one.sequences, other.sequences) and all(map(torch.equal, one.logits, other.logits))


def distance(one: Any, other: Any) -> float:
    """The largest difference between the logits of two `generate()` outputs."""
    return max(float((a - b).abs().max()) for a, b in zip(one.logits, other.logits, strict=True))


def interrupt(model: Any, inputs: dict[str, Any], call: Callable[[], Any]) -> None:
    """Generates one token, and runs `call` in the middle of it."""
    model.generate(**inputs, max_new_tokens=1, logits_processor=[lambda ids, scores: (call(), scores)[1]])


def next_positions(model, mask: torch.Tensor) -> torch.Tensor:
    """Position ids of the last column, as `generate()` counts them."""
    position_ids = (mask.cumsum(1) - 1)[:, -1:]
    if getattr(model.model, "rope_deltas", None) is None:
        return position_ids
    return (position_ids + model.model.rope_deltas).expand(3, -1, -1)


def forward_loop(model, requests, steps: int) -> list[torch.Tensor]:
    """Greedy decoding by bare forward passes; the logits of each step."""
    mask = requests["attention_mask"]
    whole = model._prepare_position_ids_for_generation(requests["input_ids"], dict(requests))
    out = model(**requests, position_ids=whole, use_cache=True, logits_to_keep=1)
    logits = [out.logits[:, -1]]
    for _ in range(steps - 1):
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        position_ids = next_positions(model, mask)
        out = model(
            input_ids=logits[-1].argmax(-1, keepdim=True),
            attention_mask=mask,
            position_ids=position_ids,
            **{CACHE: out[CACHE]},
        )
        logits.append(out.logits[:, -1])
    return logits


def second_turn(model: Any, processor: Any, requests: dict[str, Any]) -> tuple[Any, torch.Tensor]:
    """A turn of text after a request: the output, and the logits when it is fed token by token."""
    turn = processor.tokenizer("And then?", return_tensors="pt").input_ids
    first = model.generate(**requests, **GREEDY)
    ids = torch.cat([first.sequences, turn.expand(len(first.sequences), -1)], dim=1)
    missing = ids.shape[1] - requests["attention_mask"].shape[1]
    mask = torch.nn.functional.pad(requests["attention_mask"], (0, missing), value=1)
    second = model.generate(ids, attention_mask=mask, **{CACHE: first[CACHE]}, **GREEDY)
    assert torch.equal(second.sequences[:, : ids.shape[1]], ids)
    cache = model.generate(**requests, **GREEDY)[CACHE]
    for column in range(cache.get_seq_length(), ids.shape[1]):
        one = model(
            input_ids=ids[:, column : column + 1],
            attention_mask=mask[:, : column + 1],
            position_ids=next_positions(model, mask[:, : column + 1]),
            **{CACHE: cache},
        )
    return second, one.logits[:, -1]
