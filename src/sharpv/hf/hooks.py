"""The hook seam: what a session does inside a forward pass of the model.

Stage 1 shortens what the decoder is fed, for calls whose prompt came whole: a bare `forward()`, and later
turns. What goes on at the decoder's layers is that of `layer_hooks`.
"""

import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from sharpv.errors import AttachError, InputError
from sharpv.hf.cache import CACHE, adopt, position_shift, pruned_layers, require_prunable
from sharpv.hf.inputs import FEATURES_WITHOUT_PIXELS, PrunedFeatures
from sharpv.hf.inside import Leaving
from sharpv.hf.layer_hooks import LayerHooks
from sharpv.hf.layout import VideoLayout, video_placeholders
from sharpv.hf.masks import set_masks
from sharpv.hf.positions import gather_positions, renumber, upload
from sharpv.hf.request import Request
from sharpv.hf.stage1 import keep_all, keep_tokens, place
from sharpv.hf.step import Step, earlier_padding, fed_per_row, position_ids_of
from sharpv.hf.stopwatch import Stopwatch
from sharpv.hf.tower_attention import hear, repeat_rows
from sharpv.methods import InLLMPruner, TokenPruner, needs_attention

if TYPE_CHECKING:
    from sharpv.hf.attach import Session

__all__ = ["BUSY", "Hooks"]

NO_FORWARD = (
    "got a forward pass with a video, which SharpV cannot shorten, since {}: use generate(), or shorten the "
    "prompt with sharpv.prune_inputs"
)
SHORTENED = (
    "got inputs of sharpv.prune_inputs, or features without pixels, with method {!r}, which has to know the "
    "videos: pass what the processor returned"
)
RECOMPUTED = (
    "got a video with method {!r} in training with gradient checkpointing, which runs the layers a second "
    "time: switch it off, or take a method that acts before the LLM"
)
BUSY = "got a request while another is running on the same session: wait for it, or batch the requests"


class Hooks:
    """The hooks of one session on its model; `forget()` takes away what a pass was in the middle of.

    Decoder layers are hooked only during passes that need it: decoding mostly does not.
    """

    def __init__(self, session: "Session") -> None:
        self.session = session
        self.config = session.config
        self.base = session.model.base_model
        self.decoder = session.model.get_decoder()
        self.visual: Tensor | None = None
        self.layers: LayerHooks | None = None
        self.took = False
        self.attention: Tensor | None = None
        self._covers = ExitStack()
        if needs_attention(session.pruner):
            self._covers.enter_context(hear(self.base, session.family, self.remember))
        if session.reuse is not None:
            self._covers.enter_context(session.reuse.covering())
        self._signature = inspect.signature(self.base.forward)
        self._handles = [
            self.base.register_forward_pre_hook(self.before_model, with_kwargs=True),
            self.base.register_forward_hook(self.after_model, with_kwargs=True, always_call=True),
            self.decoder.register_forward_pre_hook(self.before_decoder, with_kwargs=True),
            self.decoder.register_forward_hook(self.after_decoder, with_kwargs=True, always_call=True),
        ]

    def remove(self) -> None:
        """Takes all hooks off."""
        self.forget()
        self._covers.close()
        for handle in self._handles:
            handle.remove()

    def remember(self, attention: Tensor) -> None:
        """Notes what the tokens of the videos that were just encoded received in the vision tower."""
        self.attention = attention

    def forget(self) -> None:
        """Leaves nothing of a pass, also of one that was interrupted, which calls no hook."""
        self.forget_pass()
        self.attention = None
        self.took = False
        self.session.expect(())

    def forget_pass(self) -> None:
        """Leaves nothing of a pass of the decoder."""
        self.visual = None
        if self.layers is not None:
            self.layers.remove()
            self.layers = None

    def before_model(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Finds the video tokens of the call, and opens a request for a bare forward pass."""
        took = self.took or not self.session.owned
        if took:
            self.session.take()
        # Only now: a pass that was refused must not change what the running one remembers.
        self.took = took
        self.forget_pass()
        call = kwargs
        if args:
            call = self._signature.bind_partial(*args, **kwargs).arguments
            call = {**call.pop("kwargs", {}), **call}
        encoded, pixels = self.session.encoded_video(call), self.session.video_pixels(call)
        if encoded is None and pixels is None:
            return
        family = self.session.family
        if family.stage_1_only:
            if pixels is not None and self.config.prunes_tokens:
                raise InputError(NO_FORWARD.format(family.stage_1_only))
            return
        running = self.session.request
        if running is None or self.config.prunes:
            visual = self.visual = video_placeholders(
                self.base, family.placeholder, call.get("input_ids"), call.get("inputs_embeds")
            ).cpu()
        if running is None:
            self.session.open(self._bare_request(call, visual))
        elif self.config.prunes and encoded is None and (running.layouts is None or running.prefilled):
            # Only the prompt of a running generate() may come with frames: this is a pass in between. With
            # both stages off, each pass of a generate() without cache may come with them.
            raise AttachError(BUSY)

    def _bare_request(self, call: Mapping[str, Any], visual: Tensor) -> Request:
        counts = visual.sum(1).tolist()
        request = Request(Stopwatch(self.session.model), expected_tokens=sum(counts), bare=True)
        if self.session.video_pixels(call) is not None:
            request.layouts = self.session.family.layouts(call, self.base, counts)
            self.session.expect(request.layouts)
            if not self.config.prunes:
                request.videos = keep_all(place(request.layouts, counts)[0])
                request.prompt_tokens = request.prompt_tokens_kept = fed_per_row(call)
        elif isinstance(call["mm_encoder_outputs"], PrunedFeatures):
            request.shortened = True
        elif self.config.prunes_tokens:
            raise InputError(FEATURES_WITHOUT_PIXELS)
        return request

    def after_model(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        """Closes the request of a bare forward pass; `output` is None when it failed."""
        if not self.session.owned:
            return  # a pass that was refused, while another runs
        self.forget_pass()
        request = self.session.request
        if request is not None and request.bare:
            self.session.close(request, failed=output is None)
        if self.took:
            self.session.release()

    def before_decoder(
        self, module: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]] | None:
        """Stage 1 on what the decoder is fed, and masks that fit what each layer of the cache holds."""
        visual, cache, request = self.visual, kwargs.get(CACHE), self.session.request
        if request is not None:
            request.enter_decoder()
        reads_video = visual is not None and self.config.prunes
        if not reads_video and not any(layer.pruned for layer in pruned_layers(cache)):
            return None
        kwargs = dict(kwargs)
        step, leaving = Step.of(visual, kwargs), None
        self._shift_positions(kwargs)
        if reads_video and request is not None:
            leaving = self._read_prompt(request, step, kwargs)
        step.cache = kwargs.get(CACHE)
        set_masks(step, kwargs, self.decoder.config)
        self.layers = LayerHooks(self.decoder, step, self.config, request, leaving)
        return args, kwargs

    def _read_prompt(self, request: Request, step: Step, kwargs: dict[str, Any]) -> Leaving | None:
        """Prepares a pass that reads video tokens; a prompt that came whole is shortened here, or inside."""
        self._use_cache(step, kwargs)
        leaving, pruner = None, self.session.pruner
        if isinstance(pruner, InLLMPruner):
            leaving = self._let_leave(pruner, request, step, kwargs)
        elif request.layouts is not None:
            self._stage1(pruner, request, request.layouts, step, kwargs)
        else:
            step.gapped = request.shortened
            step.count_repeats(request.expected_tokens)
        step.probed = self.config.memory_threshold is not None and kwargs.get(CACHE) is not None
        request.prompt_tokens_kept = request.prompt_tokens_kept or step.tokens_per_row()
        request.prompt_tokens = request.prompt_tokens or request.prompt_tokens_kept
        return leaving

    def _let_leave(
        self, pruner: InLLMPruner, request: Request, step: Step, kwargs: dict[str, Any]
    ) -> Leaving | None:
        """Prepares a pass out of which visual tokens leave inside the LLM."""
        if request.layouts is None:
            raise InputError(SHORTENED.format(pruner.name))
        if self._checkpoints:
            raise InputError(RECOMPUTED.format(pruner.name))
        placed, step.repeats = place(request.layouts, step.visual.sum(1).tolist())
        request.videos = request.videos or keep_all(placed, step.repeats)
        if not self.config.prunes_tokens:
            return None
        return Leaving(
            pruner,
            self.config,
            self.decoder,
            layer=self.session.leaving_layer,
            deepstack=len(kwargs.get("deepstack_visual_embeds") or ()),
            request=request,
            step=step,
            placed=placed,
        )

    @property
    def _checkpoints(self) -> bool:
        """Whether the layers run again in the backward pass, when no hook of the pass is left."""
        return self.decoder.training and self.decoder.gradient_checkpointing

    def _use_cache(self, step: Step, kwargs: dict[str, Any]) -> None:
        """Makes the layers of the cache prunable, and the cache itself where the model would make it."""
        cache, wanted = kwargs.get(CACHE), kwargs.get("use_cache")
        wanted = self.decoder.config.use_cache if wanted is None else wanted
        if cache is None and wanted and not self._checkpoints:
            cache = kwargs[CACHE] = DynamicCache(config=self.decoder.config)
        if cache is not None:
            require_prunable(cache)
            adopt(cache, earlier_padding(kwargs))

    def _shift_positions(self, kwargs: dict[str, Any]) -> None:
        """Takes what compact position ids lag behind off the ids, which count the whole conversation."""
        shift = position_shift(kwargs.get(CACHE))
        if shift is not None:
            position_ids = position_ids_of(kwargs)
            kwargs["position_ids"] = position_ids - shift.to(position_ids.device)

    def _stage1(
        self,
        pruner: TokenPruner,
        request: Request,
        layouts: list[VideoLayout],
        step: Step,
        kwargs: dict[str, Any],
    ) -> None:
        """Shortens what the decoder is fed to the tokens that stay."""
        counts, attention = step.visual.sum(1).tolist(), self.attention
        placed, step.repeats = place(layouts, counts)
        if attention is not None:
            attention = repeat_rows(attention, counts, step.repeats)
        tokens = upload(step.visual.flatten().nonzero().flatten(), step.device)
        features = step.original.detach().flatten(0, 1)[tokens]
        keep_features, values, videos = keep_tokens(
            features, placed, step.repeats, self.config, pruner, attention
        )
        request.videos = request.videos or videos
        request.prompt_tokens = request.prompt_tokens or step.tokens_per_row()
        keep = ~step.visual
        keep[step.visual] = keep_features
        if values is not features:
            place_of = upload(step.visual, step.device).unsqueeze(-1)
            step.original = kwargs["inputs_embeds"] = step.original.masked_scatter(place_of, values)
        if not bool((keep | ~step.fed).all()):
            self._feed_only(step, keep & step.fed, kwargs)
        request.watch.lap("scoring")

    def _feed_only(self, step: Step, keep: Tensor, kwargs: dict[str, Any]) -> None:
        lag = (step.fed & ~keep).sum(1, keepdim=True)
        index, real = step.cut(keep)
        position_ids = gather_positions(position_ids_of(kwargs), index)
        if self.config.positions == "compact":
            position_ids = renumber(position_ids, real)
            step.lag = lag
        kwargs["position_ids"] = position_ids
        pictures = kwargs.get("visual_pos_masks")
        if pictures is not None:
            shown = pictures.cpu()
            stay = keep[shown].nonzero().flatten()
            kwargs["deepstack_visual_embeds"] = [
                embeds[upload(stay, embeds.device)] for embeds in kwargs["deepstack_visual_embeds"]
            ]
            kwargs["visual_pos_masks"] = upload(shown.gather(1, index) & real, pictures.device)
        kwargs["inputs_embeds"] = step.original

    def after_decoder(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """Ends what the layers of the pass were hooked for."""
        layers = self.layers
        self.forget_pass()
        if output is None:
            return None  # the pass failed
        if layers is not None:
            layers.settle()
        if self.session.request is not None:
            cache = kwargs.get(CACHE)
            self.session.request.leave_decoder(getattr(output, CACHE) if cache is None else cache)
        if layers is not None:
            layers.restore(output)
        return output
