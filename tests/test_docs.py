"""The README's snippets run as written, but for the weights, which are random and small."""

import re
from pathlib import Path

import pytest
import transformers

from sharpv.hf.families import FAMILIES, Family
from sharpv.hf.layout import grid, stacked
from sharpv.tiny.clip import moving_square
from sharpv.tiny.random_model import llava_onevision
from sharpv.video import write_video

ROOT = Path(__file__).parents[1]


def snippets(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("snippet", snippets("README.md"), ids=lambda text: text.split("\n")[0])
def test_readme(snippet, tmp_path, monkeypatch, capsys):
    model, processor = llava_onevision(image_size=112)
    monkeypatch.setattr(transformers.AutoModelForImageTextToText, "from_pretrained", lambda name: model)
    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", lambda name: processor)
    monkeypatch.chdir(tmp_path)
    write_video(moving_square(frames=40, height=96, width=128), "clip.mp4", fps=8)
    exec(snippet, {})
    if "print" in snippet:
        printed = capsys.readouterr().out
        assert "<video>" not in printed
        assert 32 <= int(printed.split()[-1]) < 32 * 16
    assert "generate" not in vars(model)


def test_the_page_on_adding_a_model_shows_the_table_as_it_is():
    (snippet,) = snippets("docs/adding-a-model.md")
    found: dict = {"Family": Family, "grid": grid, "stacked": stacked}
    exec(snippet, found)
    assert found["FAMILIES"] == FAMILIES
