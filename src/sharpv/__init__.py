"""SharpV: faster and smaller video LLMs in transformers, without training.

Names are loaded when first used, so that `import sharpv` costs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sharpv.config import SharpVConfig, VisionReuse
    from sharpv.core.scores import Scores, score
    from sharpv.core.select import keep_mask
    from sharpv.errors import AttachError, InputError, SharpVError, UnsupportedModelError, VideoError
    from sharpv.hf.attach import Session, attach
    from sharpv.hf.inputs import prune_inputs
    from sharpv.report import Report

_MODULES = {
    "__version__": "sharpv._compat",
    "AttachError": "sharpv.errors",
    "InputError": "sharpv.errors",
    "Report": "sharpv.report",
    "Scores": "sharpv.core.scores",
    "Session": "sharpv.hf.attach",
    "SharpVConfig": "sharpv.config",
    "SharpVError": "sharpv.errors",
    "UnsupportedModelError": "sharpv.errors",
    "VideoError": "sharpv.errors",
    "VisionReuse": "sharpv.config",
    "attach": "sharpv.hf.attach",
    "keep_mask": "sharpv.core.select",
    "prune_inputs": "sharpv.hf.inputs",
    "score": "sharpv.core.scores",
}

__all__ = [
    "AttachError",
    "InputError",
    "Report",
    "Scores",
    "Session",
    "SharpVConfig",
    "SharpVError",
    "UnsupportedModelError",
    "VideoError",
    "VisionReuse",
    "attach",
    "keep_mask",
    "prune_inputs",
    "score",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'sharpv' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
