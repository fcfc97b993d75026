"""Pictures of what was kept, from reports and frames alone.

Names are loaded when first used, so that one kind of picture does not cost the libraries of the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sharpv.viz.movie import write_all_frames, write_sampled
    from sharpv.viz.pictures import overlay, strip

_MODULES = {
    "overlay": "sharpv.viz.pictures",
    "strip": "sharpv.viz.pictures",
    "write_all_frames": "sharpv.viz.movie",
    "write_sampled": "sharpv.viz.movie",
}

__all__ = ["overlay", "strip", "write_all_frames", "write_sampled"]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'sharpv.viz' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
