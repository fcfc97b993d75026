"""The README's snippets run as written, but for the weights, which are random and small."""

import re
from pathlib import Path

import pytest
import transformers

from sharpv.hf.families import FAMILIES, Family
from sharpv.hf.layout import stacked
from sharpv.tiny.clip import moving_square
from sharpv.tiny.random.llava import llava_onevision
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


def test_the_page_on_adding_a_model_adds_one(monkeypatch):
    """What the line does is tested in `tests/hf/test_families.py`."""
    monkeypatch.setitem(FAMILIES, "made_up", None)
    (snippet,) = snippets("docs/adding-a-model.md")
    exec(snippet, {})
    assert FAMILIES["made_up"] == Family("Made Up", stacked)


def test_the_page_on_adding_a_model_answers_for_every_field():
    page = (ROOT / "docs/adding-a-model.md").read_text()
    assert [
        name for name in Family.__dataclass_fields__ if name != "name" and f"| `{name}` |" not in page
    ] == []
    assert [f.layout.__name__ for f in FAMILIES.values() if f"| `{f.layout.__name__}` |" not in page] == []
