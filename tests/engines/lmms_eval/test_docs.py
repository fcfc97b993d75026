"""The commands of docs/reproduce-paper.md name what lmms-eval and we have."""

import re
from pathlib import Path

import pytest

from sharpv.engines.lmms_eval.settings import PREFIX, Settings
from sharpv.shapesqa.files import write

PAGE = (Path(__file__).parents[3] / "docs" / "reproduce-paper.md").read_text()
RUNS = re.findall(r"^  run \$task (\S+) (\S+)", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def manager(lmms_eval):
    from lmms_eval.tasks import TaskManager  # noqa: PLC0415

    return TaskManager(model_name="sharpv")


def test_the_tasks_are_there_with_their_metrics(manager):
    (listed,) = re.findall(r"^for task in (.+); do$", PAGE, re.MULTILINE)
    rows = dict(re.findall(r"^\| (?:0\.5|7)B \| (\w+) \| (.+?) \|", PAGE, re.MULTILINE))
    assert set(rows) == set(listed.split())
    for task, metrics in rows.items():
        path = Path(manager.task_index[task]["yaml_path"])
        if task == "mvbench":  # a group
            path = path.with_name("_default_template_yaml")
        for metric in re.findall(r"`(\w+)`", metrics):
            assert f"- metric: {metric}\n" in path.read_text()


def test_the_task_to_try_asks_about_clips_that_are_drawn(lmms_eval, tmp_path, monkeypatch):
    from lmms_eval.tasks import TaskManager, get_task_dict  # noqa: PLC0415

    for kind, ending in (("yaml", "yaml"), ("python", "py")):
        (text,) = re.findall(rf"^```{kind}\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        (tmp_path / f"shapes.{ending}").write_text(text)
    assert "sharpv shapesqa make -o clips " in PAGE
    write(tmp_path / "clips", 2)
    monkeypatch.chdir(tmp_path)
    manager = TaskManager(include_path=".", model_name="sharpv")
    task = get_task_dict(["shapes"], manager, "chat")["shapes"]
    doc = task.test_docs()[0]
    assert Path(*task.doc_to_visual(doc)).is_file()
    assert task.doc_to_text(doc) == doc["question"]
    assert task.process_results(doc, [doc["answer"]]) == {"exact_match": 1}


@pytest.mark.parametrize(("name", "args"), RUNS)
def test_the_settings_are_ours(lmms_eval, name, args):
    from lmms_eval.utils import simple_parse_args_string  # noqa: PLC0415

    given = simple_parse_args_string(args)
    settings = Settings.from_options({each.removeprefix(PREFIX): given[each] for each in given})
    assert settings.enabled == (name != "dense")


def test_all_of_them_were_found():
    assert [name for name, _ in RUNS] == ["dense", "adaptive", "stage-1", "paper", "vidcom2"]
