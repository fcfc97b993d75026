"""Attaching to one model instance, and leaving it as it was."""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from threading import Lock, get_ident
from types import TracebackType
from typing import Any, Literal, Self
from weakref import WeakSet

from transformers import PreTrainedModel

from sharpv.config import SharpVConfig, with_retention
from sharpv.errors import AttachError
from sharpv.hf.families import Family, family_for
from sharpv.hf.generate import wrap_generate
from sharpv.hf.hooks import BUSY, Hooks
from sharpv.hf.inside import leaving_layer
from sharpv.hf.layout import VideoLayout
from sharpv.hf.request import Request
from sharpv.hf.reuse.encoder import Reuse, reuse_for
from sharpv.hf.tower_attention import require_tower
from sharpv.methods import InLLMPruner, TokenPruner, find_pruner, needs_attention
from sharpv.report import Report

__all__ = ["Session", "attach", "check_fit"]

logger = logging.getLogger(__name__)

REPORTS_KEPT = 32
STAGE_1_ONLY = (
    "%s: generate() runs stage 1; stage 2, a bare forward() with a video, and later turns on one cache do "
    "not work, since %s"
)
HYBRID = (
    "%s: stage 1 works; stage 2 acts on %d of %d layers, those with full attention: the others carry a state "
    "instead of keys"
)

_attached: WeakSet[PreTrainedModel] = WeakSet()


class Session:
    """SharpV on one model, from `attach()` until `detach()` or the end of the `with` block.

    Attributes:
        model: the model.
        config: the configuration in force.
        pruner: what chooses the tokens.
        reuse: what spares the vision tower patches; None where the configuration wants none.
        leaving_layer: decoder layer before which tokens leave, for a method that acts inside the LLM; else 0.
        reports: records of the last 32 requests, the newest last.
    """

    def __init__(
        self, model: PreTrainedModel, config: SharpVConfig, pruner: TokenPruner | InLLMPruner
    ) -> None:
        self.family, self.leaving_layer, self.reuse = check_fit(model, config, pruner)
        self.model = model
        self.config = config
        self.pruner = pruner
        self.reports: deque[Report] = deque(maxlen=REPORTS_KEPT)
        self.request: Request | None = None
        self._busy = Lock()
        self._owner: int | None = None
        if model in _attached:
            raise AttachError(
                f"got a {type(model).__name__} with a SharpV session: detach it first, session.detach()"
            )
        self._say_what_does_not_work()
        self._hooks: Hooks | None = Hooks(self)
        self._callers_generate = vars(model).get("generate")
        self._generate = wrap_generate(self)
        model.generate = self._generate
        _attached.add(model)

    def _say_what_does_not_work(self) -> None:
        family = self.family
        if family.stage_1_only:
            logger.warning(STAGE_1_ONLY, family.name, family.stage_1_only)
        elif family.hybrid and self.config.memory_threshold is not None:
            kinds = self.model.get_decoder().config.layer_types
            logger.warning(HYBRID, family.name, kinds.count("full_attention"), len(kinds))

    @property
    def attached(self) -> bool:
        """Whether the session is on its model."""
        return self._hooks is not None

    def video_pixels(self, inputs: Mapping[str, Any]) -> Any:
        """Returns the frames among the inputs of a request; None without any."""
        return self.family.video_pixels(inputs, self.config)

    def encoded_video(self, inputs: Mapping[str, Any]) -> Any:
        """Returns the encoded frames among the inputs of a request; None without any."""
        return self.family.encoded_video(inputs, self.config)

    @property
    def report(self) -> Report | None:
        """The record of the last request that succeeded; None before the first."""
        return self.reports[-1] if self.reports else None

    def detach(self) -> None:
        """Takes everything off the model. A second call does nothing."""
        if self._hooks is None:
            return
        self._hooks.remove()
        self._hooks = None
        if vars(self.model).get("generate") is self._generate:
            del self.model.generate
            if self._callers_generate is not None:
                self.model.generate = self._callers_generate
        _attached.discard(self.model)

    def __deepcopy__(self, memo: object) -> Self:
        raise AttachError("cannot copy a model with a SharpV session: detach it first, session.detach()")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    @property
    def owned(self) -> bool:
        """Whether this thread has taken the session."""
        return self._owner == get_ident()

    def take(self) -> None:
        """Takes the session for a request of this thread, until `release()`.

        Raises:
            AttachError: a request is running.
        """
        if self.owned and self._hooks is not None and self._hooks.took:
            # A bare forward pass is not within another: that one was interrupted, which calls no hook.
            self.release()
        if not self._busy.acquire(blocking=False):
            raise AttachError(BUSY)
        self._owner = get_ident()

    def release(self) -> None:
        """Ends the request of this thread, and makes way for another."""
        if self._hooks is not None:
            self._hooks.forget()
        self.request = self._owner = None
        self._busy.release()

    def expect(self, layouts: Sequence[VideoLayout]) -> None:
        """Says which videos the encoder will be given in the request of this thread; none after it."""
        if self.reuse is not None:
            self.reuse.expect(layouts)

    def open(self, request: Request) -> None:
        """Makes a request the running one."""
        if not self.config.prunes:
            request.notes.append("both stages are switched off")
        self.request = request

    def close(self, request: Request, failed: bool = False) -> None:
        """Ends the running request, and files its report unless it failed."""
        self.request = None
        if failed:
            return
        if request.videos and self.config.memory_threshold is not None:
            reason = self.family.stage_1_only
            if reason or request.cache is None:
                request.notes.append(f"stage 2 did not run: {reason or 'the request kept no KV cache'}")
        if self.reuse is not None:
            request.videos = self.reuse.told(request.videos)
        report = request.report(self.model, self.config, self.pruner.name)
        self.reports.append(report)
        logger.info(
            "kept %d of %d video tokens; cache %s of %s bytes",
            report.tokens_kept,
            report.tokens_total,
            report.cache_bytes,
            report.dense_cache_bytes,
        )


def check_fit(
    model: PreTrainedModel, config: SharpVConfig, pruner: TokenPruner | InLLMPruner
) -> tuple[Family, int, Reuse | None]:
    """Checks that a model can be attached to; nothing of it changes, so it may be at a request.

    Returns:
        The family, the decoder layer before which tokens leave, or 0, and what spares the vision tower
        patches, if anything.

    Raises:
        UnsupportedModelError: as for `attach`.
        InputError: as for `attach`.
    """
    pruner.check(config)
    family = family_for(model, config)
    if needs_attention(pruner):
        require_tower(model.base_model, family)
    layer = leaving_layer(pruner, model, family, config) if isinstance(pruner, InLLMPruner) else 0
    return family, layer, reuse_for(model.base_model, family, config, pruner)


def attach(
    model: PreTrainedModel,
    config: SharpVConfig | None = None,
    *,
    method: str | TokenPruner | InLLMPruner = "sharpv",
    retention: float | Literal["adaptive"] | None = None,
) -> Session:
    """Prunes every request of a model until the session is detached.

    `generate()` is shortened before the model; a bare `forward()` and later turns are shortened inside it,
    with the same result. Only this instance changes, and `detach()` leaves no trace. Sequences come back with
    the caller's prompt, and a bare forward's hidden states and logits at its length. What `generate()`
    consults on the way, such as stopping criteria and logits processors, sees the shortened prompt. An
    attached model serves one request at a time: another thread's is refused.

    A report says where a frame's tokens stand in it, but for the families whose processor crops
    (LLaVA-NeXT-Video, PLLaVA, Video-LLaVA): there `sharpv.hf.geometry.with_windows` takes the processor, and
    adds what part of the frames the model was shown.

    Args:
        model: a supported transformers model; `sharpv models` lists the families.
        config: what to keep. The default is the paper's automatic mode.
        method: what chooses the tokens: "sharpv"; another name of `sharpv.methods.METHODS`, most of which
            need a float `retention`; or a pruner, such as `Random(seed=3)` or `VTW(layer=15)`. With a method
            that acts inside the LLM ("fastv", "vtw"), all visual tokens enter it. Stage 2 is the same.
        retention: takes the place of `config.retention`, so that `attach(model, retention=0.12)` is enough.

    Returns:
        The session, which is also a context manager.

    Raises:
        UnsupportedModelError: a model, or a release of transformers, that is not supported; a method that
            acts inside the LLM for a model where that does not work; or `vision_reuse` for one whose vision
            tower reuses no patches.
        AttachError: the model already has a session.
        InputError: `positions="compact"` for an M-RoPE model, an unknown method, one that cannot follow the
            configuration, one that needs the attention of a vision tower that is not read or that reuses
            patches, or one set to a layer that the model does not have.
        ValueError: a retention outside its range, or beside a threshold.
    """
    return Session(model, with_retention(config, retention), find_pruner(method))
