"""The toy model before training: its sizes, its words, and how a prompt is laid out."""

from dataclasses import dataclass

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)

from sharpv.shapesqa import CAPTION, FAMILIES
from sharpv.shapesqa.questions import ORDER

__all__ = ["DETAILS", "END", "LISTS", "START", "Sizes", "build_model", "build_processor", "build_tokenizer"]

PAD, UNKNOWN, START, END, VIDEO, IMAGE = "<pad>", "<unk>", "<|im_start|>", "<|im_end|>", "<video>", "<image>"
SPECIAL = (PAD, UNKNOWN, START, END, VIDEO, IMAGE)

DETAILS, LISTS = "Describe each shape.", "List the shapes."
"""Two questions that only training asks; their answers tie every attribute to its colour, both ways."""

SENTENCES = (
    CAPTION,
    DETAILS,
    LISTS,
    "Which way does the red shape move?",
    "Where does the red shape start?",
    "Where is the red shape at the end?",
    "How many shapes move?",
    "How many shapes are there?",
    "Does the scene change?",
    "What shape is the red one?",
    "What shape is the one that moves?",
    "What colour is the shape that moves?",
    *ORDER,
    "Which colour disappears?",
    "a red circle moves left. an orange ring stays. a blue cross comes and goes. the scene changes.",
    "from to one two",
    "user assistant system",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<video>{% elif part['type'] == 'image' %}<image>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The model's sizes.

    Attributes:
        image: side of a frame in pixels.
        patch: side of a patch in pixels; 2 x 2 patches make one token.
        vision_hidden, vision_mlp, vision_layers, vision_heads: of the vision tower.
        hidden, mlp, layers, heads, kv_heads: of the LLM.
    """

    image: int = 64
    patch: int = 4
    vision_hidden: int = 96
    vision_mlp: int = 288
    vision_layers: int = 2
    vision_heads: int = 2
    hidden: int = 192
    mlp: int = 352
    layers: int = 6
    heads: int = 3
    kv_heads: int = 3

    @property
    def side(self) -> int:
        """Patches along a frame's side."""
        return self.image // self.patch

    @property
    def tokens_per_frame(self) -> int:
        """Tokens f of a frame after 2 x 2 pooling."""
        return (self.side // 2) ** 2


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Builds the word-level tokenizer: the words of ShapesQA, lower case, punctuation apart."""
    split = pre_tokenizers.Split(Regex(r"[\w\-]+|[^\w\s]"), "removed", invert=True)
    normalizer = normalizers.Lowercase()
    words: set[str] = set()
    for text in (*SENTENCES, *(option for options in FAMILIES.values() for option in options)):
        words |= {word for word, _ in split.pre_tokenize_str(normalizer.normalize_str(text))}
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *sorted(words)))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, split
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=None,
        eos_token=END,
        extra_special_tokens={"video_token": VIDEO, "image_token": IMAGE},
        padding_side="left",
    )


def build_processor(sizes: Sizes) -> LlavaOnevisionProcessor:
    """Builds the processor: frames of any size to the model's, and the chat template."""
    pixels = {
        "size": {"height": sizes.image, "width": sizes.image},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    return LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(**pixels, image_grid_pinpoints=[[sizes.image, sizes.image]]),
        build_tokenizer(),
        LlavaOnevisionVideoProcessor(**pixels),
        num_image_tokens=sizes.side**2,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )


def build_model(sizes: Sizes, tokenizer: PreTrainedTokenizerFast) -> LlavaOnevisionForConditionalGeneration:
    """Builds the model with fresh weights."""
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in (PAD, END, VIDEO, IMAGE)}
    vision = SiglipVisionConfig(
        hidden_size=sizes.vision_hidden,
        intermediate_size=sizes.vision_mlp,
        num_hidden_layers=sizes.vision_layers,
        num_attention_heads=sizes.vision_heads,
        image_size=sizes.image,
        patch_size=sizes.patch,
        vision_use_head=False,
    )
    text = Qwen2Config(
        vocab_size=-(-len(tokenizer) // 16) * 16,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.mlp,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        tie_word_embeddings=True,
        pad_token_id=ids[PAD],
        bos_token_id=None,
        eos_token_id=ids[END],
    )
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=ids[IMAGE],
        video_token_id=ids[VIDEO],
        image_grid_pinpoints=[[sizes.image, sizes.image]],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    model = LlavaOnevisionForConditionalGeneration(config)
    model.generation_config.eos_token_id = ids[END]
    model.generation_config.pad_token_id = ids[PAD]
    return model
