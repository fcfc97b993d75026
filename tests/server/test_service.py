"""What a request's options make of the server's settings."""

from dataclasses import fields

import pytest

from sharpv.config import SharpVConfig
from sharpv.server.refused import Refused
from sharpv.server.requests import Options
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


def test_the_document_tells_values_and_defaults_of_options():
    found = Options.model_json_schema()["properties"]
    assert found["memory_threshold"]["default"] == 0.2
    assert found["positions"]["enum"] == ["original", "compact"]
    assert {"const": "adaptive", "type": "string"} in found["retention"]["anyOf"]
    assert found["frames"]["minimum"] == 1
