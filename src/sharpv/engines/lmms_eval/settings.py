"""What `--model_args` says of SharpV: options whose names begin with `sharpv_`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from sharpv.methods import find_pruner

__all__ = ["PREFIX", "Settings"]

PREFIX = "sharpv_"
OWN = ("enabled", "method")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run prunes.

    Attributes:
        enabled: whether SharpV is attached at all; False is the model of lmms-eval as it comes.
        method: what chooses the tokens, a name in `sharpv.methods.METHODS`.
        config: what to keep.
    """

    enabled: bool
    method: str
    config: SharpVConfig

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Reads options, without their prefix, as lmms-eval parses them.

        Args:
            options: `enabled`, `method`, and the fields of `SharpVConfig`; the text "none" is None.

        Raises:
            InputError: an unknown option or method, or a value outside its range.
        """
        accepted = [*OWN, *(field.name for field in fields(SharpVConfig))]
        unknown = [PREFIX + name for name in options if name not in accepted]
        if unknown:
            names = ", ".join(PREFIX + name for name in accepted)
            raise InputError(f"got model_args {', '.join(unknown)}: accepted are {names}")
        values = {name: _value(value) for name, value in options.items()}
        enabled, method = values.pop("enabled", True), values.pop("method", "sharpv")
        if not isinstance(enabled, bool):
            raise InputError(f"got {PREFIX}enabled={enabled!r}: it must be True or False")
        try:
            config = SharpVConfig.from_dict(values)
            if enabled:
                find_pruner(method).check(config)
            return cls(enabled, method, config)
        except ValueError as error:
            raise InputError(str(error)) from None

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values; a run without SharpV has neither method nor configuration."""
        return {
            "enabled": self.enabled,
            "method": self.method if self.enabled else None,
            "config": self.config.to_dict() if self.enabled else None,
        }


def _value(value: Any) -> Any:
    return None if isinstance(value, str) and value.lower() == "none" else value
