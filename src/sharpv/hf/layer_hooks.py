"""What a session does at the decoder's layers during one pass."""

from collections.abc import Callable
from functools import partial
from math import isnan
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.cache_utils import Cache

from sharpv.config import SharpVConfig
from sharpv.core.memory import discard
from sharpv.hf.cache import PrunedLayer
from sharpv.hf.inside import Leaving
from sharpv.hf.positions import gather_columns
from sharpv.hf.request import Request
from sharpv.hf.step import Step
from sharpv.report import LayerReport

__all__ = ["LayerHooks"]


class LayerHooks:
    """The hooks on the layers of a decoder, as far as one pass needs them, until `remove()`.

    Args:
        decoder: with its `layers`.
        step: the pass, as the decoder is fed.
        config: of the session.
        request: takes the records of stage 2; None where none is running.
        leaving: visual tokens that leave inside the LLM; None where none does.
    """

    _similarity: Callable[[], Tensor]

    def __init__(
        self,
        decoder: Any,
        step: Step,
        config: SharpVConfig,
        request: Request | None,
        leaving: Leaving | None,
    ) -> None:
        self.step, self.config, self.request, self.leaving = step, config, request, leaving
        self._handles: list[RemovableHandle] = [] if leaving is None else leaving.listen()
        prepared = step.gapped or bool(step.masks) or step.probed
        for index, layer in enumerate(decoder.layers):
            if prepared or (leaving is not None and index >= leaving.layer):
                before = partial(self.before_layer, index)
                self._handles.append(layer.register_forward_pre_hook(before, with_kwargs=True))
            # Before the hooks of others: the visual columns are gone when they look at the cache.
            if leaving is not None and leaving.layer <= index < leaving.whole_until:
                self._handles.append(layer.register_forward_hook(leaving.widen, prepend=True))
            if step.probed and step.cache is not None and config.memory_threshold is not None:
                after = partial(self.after_layer, index, step.cache, config.memory_threshold)
                self._handles.append(layer.register_forward_hook(after, prepend=True))

    def remove(self) -> None:
        """Takes the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if self.leaving is not None:
            self.leaving.stop()

    def step_at(self, index: int) -> Step:
        """Returns the pass as a layer is fed."""
        if self.leaving is None or self.leaving.narrow is None or index < self.leaving.layer:
            return self.step
        return self.leaving.narrow

    def before_layer(
        self, index: int, module: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Hands a layer what stays and its mask, and probes what enters it."""
        if self.leaving is not None and index >= self.leaving.layer:
            args, kwargs = self.leaving.before_layer(index, args, kwargs)
        step = self.step_at(index)
        if step.gapped:
            # FlashAttention would split a single prompt at its gaps; the rotary embedding is already
            # computed.
            kwargs["position_ids"] = None
        if index in step.masks:
            kwargs["attention_mask"] = step.masks[index]
        if step.probed and self.config.memory_probe == "input":
            self._similarity = step.probe(args[0] if args else kwargs["hidden_states"])
        return args, kwargs

    def after_layer(
        self, index: int, cache: Cache, threshold: float, module: nn.Module, args: Any, output: Any
    ) -> None:
        """Stage 2: takes the visual columns out of the layer's cache if it gives them up."""
        step, layer = self.step_at(index), cache.layers[index]
        if not isinstance(layer, PrunedLayer):
            return
        if self.config.memory_probe == "output":
            self._similarity = step.probe(output[0] if isinstance(output, tuple) else output)
        similarity = self._similarity()
        dropped = discard(similarity, threshold).tolist()
        self._record(index, step, similarity.tolist(), dropped)
        step.settle(layer, dropped)

    def _record(self, index: int, step: Step, similarity: list[float], dropped: list[bool]) -> None:
        request, rows = self.request, slice(None, None, step.repeats)
        if request is not None and all(known.layer < index for known in request.layers):
            known = tuple(None if isnan(value) else value for value in similarity[rows])
            request.layers.append(LayerReport(layer=index, similarity=known, dropped=tuple(dropped[rows])))

    def settle(self) -> None:
        """Has the cache count what its layers were not fed, where stage 2 has not done so."""
        if self.step.probed:
            return
        for index, layer in enumerate(getattr(self.step.cache, "layers", ())):
            if isinstance(layer, PrunedLayer):
                step = self.step_at(index)
                step.settle(layer, [False] * len(step.fed))

    def restore(self, output: Any) -> None:
        """Puts hidden states back at the caller's columns, so that logits and labels keep their shape.

        A removed column shows the last kept one before it, from which the model predicts what comes next.
        """
        places, first = self.step.places, 0
        if self.leaving is not None and self.leaving.narrow is not None:
            # The first hidden states are what layer 0 is fed, the others what each layer puts out.
            places, first = self.leaving.narrow.places, self.leaving.whole_until + 1
        if places is None:
            return
        output["last_hidden_state"] = gather_columns(output.last_hidden_state, places)
        states = getattr(output, "hidden_states", None)
        if states is not None:
            cut = (gather_columns(state, places) for state in states[first:])
            output["hidden_states"] = (*states[:first], *cut)
