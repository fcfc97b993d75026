"""The commands of docs/reproduce-paper.md name what lmms-eval and we have."""

import re
from pathlib import Path

import pytest

from sharpv.engines.lmms_eval.settings import PREFIX, Settings

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


@pytest.mark.parametrize(("name", "args"), RUNS)
def test_the_settings_are_ours(lmms_eval, name, args):
    from lmms_eval.utils import simple_parse_args_string  # noqa: PLC0415

    given = simple_parse_args_string(args)
    settings = Settings.from_options({each.removeprefix(PREFIX): given[each] for each in given})
    assert settings.enabled == (name != "dense")


def test_all_of_them_were_found():
    assert [name for name, _ in RUNS] == ["dense", "adaptive", "stage-1", "paper", "vidcom2"]
