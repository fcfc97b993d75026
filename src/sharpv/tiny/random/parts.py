"""What the builders share: sizes, the tokenizer, the chat template, and the seed."""

from collections.abc import Callable
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

__all__ = [
    "TEXT",
    "VISION",
    "Builder",
    "build_tokenizer",
    "chat_template",
    "seeded",
    "text_ids",
    "token_ids",
]

Builder = Callable[..., tuple[PreTrainedModel, ProcessorMixin]]
"""Takes `image_size` and `seed`; returns the model in float32 and its processor."""

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
}
"""The LLM of every family."""

VISION = {"hidden_size": 32, "intermediate_size": 64}
"""The vision tower of every family."""

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}VIDEO{% elif part['type'] == 'image' %}IMAGE"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(*special: str, **named: str) -> PreTrainedTokenizerFast:
    """Builds a byte-level tokenizer, which pads on the left.

    Args:
        special: special tokens of the family.
        named: those that its processor reads off the tokenizer, by the name it asks for.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([PAD, START, END, *special, *named.values()])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",
        extra_special_tokens=named,
    )


def token_ids(tokenizer: PreTrainedTokenizerFast, **tokens: str) -> dict[str, int]:
    """Returns the ids of tokens, by the names that a configuration has for them."""
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in tokens.items()}


def text_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int | None]:
    """Returns what a text configuration says of a tokenizer."""
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def chat_template(video: str, image: str) -> str:
    """Returns a chat template that writes `video` and `image` for parts of these types."""
    return CHAT_TEMPLATE.replace("VIDEO", video).replace("IMAGE", image)


def seeded(
    model_class: type[PreTrainedModel], config: Any, tokenizer: PreTrainedTokenizerFast, seed: int
) -> PreTrainedModel:
    """Builds a model with random weights, and leaves the global random generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config).float().eval()
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model
