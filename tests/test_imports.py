"""The public surface: exactly these names, and none of them costs torch before it is used."""

import subprocess
import sys

import pytest

import sharpv
from sharpv import errors

SURFACE = [
    "AttachError",
    "InputError",
    "Report",
    "Scores",
    "Session",
    "SharpVConfig",
    "SharpVError",
    "UnsupportedModelError",
    "VideoError",
    "VisionReuse",
    "attach",
    "keep_mask",
    "prune_inputs",
    "score",
]
HEAVY = {"torch", "numpy", "transformers", "av", "typer", "rich"}


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_importing_sharpv_is_light():
    uses = (
        "dir(sharpv); sharpv.SharpVConfig(); sharpv.VisionReuse; sharpv.Report; from sharpv import InputError"
    )
    assert not loaded_by(f"import sharpv; {uses}") & HEAVY


def test_the_maths_needs_no_transformers():
    assert not loaded_by("import sharpv; sharpv.keep_mask, sharpv.score") & {"transformers", "av", "typer"}


def test_the_public_names():
    assert sorted(sharpv.__all__) == SURFACE == sorted(dir(sharpv))


@pytest.mark.parametrize("name", SURFACE)
def test_every_public_name_resolves_to_itself(name):
    assert getattr(sharpv, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'atach'"):
        _ = sharpv.atach
    with pytest.raises(ImportError):
        exec("from sharpv import atach")


def test_every_error_is_a_sharpv_error():
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), sharpv.SharpVError)
    assert issubclass(sharpv.InputError, ValueError)
    assert issubclass(sharpv.AttachError, RuntimeError)
