"""The pages say what is so: snippets run as written, but for the weights, which are random and small."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import transformers

from sharpv.hf.families import FAMILIES, Family
from sharpv.hf.layout import stacked
from sharpv.hf.towers import TOWERS
from sharpv.methods import METHODS
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


def test_the_page_on_inspecting_draws(tmp_path, monkeypatch):
    (snippet,) = snippets("docs/inspect.md")
    monkeypatch.chdir(tmp_path)
    write_video(moving_square(frames=12, height=96, width=128), "clip.mp4", fps=8)
    names = {}
    exec(snippet, names)
    assert [picture.size for picture in names["pictures"]] == [(128, 96)] * 8
    made = {"clip.mp4", "strip.png", "overlay.mp4", "layers.svg"}
    assert {path.name for path in tmp_path.iterdir()} == made


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


def test_the_page_on_methods_has_a_section_for_each():
    page = (ROOT / "docs/methods.md").read_text()
    assert re.findall(r"^## `(\w+)`$", page, re.MULTILINE) == list(METHODS)
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(METHODS)


def test_the_page_on_methods_names_the_towers_that_can_be_read():
    page = " ".join((ROOT / "docs/methods.md").read_text().split())
    assert f"those of: {', '.join(FAMILIES[name].name for name in TOWERS)} All others" in page


def case(test: str, *parameters: str, outcome: str = "") -> str:
    name = f"{test}[{'-'.join(parameters)}]"
    return f'<testcase classname="tests.hf.test_exactness" name="{name}">{outcome}</testcase>'


def run_matrix(folder: Path, cases: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "build").mkdir(exist_ok=True)
    (folder / "build/tests.xml").write_text(
        f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>"
    )
    script = [sys.executable, str(ROOT / "docs/matrix.py"), *options]
    return subprocess.run(script, cwd=folder, capture_output=True, text=True)


def test_the_tables_of_what_is_supported_say_what_the_tests_found(tmp_path):
    off, beams = "test_switched_off_is_bit_exact", "test_beams_of_a_ragged_batch_equal_each_row_alone"
    cases = [
        case(off, family, attention, rows)
        for family in FAMILIES
        for attention in ("sdpa", "eager")
        for rows in ("batch1", "batch2")
        if (family, attention, rows) != ("qwen2_vl", "eager", "batch1")
    ]
    cases.append(case(beams, "glm4v", outcome="<skipped/>"))
    cases.append(case(beams, "internvl"))
    page = tmp_path / "docs/supported.md"
    page.parent.mkdir()
    page.write_text(
        "".join(f"<!-- {name} by docs/matrix.py -->\nold\n<!-- end -->\n" for name in ("matrix", "requests"))
    )
    checked = run_matrix(tmp_path, cases, "--check")
    assert checked.returncode == 1
    assert "docs/supported.md does not say what the tests found" in checked.stderr
    for options in ((), ("--check",)):
        assert run_matrix(tmp_path, cases, *options).returncode == 0
    made = page.read_text()
    assert "| `glm4v` | sdpa, eager | 1, 2 | - |" in made
    assert "| `qwen2_vl` | sdpa | 1, 2 | - |" in made
    assert "| `qwen2_vl` | eager | 2 | - |" in made
    assert "| `glm4v` | - | no |" in made
    assert "| `internvl` | - | yes |" in made
    assert "old" not in made

    failed = run_matrix(tmp_path, [*cases, case(off, "glm4v", "sdpa", "batch1", outcome="<failure/>")])
    partial = run_matrix(tmp_path, cases[4:])
    for refused in (failed, partial):
        assert refused.returncode == 1
        assert "run all of `make test`" in refused.stderr
    assert page.read_text() == made
