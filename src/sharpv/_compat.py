"""Facts about versions, in one place."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version

from sharpv.errors import UnsupportedModelError

__all__ = ["__version__", "installed_transformers", "require_transformers", "versions"]

__version__ = version("sharpv")

TRANSFORMERS_FROM = (5, 19)
TRANSFORMERS_BELOW = (6, 0)


@cache
def versions() -> Mapping[str, str]:
    """Returns the versions that a report names; read once, since the look-up takes milliseconds."""
    return {name: version(name) for name in ("sharpv", "torch", "transformers")}


def installed_transformers() -> tuple[int, ...]:
    """Returns the installed release of transformers, (major, minor)."""
    return tuple(int(part) for part in re.findall(r"\d+", version("transformers"))[:2])


def require_transformers(what: str = "sharpv", since: tuple[int, int] = TRANSFORMERS_FROM) -> None:
    """Checks the installed transformers: 5.19 is the first release that takes pre-encoded video features.

    Args:
        what: name of what needs it.
        since: the first release that will do, (major, minor).

    Raises:
        UnsupportedModelError: it lies outside the supported range.
    """
    if not since <= installed_transformers() < TRANSFORMERS_BELOW:
        low, high = (".".join(map(str, bound)) for bound in (since, TRANSFORMERS_BELOW))
        raise UnsupportedModelError(
            f"got transformers {version('transformers')}; {what} supports >= {low}, < {high}: "
            f'pip install "transformers>={low},<{high}"'
        )
