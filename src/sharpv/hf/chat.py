"""A conversation with videos and images, answered as it is written: what a server asks of a model."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from jinja2 import TemplateError
from PIL.Image import Image
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList, TextStreamer

from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from sharpv.hf.ask import VideoModel, check_text, process
from sharpv.hf.attach import attach
from sharpv.hf.families import require_family
from sharpv.report import Report
from sharpv.video import Video

__all__ = ["Decoding", "Message", "Part", "Reply", "chat"]

Part = str | Video | Image
P = TypeVar("P", str, Video, Image)

LEAST_TEMPERATURE = 0.01
# What else a checkpoint may cut of the distribution, such as Qwen2-VL's `top_k` of 1, which is greedy.
UNCUT = {"top_k": 0, "min_p": 0.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: "system", "user" or "assistant".
        parts: text, videos and RGB images, in their order.
    """

    role: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How the answer is chosen.

    Attributes:
        max_new_tokens: the most tokens of the answer.
        temperature: of sampling; below 0.01, by which logits cannot well be divided, it is greedy.
        top_p: share of the probability that sampling draws from.
        seed: of sampling; None draws another one.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said, and what it cost.

    Attributes:
        text: without special tokens, and without spaces at its ends.
        tokens: of the answer.
        finished: whether the model ended it; else it was cut at `max_new_tokens`, or stopped.
        report: of the request.
    """

    text: str
    tokens: int
    finished: bool
    report: Report


def chat(
    loaded: VideoModel,
    messages: Sequence[Message],
    config: SharpVConfig,
    decoding: Decoding,
    method: str = "sharpv",
    on_text: Callable[[str], object] = lambda text: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Reply:
    """Answers the last message of a conversation.

    One user's message of a video and a question is answered as `sharpv.hf.ask.ask` answers it.

    Args:
        loaded: the model.
        messages: the whole conversation.
        config: what to keep of the videos.
        decoding: how the answer is chosen.
        method: what chooses the tokens, as for `attach`.
        on_text: is given the answer piece by piece; together they are `Reply.text`.
        stopped: is asked after every token whether to stop.

    Raises:
        InputError: the conversation, a clip or the method cannot be used.
    """
    model, tokenizer = loaded.model, loaded.processor.tokenizer
    try:
        inputs = _inputs(loaded, messages)
    except InputError:
        raise
    except (ValueError, TemplateError) as error:  # of the processor, or of its chat template
        raise InputError(
            f"the model's processor refuses the conversation: {error}; send its parts in another way"
        ) from error
    inputs = inputs.to(model.device, model.dtype)
    length = inputs["input_ids"].shape[1]
    _check_length(model.config, length, decoding.max_new_tokens)
    if require_family(model.config.model_type).modality == "image":
        config = replace(config, images_as_frames=bool(_parts(messages, Video)))
    _sow(decoding.seed)
    with attach(model, config, method=method) as session:
        output = model.generate(
            **inputs,
            **_options(decoding),
            streamer=_Streamer(tokenizer, on_text),
            stopping_criteria=StoppingCriteriaList([_Stopped(stopped)]),
        )
        report = session.reports[-1]
    new = output[0, length:].tolist()
    text = tokenizer.decode(new, skip_special_tokens=True).strip()
    return Reply(text, len(new), new[-1] in _ends(model), report)


def _inputs(loaded: VideoModel, messages: Sequence[Message]) -> Any:
    """Returns what the processor makes of a conversation, with the model's own chat template."""
    processor, images, videos = loaded.processor, _parts(messages, Image), _parts(messages, Video)
    # Templates join the texts of a message, also those that a picture stands between.
    check_text(processor, ["".join(_parts([message], str)) for message in messages])
    as_images = require_family(loaded.model.config.model_type).modality == "image"
    if as_images and videos and (images or len(videos) > 1):
        raise InputError(
            f"got {len(videos)} videos and {len(images)} images for a model that is shown a video as images: "
            "send one video and no image, or images alone"
        )
    conversation = [
        {"role": message.role, "content": [_described(part) for part in message.parts]}
        for message in messages
    ]
    prompt = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    return process(processor, [prompt], [videos], **({"images": [images]} if images else {}))


def _parts(messages: Iterable[Message], kind: type[P]) -> list[P]:
    return [part for message in messages for part in message.parts if isinstance(part, kind)]


def _described(part: Part) -> dict[str, str]:
    """Returns a part as chat templates know it."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "video" if isinstance(part, Video) else "image"}


def _check_length(config: Any, prompt: int, answer: int) -> None:
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    if most is not None and prompt + answer > most:
        raise InputError(
            f"got a prompt of {prompt} tokens, before pruning, and up to {answer} of the answer: the model "
            f"reads {most}; send fewer frames, or a shorter conversation"
        )


def _sow(seed: int | None) -> None:
    if seed is None:
        torch.seed()  # else it would go on from the seed of another request
    else:
        torch.manual_seed(seed)


def _options(decoding: Decoding) -> dict[str, Any]:
    options: dict[str, Any] = {"max_new_tokens": decoding.max_new_tokens, "do_sample": False}
    if decoding.temperature >= LEAST_TEMPERATURE:
        options |= {"do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p, **UNCUT}
    return options


def _ends(model: Any) -> list[int]:
    """Returns the tokens that end an answer."""
    ends = model.generation_config.eos_token_id
    return ends if isinstance(ends, list) else [ends]


class _Streamer(TextStreamer):
    """Passes on the text that stands, without spaces at either end of the answer."""

    def __init__(self, tokenizer: Any, on_text: Callable[[str], object]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._on_text = on_text
        self._begun = False
        self._spaces = ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Keeps spaces back until more text follows."""
        text = self._spaces + text if self._begun else text.lstrip()
        shown = text.rstrip()
        self._spaces = text[len(shown) :]
        if shown:
            self._begun = True
            self._on_text(shown)


class _Stopped(StoppingCriteria):
    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Any:
        return torch.full((len(input_ids),), self._stopped(), dtype=torch.bool, device=input_ids.device)
