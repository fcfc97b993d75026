"""The toys in the box see: a few questions of each family, and the same without the video."""

import pytest

from sharpv.bench.accuracy import run
from sharpv.bench.conditions import choose_conditions
from sharpv.bench.spec import AccuracySpec
from sharpv.hf.ask import load_model
from sharpv.tiny.load import TOYS

# Of 20 questions; docs/toy-model.md has the accuracy. One may turn where arithmetic rounds otherwise.
FEWEST_RIGHT = {"caption": 0.8}


@pytest.mark.parametrize("name", TOYS)
def test_a_toy_answers_from_what_it_sees(name):
    spec = AccuracySpec(
        conditions=choose_conditions(("dense", "blind")),
        split="validation",
        per_family=20,
        control_per_family=20,
    )
    found = run(load_model(f"toy:{name}", dtype="float32"), spec)["conditions"]
    for family, share in found["dense"]["families"].items():
        assert share["value"] >= FEWEST_RIGHT.get(family, 0.85), (family, share)
    assert found["dense"]["macro"] >= 0.95
    assert found["blind"]["macro"] < 0.4
