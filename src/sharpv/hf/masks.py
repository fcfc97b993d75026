"""Which attention mask each layer of a pruned cache gets."""

from typing import Any

from transformers import PreTrainedConfig
from transformers.masking_utils import create_causal_mask

from sharpv.hf.cache import CACHE, PrunedLayer
from sharpv.hf.positions import upload
from sharpv.hf.step import Step

__all__ = ["set_layer_masks", "set_masks"]


def set_masks(step: Step, kwargs: dict[str, Any], config: PreTrainedConfig) -> None:
    """Gives every layer the attention mask of the columns that it holds.

    Args:
        step: the pass, which takes the masks of layers that do not share one.
        kwargs: arguments of the decoder, which take the mask of the others.
        config: of the decoder.
    """
    if step.cache is None:
        if step.gapped:
            # Without cache and mask, transformers reads gapped ids as several packed sequences.
            kwargs["attention_mask"] = upload(step.fed.long(), step.device)
        return
    layers = step.cache.layers or [PrunedLayer()]
    held = {index: layer for index, layer in enumerate(layers) if isinstance(layer, PrunedLayer)}
    if step.places is None and not any(layer.pruned for layer in held.values()):
        return
    for layer in held.values():
        layer.ready = True
    kwargs["attention_mask"] = step.padding(next(iter(held.values())))
    states = {index: layer.state for index, layer in held.items()}
    if len(set(states.values())) == 1:
        return
    made = {
        state: _mask(step, config, index, held[index])
        for state, index in {state: index for index, state in states.items()}.items()
    }
    # Most kinds of attention need none for a single token after a prompt without padding.
    if any(mask is not None for mask in made.values()):
        step.masks = {index: made[state] for index, state in states.items()}


def set_layer_masks(step: Step, config: PreTrainedConfig, indices: range) -> None:
    """Gives some layers the masks of a pass that is narrower than what the decoder is fed.

    Args:
        step: the pass as these layers are fed, which takes the masks.
        config: of the decoder.
        indices: of the layers.
    """
    known = [] if step.cache is None else step.cache.layers
    made: dict[Any, Any] = {}
    for index in indices:
        # A layer that the cache has yet to make is empty.
        layer = known[index] if index < len(known) else PrunedLayer()
        state = layer.state
        if state not in made:
            made[state] = _mask(step, config, index, layer)
        step.masks[index] = made[state]


def _mask(step: Step, config: PreTrainedConfig, index: int, layer: PrunedLayer) -> Any:
    return create_causal_mask(
        config=config,
        inputs_embeds=step.original,
        attention_mask=step.padding(layer),
        layer_idx=index,
        **{CACHE: step.cache},
    )
