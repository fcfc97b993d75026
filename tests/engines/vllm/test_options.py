"""What servers and requests may ask for; no vLLM is needed."""

import math

import pytest

from sharpv.engines.vllm.options import Options, checked_keep
from sharpv.errors import InputError

HUGE = pytest.param(10**400, id="huge")


@pytest.mark.parametrize("keep", [0, -0.1, 1.01, math.nan, HUGE, True, None, "0.5", "adaptive", [0.5]])
def test_a_share_outside_its_range_says_what_is_accepted(keep):
    with pytest.raises(InputError, match=r"give a number in \(0, 1\], or 'auto'"):
        checked_keep(keep)


def test_a_request_goes_before_the_server():
    server = Options.from_dict({"keep": 0.1, "coverage": 0.5})
    assert server.asked({}) == server
    asked = server.asked({"sharpv_keep": "auto", "fps": 2})
    assert (asked.keep, asked.rule) == ("auto", server.rule)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"retention": 0.5}, r"unknown options \['retention'\]"),
        ({"memory_threshold": 0.2}, "unknown options"),
        ({"vision_reuse": "safe"}, r"unknown options \['vision_reuse'\] for SharpV in vLLM: accepted are"),
        ({"keep": 2}, "share to keep is 2"),
        ({"gain": 0}, "gain is 0"),
        ({"gain": math.inf}, "gain is inf"),
        ({"gain": 10**400}, "gain is 1000"),
        ({"coverage": 2}, "coverage is 2"),
    ],
)
def test_options_that_mean_nothing_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Options.from_dict(values)


def test_options_go_there_and_back():
    options = Options.from_dict({"keep": "auto", "gain": 1.5, "diversity": True, "min_tokens_per_frame": 2})
    assert Options.from_dict(options.to_dict()) == options
