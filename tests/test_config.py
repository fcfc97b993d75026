"""The configuration: what it accepts, what it says when it does not, and its way to JSON and back."""

import dataclasses
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpv import SharpVConfig, VisionReuse

REFUSED = {
    "retention": [0, 0.0, -0.1, 1.01, float("nan"), float("inf"), True, "auto", None, [0.5]],
    "threshold": [float("nan"), float("inf"), "1", True],
    "spatial_weight": [-0.1, float("nan"), float("inf"), None, True],
    "coverage": [-0.1, 1.1, float("nan"), None, True],
    "diversity": [1, "yes", None],
    "memory_threshold": [float("nan"), float("-inf"), "0.2", True],
    "min_tokens_per_frame": [-1, 1.0, True, None],
    "bucket": [0, -8, 16.0, True, None],
    "memory_probe": ["Input", "", None],
    "positions": ["auto", "", None],
    "vision_reuse": ["fast", "", True, 0.5, ["safe"]],
    "images_as_frames": [1, "yes", None],
}
REFUSED_REUSE = {
    "threshold": [-1, 255.5, float("nan"), "6", None, True],
    "texture": [-1, 256, float("inf"), None, True],
    "dilate": [-1, 1.0, None, True],
    "full_frame": [-0.1, 1.1, float("nan"), None, True],
    "max_share": [0, 0.0, 1.1, float("nan"), None, True],
    "max_age": [0, -1, 8.0, True],
    "window": [0, 64.0, None, True],
    "audit": [-1, 2.0, None, True],
    "image_mean": [(0.5, 0.5), 0.5, (0.5, 0.5, 1.1), (0.5, 0.5, "0.5")],
    "image_std": [(0.5, 0.5), 0.5, (0.5, 0.5, 0.0), (0.5, 0.5, float("nan"))],
}
ACCEPTED = {
    "retention": st.just("adaptive") | st.just(1) | st.floats(0, 1, exclude_min=True),
    "spatial_weight": st.floats(0, 1e6) | st.integers(0, 3),
    "coverage": st.floats(0, 1),
    "diversity": st.booleans(),
    "memory_threshold": st.none() | st.floats(-2, 2),
    "min_tokens_per_frame": st.integers(0, 1000),
    "bucket": st.integers(1, 1000),
    "memory_probe": st.sampled_from(["input", "output"]),
    "positions": st.sampled_from(["original", "compact"]),
    "images_as_frames": st.booleans(),
}
REUSES = st.builds(
    VisionReuse,
    threshold=st.floats(0, 255) | st.integers(0, 255),
    texture=st.floats(0, 255),
    dilate=st.integers(0, 3),
    full_frame=st.floats(0, 1),
    max_share=st.floats(0, 1, exclude_min=True),
    max_age=st.none() | st.integers(1, 100),
    window=st.integers(1, 100),
    audit=st.integers(0, 4),
) | st.builds(
    VisionReuse,
    image_mean=st.tuples(*[st.floats(0, 1)] * 3) | st.lists(st.floats(0, 1), min_size=3, max_size=3),
    image_std=st.tuples(*[st.floats(0.001, 1)] * 3) | st.just((1, 1, 1)),
)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values]
)
def test_a_value_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"SharpVConfig.{name} is .*: it must be "):
        SharpVConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in REFUSED_REUSE.items() for value in values]
)
def test_a_value_of_reuse_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^VisionReuse.{name} is {re.escape(repr(value))}: it must be "):
        SharpVConfig(vision_reuse={name: value})


@given(REUSES)
def test_reuse_survives_json(reuse):
    config = SharpVConfig(vision_reuse=reuse)
    assert config.reuse is reuse
    assert SharpVConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert SharpVConfig(vision_reuse=dataclasses.asdict(reuse)) == config


def test_names_stand_for_reuse():
    assert SharpVConfig().vision_reuse is None
    assert SharpVConfig().reuse is None
    assert SharpVConfig(vision_reuse="balanced").vision_reuse == VisionReuse()
    assert SharpVConfig(vision_reuse="safe").reuse == VisionReuse(threshold=4.0, dilate=1, max_age=8)
    assert SharpVConfig(vision_reuse={}).vision_reuse == VisionReuse()


@pytest.mark.parametrize("name", ["image_mean", "image_std"])
def test_a_normalisation_is_set_whole(name):
    with pytest.raises(
        ValueError, match=r"^VisionReuse has image_mean=.* and image_std=.*: set both, or none"
    ):
        VisionReuse(**{name: (0.5, 0.5, 0.5)})


@given(REUSES)
def test_the_shorthand_of_reuse_stands_for_it(reuse):
    assert SharpVConfig(vision_reuse=reuse.shorthand).reuse == reuse


def test_shorthands_are_short():
    assert VisionReuse().shorthand == "balanced"
    assert VisionReuse(threshold=4.0, dilate=1, max_age=8).shorthand == "safe"
    assert VisionReuse(threshold=4, audit=2).shorthand == {"threshold": 4.0, "audit": 2}


def test_a_mistyped_key_of_reuse_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"unknown VisionReuse keys \['tau'\].*'threshold'"):
        SharpVConfig(vision_reuse={"tau": 6})


@given(st.fixed_dictionaries({}, optional=ACCEPTED))
def test_a_configuration_survives_json(values):
    config = SharpVConfig(**values)
    assert SharpVConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert set(values.items()) <= set(config.to_dict().items())


def test_every_field_is_tested_here():
    fields = {field.name for field in dataclasses.fields(SharpVConfig)}
    assert fields == REFUSED.keys() == ACCEPTED.keys() | {"threshold", "vision_reuse"}
    assert {field.name for field in dataclasses.fields(VisionReuse)} == REFUSED_REUSE.keys()


def test_a_threshold_and_a_budget_exclude_each_other():
    with pytest.raises(ValueError, match="set one of the two"):
        SharpVConfig(threshold=1.6, retention=0.5)
    assert SharpVConfig(threshold=1.6).threshold == 1.6


def test_a_mistyped_key_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"\['ratio'\].*'retention'"):
        SharpVConfig.from_dict({"ratio": 0.1})


def test_a_configuration_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SharpVConfig().retention = 0.5
    with pytest.raises(TypeError):
        SharpVConfig(0.5)
    assert hash(SharpVConfig()) == hash(SharpVConfig())


@pytest.mark.parametrize(
    ("options", "prunes"),
    [({}, True), ({"retention": 1}, False), ({"retention": 1.0}, False), ({"retention": 0.99}, True)],
)
def test_only_a_retention_of_one_prunes_no_token(options, prunes):
    assert SharpVConfig(**options).prunes_tokens is prunes


def test_reuse_drops_nothing():
    config = SharpVConfig(retention=1.0, memory_threshold=None, vision_reuse="safe")
    assert not config.prunes
    assert not config.prunes_tokens


def test_numbers_of_other_libraries_are_numbers():
    config = SharpVConfig(retention=np.float32(0.5), coverage=np.float64(0.25), memory_threshold=np.int64(1))
    assert config == SharpVConfig(retention=0.5, coverage=0.25, memory_threshold=1.0)
    assert json.loads(json.dumps(config.to_dict())) == config.to_dict()
    reuse = VisionReuse(threshold=np.float32(4.5), full_frame=np.int64(1))
    assert json.loads(json.dumps(dataclasses.asdict(reuse))) == dataclasses.asdict(reuse)
