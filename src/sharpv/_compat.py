"""Facts about versions, in one place."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version

from sharpv.errors import UnsupportedModelError

__all__ = ["__version__", "require_transformers", "versions"]

__version__ = version("sharpv")

TRANSFORMERS_FROM = (5, 19)
TRANSFORMERS_BELOW = (6, 0)


@cache
def versions() -> Mapping[str, str]:
    """Returns the versions that a report names; read once, since the look-up takes milliseconds."""
    return {name: version(name) for name in ("sharpv", "torch", "transformers")}


def require_transformers() -> None:
    """Checks the installed transformers: 5.19 is the first release that takes pre-encoded video features.

    Raises:
        UnsupportedModelError: it lies outside the supported range.
    """
    installed = version("transformers")
    numbers = tuple(int(part) for part in re.findall(r"\d+", installed)[:2])
    if not TRANSFORMERS_FROM <= numbers < TRANSFORMERS_BELOW:
        low, high = (".".join(map(str, bound)) for bound in (TRANSFORMERS_FROM, TRANSFORMERS_BELOW))
        raise UnsupportedModelError(
            f"got transformers {installed}; sharpv supports >= {low}, < {high}: "
            f'pip install "transformers>={low},<{high}"'
        )
