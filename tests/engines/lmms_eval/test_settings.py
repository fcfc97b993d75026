"""What `--model_args` may say of SharpV."""

import pytest

from sharpv import InputError, SharpVConfig
from sharpv.engines.lmms_eval.settings import Settings


def test_options_are_fields_of_the_configuration():
    assert Settings.from_options({}) == Settings(True, "sharpv", SharpVConfig())
    options = {"method": "vidcom2", "retention": 0.25, "memory_threshold": "None", "vision_reuse": "safe"}
    expected = SharpVConfig(retention=0.25, memory_threshold=None, vision_reuse="safe")
    assert Settings.from_options(options) == Settings(True, "vidcom2", expected)


def test_a_run_without_sharpv_claims_no_settings():
    settings = Settings.from_options({"enabled": False, "retention": 0.25})
    assert settings.to_dict() == {"enabled": False, "method": None, "config": None}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"retain": 0.25}, "sharpv_retain: accepted are sharpv_enabled, sharpv_method, sharpv_retention"),
        ({"retention": 2.0}, r"retention is 2.0: it must be 'adaptive' or a number in \(0, 1\]"),
        ({"method": "sharpest"}, "got method 'sharpest': it must be one of sharpv"),
        (
            {"method": "vidcom2", "retention": 0.5, "min_tokens_per_frame": 2},
            "min_tokens_per_frame would have no effect",
        ),
        ({"enabled": "no"}, "sharpv_enabled='no': it must be True or False"),
    ],
)
def test_mistakes_are_named(options, named):
    with pytest.raises(InputError, match=named):
        Settings.from_options(options)
