"""How many floating-point operations a request takes, part by part, without running it."""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

from sharpv.bench.parts import Encoded, encode_in_parts
from sharpv.hf.cache import CACHE
from sharpv.hf.families import Family

__all__ = ["PrefillFlops", "encode_on_meta", "llm_flops", "on_meta", "paper_formula", "vision_flops"]

logger = logging.getLogger(__name__)

LENGTHS = (16, 32, 48, 64)


class _ToMeta(TorchDispatchMode):
    """Takes what meets a tensor without data for one itself: towers compute their grids on the CPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(isinstance(leaf, Tensor) and leaf.is_meta for leaf in tree_leaves((args, kwargs))):
            args, kwargs = tree_map(_to_meta, (args, kwargs))
        return func(*args, **kwargs)


def _to_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) else value


def on_meta(model: Any) -> Any:
    """Returns a model of the same class, configuration and dtype that has shapes and no data."""
    with torch.device("meta"):
        return type(model)(copy.deepcopy(model.config)).to(model.dtype).eval()


def vision_flops(model: Any, family: Family, inputs: Mapping[str, Any]) -> tuple[int, int | None]:
    """Counts the encoding of the videos of a request.

    Args:
        model: from `on_meta`.
        family: of it.
        inputs: what the processor returned; only shapes and the grids of patches are read.

    Returns:
        Operations of the vision tower, and of the projector; see `Encoded` for the border.
    """
    with FlopCounterMode(display=False) as counter:
        encoded = encode_on_meta(model, family, inputs, counter.get_total_flops)
    projector = encoded.projector
    return int(encoded.tower), None if projector is None else int(projector)


def encode_on_meta(
    model: Any, family: Family, inputs: Mapping[str, Any], meter: Callable[[], float] = lambda: 0
) -> Encoded:
    """Encodes the videos of a request without data: the output has shapes and dtypes only.

    Args:
        model: from `on_meta`.
        family: of it.
        inputs: as for `vision_flops`.
        meter: as for `encode_in_parts`.

    Raises:
        RuntimeError: an encoder that asks its numbers for data, or NotImplementedError.
    """
    given = {name: _to_meta(value) if _is_float(value) else value for name, value in inputs.items()}
    with torch.no_grad(), _ToMeta():
        return encode_in_parts(model.base_model, family, given, meter)


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def llm_flops(model: Any, batch: int, tokens: int) -> tuple[int, int]:
    """Counts what the LLM does for prompts of equal length.

    `torch.utils.flop_counter` counts 2 operations per multiply-accumulate of every matrix product; norms,
    activations and softmax are not counted. Attention is counted over the full square of tokens, also above
    the diagonal, which kernels may skip.

    Args:
        model: from `on_meta`.
        batch: rows.
        tokens: of each row.

    Returns:
        Operations of the prefill, with the head on each row's last token, and of one decoding step after it.
    """
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    width = model.get_input_embeddings().weight.shape[1]
    embedded = torch.empty(batch, tokens, width, dtype=model.dtype, device="meta")
    with torch.no_grad(), _ToMeta(), FlopCounterMode(display=False) as counter:
        output = decoder(inputs_embeds=embedded, use_cache=True)
        head(output.last_hidden_state[:, -1:])
        prefill = counter.get_total_flops()
        output = decoder(inputs_embeds=embedded[:, :1], use_cache=True, **{CACHE: output[CACHE]})
        head(output.last_hidden_state)
        return prefill, counter.get_total_flops() - prefill


def paper_formula(text_config: Any, tokens: int) -> int:
    """Returns L (4 n d^2 + 2 n^2 d + 2 n d m): what papers on token pruning give as the FLOPs of a prefill.

    It is FastV's (arXiv 2403.06764), which the papers after it took over, and counts
    multiply-accumulates of a layer with as many heads of keys as of queries and two matrices in its MLP. The
    exact count differs by the factor 2, by the third matrix of gated MLPs (3 n d m), by fewer heads of keys,
    and by the head.

    Args:
        text_config: with `num_hidden_layers` (L), `hidden_size` (d), `intermediate_size` (m).
        tokens: n, of one row.
    """
    n, d, m = tokens, text_config.hidden_size, text_config.intermediate_size
    return int(text_config.num_hidden_layers * (4 * n * d**2 + 2 * n**2 * d + 2 * n * d * m))


class PrefillFlops:
    """What prefills of one model cost, by the tokens that each of its layers reads.

    The decoder's layers are taken as alike: the count of one that reads n tokens is that of a whole prefill
    of n, over the number of layers. In a decoder of full attention, four lengths are counted, and the others
    follow from the polynomial of second degree through three of them, which the fourth confirms; else each is
    counted. A decoder that asks its numbers for data cannot be counted: there is a warning, and None.
    """

    def __init__(self, model: Any) -> None:
        self._config = model.config.get_text_config()
        self._model = on_meta(model)
        self._counts: dict[int, int] = {}
        kinds = set(getattr(self._config, "layer_types", None) or ())
        self._foretold = kinds <= {"full_attention"}
        self._countable = True

    def exact(self, tokens: Sequence[float]) -> float | None:
        """Returns the operations of a prompt by `llm_flops`, with the head on its last token.

        Args:
            tokens: of one row, read by each layer; one number stands for all of them.
        """
        if not self._countable:
            return None
        try:
            return fmean(self._count(round(number)) for number in tokens)
        except (NotImplementedError, RuntimeError) as error:
            self._countable = False
            logger.warning("the FLOPs of %s cannot be counted: %s", self._config.model_type, error)
            return None

    def paper(self, tokens: Sequence[float]) -> float:
        """Returns the same by `paper_formula`."""
        return fmean(paper_formula(self._config, round(number)) for number in tokens)

    def _count(self, tokens: int) -> int:
        if not self._foretold:
            return self._counted(tokens)
        first, second, third, last = map(self._counted, LENGTHS)
        if last - 3 * third + 3 * second - first:
            return self._counted(tokens)
        # Newton's forward differences, in whole numbers.
        step = LENGTHS[1] - LENGTHS[0]
        away = tokens - LENGTHS[0]
        slope, bend = second - first, third - 2 * second + first
        return first + (2 * step * away * slope + away * (away - step) * bend) // (2 * step**2)

    def _counted(self, tokens: int) -> int:
        if tokens not in self._counts:
            self._counts[tokens] = llm_flops(self._model, 1, tokens)[0]
        return self._counts[tokens]
