"""Checkpoints with random weights, clips, and tasks over them; lmms-eval itself comes from PyPI."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sharpv.bench.accuracy import draw
from sharpv.bench.spec import AccuracySpec
from sharpv.shapesqa import Sample, render_clip
from sharpv.shapesqa.files import write_clip
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.tiny.random.qwen import TOWER

HERE = Path(__file__).parent
SPEC = AccuracySpec(per_family=2, control_per_family=1, source="mp4", scoring="generate", rows=1)
FEW = AccuracySpec(
    per_family=1, control_per_family=1, families=("recog", "scene_change"), frames=12, size=112
)


@pytest.fixture(scope="session")
def lmms_eval() -> Iterator[None]:
    """lmms-eval offline, on one thread."""
    if find_spec("lmms_eval") is None:
        pytest.skip("lmms-eval is not installed: run `make test-lmms`")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield
    torch.set_num_threads(threads)


def write_task(
    name: str, folder: Path, rows: Sequence[Mapping[str, Any]], max_new_tokens: int, more: str = ""
) -> None:
    """Writes questions, and the task of that name; `more` are further lines of it."""
    questions = folder / f"{name}.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = (HERE / "tasks" / "template.yaml").read_text()
    text = text.replace("{temperature", f"{{max_new_tokens: {max_new_tokens}, temperature")
    text += f"task: {name}\ndataset_kwargs: {{data_files: {{test: {questions}}}}}\n{more}"
    # Of two lines with one key, the later is read.
    (folder / f"{name}.yaml").write_text(text)


def write_questions(folder: Path, samples: Sequence[Sample], size: int) -> list[dict[str, Any]]:
    """Writes the clips, and returns a row for each question about them."""
    rows = []
    for sample in samples:
        clip = folder / f"{sample.name}-{size}.mp4"
        write_clip(sample, render_clip(sample.scene, size), clip)
        for question in sample.questions:
            row = {"video": str(clip), "question": question.text, "options": list(question.options)}
            rows.append(row | {"family": question.family, "answer": question.answer})
    return rows


@pytest.fixture(scope="session")
def tasks(lmms_eval: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tasks.

    `few`; `shapesqa` with the questions of `SPEC`; `two_clips`, `picture` and `text`, which ask about other
    media; `lost`, whose clip is no clip, and `half_lost`, of whose two clips one is none; `cut`, which wants
    a part of one; `likelihood`.
    """
    folder = tmp_path_factory.mktemp("tasks")
    shutil.copy(HERE / "tasks" / "utils.py", folder)
    few = write_questions(folder, draw(FEW, 1), FEW.size)
    write_task("few", folder, few, max_new_tokens=4)
    of_spec = write_questions(folder, draw(SPEC, SPEC.per_family), SPEC.size)
    write_task("shapesqa", folder, of_spec, SPEC.max_new_tokens)
    picture, broken = folder / "picture.png", folder / "broken.mp4"
    Image.fromarray(np.full((56, 56, 3), 128, np.uint8)).save(picture)
    broken.write_bytes(b"no clip")
    clips = [row["video"] for row in few]
    media = "doc_to_visual: !function utils.doc_to_media\n"
    for name, paths in (("two_clips", clips), ("picture", [str(picture)]), ("text", [])):
        write_task(name, folder, [row | {"media": paths} for row in few], 4, media)
    for name, paths in (("lost", [str(broken)]), ("half_lost", [clips[0], str(broken)])):
        write_task(name, folder, [row | {"media": paths} for row in few], 4, media)
    write_task("cut", folder, few, 4, "doc_to_messages: !function utils.doc_to_cut\n")
    write_task("likelihood", folder, few, 4, "output_type: loglikelihood\n")
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives a folder with a saved tiny model of a family."""

    @cache
    def folder(family: str) -> Path:
        path = tmp_path_factory.mktemp(family)
        with pytest.MonkeyPatch.context() as patch:
            if family.startswith("qwen3"):
                # Of the released models' size, which lmms-eval takes for granted.
                patch.setitem(TOWER, "patch_size", 16)
            model, processor = RANDOM_MODELS[family](image_size=112)
        if family.startswith("qwen3"):
            processor.image_processor.patch_size = processor.video_processor.patch_size = 16
        model.save_pretrained(path)
        processor.save_pretrained(path)
        return path

    return folder


@pytest.fixture(scope="session")
def command(tasks: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs lmms-eval as its users do."""

    def run(
        model_args: str, task: str, *options: object, model: str = "sharpv"
    ) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "lmms_eval", "--model", model, "--model_args", model_args]
        line += ["--tasks", task, "--include_path", str(tasks), "--batch_size", "1", "--device", "cpu"]
        return subprocess.run([*line, *map(str, options)], capture_output=True, text=True, check=False)

    return run


@dataclass(frozen=True)
class Run:
    """What lmms-eval returned: the score, each document's answer, and what is beside its results, if any."""

    accuracy: float
    answers: list[str]
    requests: list[dict[str, Any]]
    summary: dict[str, Any]


@pytest.fixture(scope="session")
def evaluate(tasks: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Runs lmms-eval in this process."""
    from lmms_eval.evaluator import simple_evaluate  # noqa: PLC0415
    from lmms_eval.loggers.evaluation_tracker import EvaluationTracker  # noqa: PLC0415
    from lmms_eval.tasks import TaskManager  # noqa: PLC0415

    manager = TaskManager(include_path=str(tasks), model_name="sharpv")

    def run(model_args: str, task: str, *, model: str = "sharpv", save: bool = True, **options: Any) -> Run:
        out = tmp_path_factory.mktemp("results")
        tracker = EvaluationTracker(output_path=str(out))
        settings = {"batch_size": 1, "device": "cpu", "bootstrap_iters": 0} | options
        found = simple_evaluate(
            model=model,
            model_args=model_args,
            tasks=[task],
            task_manager=manager,
            evaluation_tracker=tracker,
            **settings,
        )
        if save:
            tracker.save_results_aggregated(results=found, samples=found["samples"], datetime_str="now")
        lines = [line for path in out.rglob("now_sharpv.jsonl") for line in path.read_text().splitlines()]
        summaries = [json.loads(path.read_text()) for path in out.rglob("now_sharpv.json")]
        samples = sorted(found["samples"][task], key=lambda sample: sample["doc_id"])
        return Run(
            found["results"][task]["accuracy,none"],
            [sample["filtered_resps"][0] for sample in samples],
            [json.loads(line) for line in lines],
            *(summaries or [{}]),
        )

    return run
