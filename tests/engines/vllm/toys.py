"""Toy models in vLLM and in transformers, and what they are asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sharpv
from sharpv import SharpVConfig

ARCHITECTURES = {
    "llava_onevision": "LlavaOnevisionForConditionalGeneration",
    "qwen2_vl": "Qwen2VLForConditionalGeneration",
    "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration",
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
}
NUM_TOKENS = "sharpv_num_tokens"
SIZE, FRAMES = 112, 8
NEW_TOKENS = 6
DEFAULT_KEEP = 0.5
"""What the servers here keep where a request asks for nothing."""


def clip(kind: str, frames: int = FRAMES) -> np.ndarray:
    """Returns uint8 `[frames, 112, 112, 3]`: a `still`, `noise`, or a `cut` in the middle of a moving bar."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (frames, SIZE, SIZE, 3), dtype=np.uint8)
    if kind == "noise":
        return noise
    video = noise[:1].repeat(frames, 0)
    if kind == "cut":
        video[frames // 2 :] = noise[1]
        for t in range(frames):
            video[t, 20:44, 8 * t : 8 * t + 24] = 255
    return video


def image() -> np.ndarray:
    return clip("noise")[3]


@dataclass(frozen=True)
class Ask:
    """One request: its media in order (`image`, or the kind of a clip), its share, and text before them."""

    media: tuple[str, ...]
    keep: float | str | None = None
    frames: int = FRAMES
    lead: str = ""

    def prompt(self, family: str) -> str:
        """Returns the text, with the placeholders of the family."""
        llava = family == "llava_onevision"
        written = [_placeholder("image" if kind == "image" else "video", llava) for kind in self.media]
        media = self.lead + "and".join(written)
        return f"<|im_start|>user\n{media}What happens?<|im_end|>\n<|im_start|>assistant\n"

    @property
    def videos(self) -> list[np.ndarray]:
        return [clip(kind, self.frames) for kind in self.media if kind != "image"]

    @property
    def images(self) -> list[np.ndarray]:
        return [image() for kind in self.media if kind == "image"]

    def for_vllm(self, family: str) -> dict[str, Any]:
        """Returns the request for `LLM.generate`."""
        with_metadata = family in ("qwen2_5_vl", "qwen3_vl")
        data: dict[str, Any] = {}
        if self.videos:
            data["video"] = [
                (video, metadata(len(video))) if with_metadata else video for video in self.videos
            ]
        if self.images:
            from PIL import Image  # noqa: PLC0415

            data["image"] = [Image.fromarray(each) for each in self.images]
        asked: dict[str, Any] = {"prompt": self.prompt(family)}
        if data:
            asked["multi_modal_data"] = data
        if self.keep is not None:
            asked["mm_processor_kwargs"] = {"sharpv_keep": self.keep}
        return asked

    def for_transformers(self, family: str, processor: Any) -> Any:
        """Returns the same request as the processor of the family lays it out, all tokens in."""
        extra: dict[str, Any] = {}
        if self.videos:
            extra["videos"] = self.videos
            if family in ("qwen2_5_vl", "qwen3_vl"):
                extra.update(video_metadata=[metadata(len(v)) for v in self.videos], do_sample_frames=False)
        if self.images:
            extra["images"] = self.images
        return processor(text=self.prompt(family), return_tensors="pt", **extra)


def _placeholder(modality: str, llava: bool) -> str:
    return f"<{modality}>\n" if llava else f"<|vision_start|><|{modality}_pad|><|vision_end|>"


def metadata(frames: int) -> dict[str, Any]:
    """Returns what vLLM and transformers know of a clip at 2 frames per second."""
    return {
        "fps": 2.0,
        "duration": frames / 2,
        "total_num_frames": frames,
        "frames_indices": list(range(frames)),
        "video_backend": "pyav",
    }


@dataclass
class Record:
    """What vLLM did with one request.

    Attributes:
        prompt: token ids of the prompt, as laid out.
        tokens: token ids of the answer, greedy.
        logprobs: of these tokens.
        cached: tokens of the prompt that the prefix cache had.
        positions: `[axes, L]`, what the LLM was told of the tokens that it read, prompt and answer.
        passes: where in the prompt and answer each pass of the LLM begins.
        embedded: what the model's encoder was given, what it returned, and what stock vLLM's would have.
    """

    prompt: list[int]
    tokens: list[int]
    logprobs: list[float]
    cached: int
    positions: Tensor
    passes: list[int]
    embedded: list[tuple[dict[str, Any], Any, Any]]


@dataclass(frozen=True)
class Expected:
    """What transformers does with a request whose videos are pruned to the same share."""

    length: int
    tokens: list[int]
    logprobs: list[float]


class Twin:
    """The same toy in transformers, with SharpV there."""

    def __init__(self, family: str, checkpoint: Path) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: PLC0415

        self.family = family
        self.model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
        self.processor = AutoProcessor.from_pretrained(checkpoint)
        self.model.generation_config.eos_token_id = None
        self.dim = self.model.config.text_config.hidden_size
        self.positions = "compact" if family == "llava_onevision" else "original"
        self.video_token = self.model.config.video_token_id

    @torch.no_grad()
    def answer(self, ask: Ask, positions: Tensor) -> Expected:
        """Answers a request, with the positions `[axes, L]` that vLLM gave its prompt."""
        keep = DEFAULT_KEEP if ask.keep is None else ask.keep
        inputs = ask.for_transformers(self.family, self.processor)
        given = sharpv.prune_inputs(
            self.model, inputs, SharpVConfig(retention=keep, positions=self.positions)
        )
        length = given["input_ids"].shape[1]
        if len(positions) > 1:
            # The first row is for text alone, and says only that nothing is packed.
            given["position_ids"] = torch.cat([torch.arange(length)[None], positions])[:, None]
        out = self.model.generate(
            **given,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        tokens = out.sequences[0, length:]
        steps = torch.cat(out.logits).log_softmax(-1)
        chosen = steps.gather(1, tokens[:, None]).flatten()
        return Expected(length, tokens.tolist(), chosen.tolist())


twin = cache(Twin)


@contextmanager
def engine(checkpoint: Path, **settings: Any) -> Iterator[Any]:
    """Starts vLLM in this process on a toy, and leaves nothing of it behind."""
    vllm = pytest.importorskip("vllm", reason="vLLM is not installed: run `make test-vllm`")
    from vllm.distributed import cleanup_dist_env_and_memory  # noqa: PLC0415

    llm = vllm.LLM(
        str(checkpoint),
        dtype="float32",
        max_model_len=4096,
        max_num_seqs=8,
        enforce_eager=True,
        enable_prefix_caching=True,
        block_size=32,
        limit_mm_per_prompt={"image": 2, "video": 2},
        **settings,
    )
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()
        cleanup_dist_env_and_memory()


def pruned(family: str, **options: Any) -> dict[str, Any]:
    """Returns the setting that asks vLLM for SharpV."""
    return {"hf_overrides": {"architectures": [f"SharpV{ARCHITECTURES[family]}"], "sharpv": options}}


def generate(llm: Any, family: str, asks: list[Ask]) -> list[Any]:
    """Answers some requests in one batch."""
    from vllm import SamplingParams  # noqa: PLC0415

    parameters = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True, logprobs=0)
    return llm.generate([ask.for_vllm(family) for ask in asks], parameters, use_tqdm=False)


def logprobs(output: Any) -> list[float]:
    """Returns those of the tokens of an answer."""
    return [next(iter(step.values())).logprob for step in output.outputs[0].logprobs]


def forget(llm: Any) -> None:
    """Empties the engine's caches of encoded media and of keys and values."""
    llm.reset_prefix_cache()
    llm.llm_engine.reset_encoder_cache()


def answer(llm: Any, family: str, ask: Ask, anew: bool = True) -> Record:
    """Answers one request, `anew` with empty caches, and records what the model saw meanwhile."""
    if anew:
        forget(llm)
    positions: list[Tensor] = []
    embedded: list[tuple[dict[str, Any], Any, Any]] = []

    def listen(model: Any) -> None:
        forward, embed = model.forward, model.embed_multimodal
        stock = next(c for c in type(model).__mro__ if c.__name__ == ARCHITECTURES[family])

        def heard_forward(*args: Any, **kwargs: Any) -> Any:
            positions.append(torch.atleast_2d(kwargs["positions"]).clone())
            return forward(*args, **kwargs)

        def heard_embed(**kwargs: Any) -> Any:
            returned = embed(**kwargs)
            pixels = {name: value for name, value in kwargs.items() if name != NUM_TOKENS}
            embedded.append((kwargs, returned, stock.embed_multimodal(model, **pixels)))
            return returned

        model.forward, model.embed_multimodal = heard_forward, heard_embed

    def deafen(model: Any) -> None:
        del model.forward, model.embed_multimodal

    llm.apply_model(listen)
    try:
        (output,) = generate(llm, family, [ask])
    finally:
        llm.apply_model(deafen)
    lengths = [each.shape[1] for each in positions]
    return Record(
        list(output.prompt_token_ids),
        list(output.outputs[0].token_ids),
        logprobs(output),
        output.num_cached_tokens,
        torch.cat(positions, dim=1),
        list(accumulate(lengths[:-1], initial=output.num_cached_tokens)),
        embedded,
    )
