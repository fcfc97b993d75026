"""What a server and a request ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from sys import float_info
from typing import Any, Literal

from sharpv.config import SharpVConfig
from sharpv.errors import InputError

__all__ = ["AUTO", "REQUEST_KEY", "Keep", "Options", "checked_keep"]

AUTO: Literal["auto"] = "auto"
REQUEST_KEY = "sharpv_keep"
"""The name under which a request gives its share, in `mm_processor_kwargs`."""

Keep = float | Literal["auto"]

_RULE = ("spatial_weight", "coverage", "diversity", "min_tokens_per_frame")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The server's settings: `hf_overrides={"sharpv": {...}}`.

    Attributes:
        keep: share of a video's tokens in (0, 1], or `"auto"` for a share estimated from the motion of its
            pixels. A request may give its own.
        gain: the estimate's factor, from `sharpv calibrate`; read by `"auto"` only.
        rule: which tokens stay; its `retention` is not read.
    """

    keep: Keep = 0.25
    gain: float = 1.0
    rule: SharpVConfig = field(default_factory=SharpVConfig)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Options":
        """Builds the options from `keep`, `gain` and fields of `SharpVConfig` that concern stage 1.

        Raises:
            InputError: an unknown key.
            ValueError: a value outside its range.
        """
        known = [name.name for name in fields(cls) if name.name != "rule"] + list(_RULE)
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InputError(f"unknown options {unknown} for SharpV in vLLM: accepted are {known}")
        rule = SharpVConfig(**{name: values[name] for name in _RULE if name in values})
        gain = values.get("gain", cls().gain)
        if isinstance(gain, bool) or not isinstance(gain, int | float) or not 0 < gain <= float_info.max:
            raise InputError(f"gain is {gain!r}: give a number above 0, from `sharpv calibrate`")
        return cls(keep=checked_keep(values.get("keep", cls().keep)), gain=float(gain), rule=rule)

    @classmethod
    def of(cls, hf_config: Any) -> "Options":
        """Reads the options off a model's configuration."""
        return cls.from_dict(getattr(hf_config, "sharpv", None) or {})

    def asked(self, request: Mapping[str, object]) -> "Options":
        """Returns the options for one request, whose share goes before the server's.

        Raises:
            InputError: a share that is neither in (0, 1] nor `"auto"`.
        """
        return replace(self, keep=checked_keep(request.get(REQUEST_KEY, self.keep)))

    def to_dict(self) -> dict[str, Any]:
        """Returns what `from_dict` reads."""
        return {"keep": self.keep, "gain": self.gain, **{name: getattr(self.rule, name) for name in _RULE}}


def checked_keep(keep: object) -> Keep:
    """Returns a share of tokens as it is meant.

    Raises:
        InputError: it is neither in (0, 1] nor `"auto"`.
    """
    if keep == AUTO:
        return AUTO
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep <= 1:
        raise InputError(f"the share to keep is {keep!r}: give a number in (0, 1], or 'auto'")
    return float(keep)
