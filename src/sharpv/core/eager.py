"""Keeps `torch.compile` out of functions that it can only slow down."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

__all__ = ["eager"]

P = ParamSpec("P")
R = TypeVar("R")


def eager(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function that compiled code calls as it is, behind a graph break; keeps its types.

    For loops over frames and decisions made on the host: compiled, they would be unrolled, and traced again
    for every number of frames.
    """
    uncompiled: Callable[P, R] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return uncompiled
