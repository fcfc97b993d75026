"""Parts of records as plain JSON values, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

__all__ = ["Mask", "from_numbers", "known", "to_numbers"]

Mask = tuple[tuple[bool, ...], ...]


def to_numbers(mask: Mask) -> list[list[int]]:
    """Returns a mask as 0 and 1."""
    return [[int(marked) for marked in frame] for frame in mask]


def from_numbers(mask: Sequence[Sequence[int]]) -> Mask:
    """Returns the mask of `to_numbers`."""
    return tuple(tuple(map(bool, frame)) for frame in mask)


def known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out what is no field: what `to_dict()` derives, and what a later minor release adds."""
    names = {item.name for item in fields(cls)}
    return {key: value for key, value in values.items() if key in names}
