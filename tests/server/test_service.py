"""What a request's options make of the server's settings."""

import math
from dataclasses import dataclass, fields
from typing import Literal

import pytest
from pydantic import ValidationError

from sharpv.config import SharpVConfig
from sharpv.server.refused import Refused
from sharpv.server.schema import Options, asked_like
from sharpv.server.service import Settings


@pytest.mark.parametrize(
    ("own", "asked", "retention", "threshold"),
    [
        ({"threshold": 1.2}, {"retention": 0.25}, 0.25, None),
        ({"threshold": 1.2}, {"retention": "adaptive"}, "adaptive", None),
        ({"retention": 0.25}, {"threshold": 1.2}, "adaptive", 1.2),
        ({"threshold": 1.2}, {"threshold": 0.8}, "adaptive", 0.8),
        ({"threshold": 1.2}, {"coverage": 0.5}, "adaptive", 1.2),
        ({"retention": 0.25}, {"coverage": 0.5}, 0.25, None),
        ({"retention": 0.25}, {"threshold": None}, 0.25, None),
        ({"retention": 0.25}, {"retention": "adaptive", "threshold": 1.2}, "adaptive", 1.2),
    ],
)
def test_a_requests_way_to_choose_takes_the_place_of_the_servers(own, asked, retention, threshold):
    config = Settings(config=SharpVConfig(**own)).asked(Options(**asked)).config
    assert (config.retention, config.threshold) == (retention, threshold)


@pytest.mark.parametrize("own", [{}, {"threshold": 1.2}, {"retention": 0.25}])
def test_a_request_that_names_both_is_refused(own):
    with pytest.raises(Refused, match="threshold"):
        Settings(config=SharpVConfig(**own)).asked(Options(retention=0.5, threshold=1.0))


def test_options_are_the_fields_of_the_config():
    names = {field.name for field in fields(SharpVConfig)} - {"images_as_frames"}
    assert set(Options.model_fields) == names | {"method", "frames", "fps"}
    default = SharpVConfig()
    for name in names:
        value = getattr(default, name)
        assert getattr(Options(**{name: value}), name) == value
    assert Options().model_dump(exclude={"method", "frames", "fps"}) == {
        name: getattr(default, name) for name in names
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """Stands for a part of a config that has fields of its own."""

    every: int = 2
    tolerance: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """Stands for a later config."""

    retention: float | Literal["adaptive"] = "adaptive"
    reuse: Reuse | Literal["auto"] | None = None


def test_a_field_that_is_a_dataclass_becomes_an_object_that_is_checked():
    asked = asked_like(Grown)
    assert asked(reuse={"every": 3}).model_dump(exclude_unset=True) == {"reuse": {"every": 3}}
    assert asked(reuse="auto").model_dump(exclude_unset=True) == {"reuse": "auto"}
    assert asked().reuse is None
    for wrong in ({"evry": 3}, {"every": "3"}, {"tolerance": math.nan}, "always"):
        with pytest.raises(ValidationError):
            asked(reuse=wrong)
    document = asked.model_json_schema()
    assert document["$defs"]["Reuse"]["properties"]["every"]["type"] == "integer"
    assert document["$defs"]["Reuse"]["additionalProperties"] is False


def test_the_document_tells_values_and_defaults_of_options():
    found = Options.model_json_schema()["properties"]
    assert found["memory_threshold"]["default"] == 0.2
    assert found["positions"]["enum"] == ["original", "compact"]
    assert {"const": "adaptive", "type": "string"} in found["retention"]["anyOf"]
    assert found["frames"]["minimum"] == 1
