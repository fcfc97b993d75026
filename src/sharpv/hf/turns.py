"""Threads that change one model take turns: what one puts over a part, another must not put back."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

__all__ = ["changing"]

_turns: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_finding = Lock()


@contextmanager
def changing(base: nn.Module) -> Iterator[None]:
    """Within the block, no other thread is within one for the same model; waits until that is so.

    Args:
        base: the base model; nothing of it changes here.
    """
    with _finding:
        turn = _turns.setdefault(base, RLock())
    with turn:
        yield
