"""The wheel: it holds the package with both toys, nothing else, and stays small."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from sharpv.tiny.load import TOYS

ROOT = Path(__file__).parents[1]
TOY_FILES = (
    "model.safetensors",
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
LARGEST = 15e6


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (path,) = folder.iterdir()
    return path


def test_the_wheel_holds_the_toys_their_card_and_the_mark_of_types(wheel):
    names = set(ZipFile(wheel).namelist())
    weights = "sharpv/tiny/weights"
    assert {f"{weights}/{toy}/{name}" for toy in TOYS for name in TOY_FILES} <= names
    assert {f"{weights}/README.md", "sharpv/py.typed"} <= names


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = [name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name]
    sources = (path for path in (ROOT / "src/sharpv").rglob("*") if path.is_file())
    package = [path.relative_to(ROOT / "src").as_posix() for path in sources if path.suffix != ".pyc"]
    assert sorted(names) == sorted(package)


def test_the_wheel_is_small(wheel):
    assert wheel.stat().st_size < LARGEST
