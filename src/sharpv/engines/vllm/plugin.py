"""What installing the package gives vLLM: architectures that prune, under names of their own."""

import logging
import os
import re
from importlib import import_module
from typing import Any

from sharpv.errors import UnsupportedModelError

__all__ = ["ARCHITECTURES", "VLLM_BELOW", "VLLM_FROM", "register", "require_vllm"]

ARCHITECTURES = {
    "LlavaOnevisionForConditionalGeneration": "llava_onevision",
    "Qwen2VLForConditionalGeneration": "qwen2_vl",
    "Qwen2_5_VLForConditionalGeneration": "qwen2_5_vl",
    "Qwen3VLForConditionalGeneration": "qwen3_vl",
}
"""The module here that prunes each of vLLM's architectures; in vLLM its name has `SharpV` before it."""

VLLM_FROM, VLLM_BELOW = (0, 32), (0, 33)
"""The releases on which the hooks were tested: their names move from one to the next."""

logger = logging.getLogger(__name__)


def require_vllm() -> None:
    """Checks the installed vLLM.

    Raises:
        UnsupportedModelError: there is none, one that cannot be imported, or one outside the tested range.
    """
    low, high = (".".join(map(str, bound)) for bound in (VLLM_FROM, VLLM_BELOW))
    remedy = f'sharpv supports vLLM >= {low}, < {high}: pip install "vllm>={low},<{high}"'
    try:
        import vllm  # noqa: PLC0415
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "vllm":
            raise UnsupportedModelError(f"vLLM is not installed; {remedy}") from None
        raise UnsupportedModelError(
            f"vLLM is installed and cannot be imported ({error}): mend its installation; {remedy}"
        ) from error
    installed = tuple(int(part) for part in re.findall(r"\d+", vllm.__version__)[:2])
    if not VLLM_FROM <= installed < VLLM_BELOW:
        raise UnsupportedModelError(f"got vLLM {vllm.__version__}; {remedy}")


def register() -> None:
    """Registers the architectures. Nothing changes for who does not ask for one by name.

    With a vLLM outside the tested range nothing is registered, and a warning says so: an exception here would
    stop every other model, too.
    """
    try:
        require_vllm()
    except UnsupportedModelError as error:
        logger.warning("no SharpV architecture is registered: %s", error)
        return
    from vllm import ModelRegistry  # noqa: PLC0415
    from vllm.platforms import current_platform  # noqa: PLC0415

    for architecture, module in ARCHITECTURES.items():
        name = f"SharpV{architecture}"
        ModelRegistry.register_model(name, f"{__package__}.{module}:{name}")
    # What `sharpv serve` fetches media with. A server that asks for it must not start without.
    if os.environ.get("VLLM_MEDIA_CONNECTOR", "").startswith("sharpv-"):
        import_module(f"{__package__}.media")
    if current_platform.is_cpu():
        _let_the_cpu_runner_prune()


def _let_the_cpu_runner_prune() -> None:
    """Makes vLLM's runner for CPUs ask our models, and no others, for the positions of what they keep.

    The runner for GPUs does so for every model that prunes; the one for CPUs replaces the method that finds
    out whether the model does, and forgets to.
    """
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner  # noqa: PLC0415

    load_model = CPUModelRunner.load_model
    if getattr(load_model, "asks_sharpv", False):
        return

    def load_and_ask(self: Any, *args: Any, **kwargs: Any) -> None:
        load_model(self, *args, **kwargs)
        if getattr(self.get_model(), "prunes_by_sharpv", False):
            self.is_multimodal_pruning_enabled = True

    load_and_ask.asks_sharpv = True  # type: ignore[attr-defined]
    CPUModelRunner.load_model = load_and_ask
