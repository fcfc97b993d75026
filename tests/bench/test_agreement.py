"""How far logits move on clips without labels, on the toy in the box: what is compared, and what it says."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

import sharpv
from sharpv.bench import agreement, encode_once
from sharpv.bench.agreement import run
from sharpv.bench.agreement_records import AgreementRecord
from sharpv.bench.agreement_spec import QUESTIONS, TOY_QUESTIONS, AgreementSpec, default_questions
from sharpv.bench.clips import check_clips
from sharpv.bench.conditions import Condition
from sharpv.bench.contest import CONTESTANTS, choose_contest
from sharpv.config import SharpVConfig
from sharpv.core.scores import score
from sharpv.hf.ask import VideoModel, build_inputs, unknown_words
from sharpv.methods.base import Budgeted, Selection, budget, keep_places
from sharpv.shapesqa import FAMILIES, iterate, render_clip
from sharpv.shapesqa.files import write_clip
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.video import Sampling, read_video, write_video

FRAMES = 4
ASKED = (TOY_QUESTIONS["scene_change"], TOY_QUESTIONS["caption"])
CONTEST = choose_contest(["sharpv"], (0.25, "adaptive"))


@dataclass(frozen=True)
class Worst(Budgeted):
    """The planted bad method: keeps the least important tokens."""

    name: ClassVar[str] = "worst"

    def select(self, features, config, grid=None) -> Selection:
        n, f = features.shape[:2]
        order = score(features).importance.flatten().cpu().argsort(stable=True)
        return keep_places(order[: budget(config, n, f)], features)


def spec(**given) -> AgreementSpec:
    values = {"conditions": CONTEST, "questions": ASKED, "frames": FRAMES, "max_new_tokens": 4}
    return AgreementSpec(**values | given)


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> list[Path]:
    """Clips of ShapesQA."""
    folder = tmp_path_factory.mktemp("clips")
    paths = []
    for sample in islice(iterate("test", frames=FRAMES), 6):
        paths.append(folder / f"{sample.name}.mp4")
        write_clip(sample, render_clip(sample.scene), paths[-1])
    return paths


@pytest.fixture(scope="module")
def compared(toy, files, tmp_path_factory) -> tuple[Path, dict]:
    """A run on two clips: its folder and its summary."""
    folder = tmp_path_factory.mktemp("run") / "new"
    return folder, run(toy, check_clips(files[:2], FRAMES), spec(), folder)


def records(folder: Path) -> dict[tuple[str, str], AgreementRecord]:
    lines = (folder / "records.jsonl").read_text().splitlines()
    return {record.key: record for record in map(AgreementRecord.from_json, lines)}


def without_seconds(summary: dict) -> dict:
    conditions = {
        name: found | {"cost": found["cost"] | {"seconds": 0}}
        for name, found in summary["conditions"].items()
    }
    return summary | {"conditions": conditions}


def test_every_condition_reads_the_same_answers_about_every_clip(compared, files):
    folder, summary = compared
    found = records(folder)
    assert set(found) == {(path.name, each.name) for path in files[:2] for each in CONTEST}
    for (clip, _), record in found.items():
        dense = found[clip, "dense"]
        assert [one.question for one in record.answers] == list(ASKED)
        assert [one.said for one in record.answers] == [one.said for one in dense.answers]
        assert [len(one.kl) for one in record.answers] == [len(one.same) for one in record.answers] == [2, 4]
        assert json.loads(record.to_json()) == json.loads(
            AgreementRecord.from_json(record.to_json()).to_json()
        )
    assert (summary["clips"], summary["questions"], summary["tokens"]) == (2, 2, 2 * (2 + 4))
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert list(summary["settings"]["clips"]) == [path.name for path in files[:2]]


def test_dense_against_dense_shows_no_difference(compared):
    dense = compared[1]["conditions"]["dense"]
    assert dense["kl"] == {"n": 12, "clusters": 2, "mean": 0, "low": 0, "high": 0}
    assert dense["agreement"]["right"] == dense["agreement"]["n"] == 12
    assert dense["cost"]["kept_share"] == {"mean": 1, "min": 1, "max": 1}
    assert (dense["contestant"], dense["budget"]) == (None, None)


def test_pruning_shows(compared):
    sharpv_at = compared[1]["conditions"]["sharpv@25%"]
    assert (sharpv_at["contestant"], sharpv_at["budget"], sharpv_at["seed"]) == ("sharpv", 0.25, 0)
    assert sharpv_at["kl"]["mean"] > 0.001
    assert sharpv_at["kl"]["low"] >= 0
    assert sharpv_at["cost"]["kept_share"] == {"mean": 0.25, "min": 0.25, "max": 0.25}


def test_the_others_keep_as_many_tokens_of_each_clip_as_adaptive_sharpv(compared):
    found = records(compared[0])
    kept = {}
    for clip in {clip for clip, _ in found}:
        counts = {found[clip, f"{name}@adaptive"].tokens_kept for name in ("sharpv", "random", "uniform")}
        assert len(counts) == 1
        kept[clip] = counts.pop()
    assert len(set(kept.values())) == 2


def test_the_figures_are_those_of_decoding_step_by_step(toy, files, compared):
    """The twin: `generate()` made to say the dense answer, which shortens prompts before the model."""
    path = files[0]
    video = read_video(path, Sampling(frames=FRAMES))
    config = SharpVConfig(retention=0.25, memory_threshold=None)
    record = records(compared[0])[path.name, "sharpv@25%"]
    for question, found in zip(ASKED, record.answers, strict=True):
        inputs = dict(build_inputs(toy.processor, video, question))
        options = {"do_sample": False, "output_logits": True, "return_dict_in_generate": True}
        free = toy.model.generate(**inputs, max_new_tokens=4, **options)
        width = inputs["input_ids"].shape[1]
        answer = free.sequences[0, width:].tolist()
        assert toy.processor.tokenizer.decode(answer, skip_special_tokens=True).strip() == found.said
        start = []

        def forced(row, ids, start=start, answer=answer):
            start.append(len(ids))
            return [answer[len(ids) - start[0]]]

        with sharpv.attach(toy.model, config):
            told = toy.model.generate(
                **inputs, max_new_tokens=len(answer), prefix_allowed_tokens_fn=forced, **options
            )
        dense, pruned = (torch.cat(each.logits).double().log_softmax(-1) for each in (free, told))
        kl = torch.nn.functional.kl_div(pruned, dense, reduction="none", log_target=True).sum(-1)
        assert found.kl == pytest.approx(kl.tolist(), abs=1e-4)  # float32, sums in another order
        assert found.same == tuple((dense.argmax(-1) == pruned.argmax(-1)).tolist())


def test_keeping_the_least_important_tokens_loses_clearly(toy, files):
    config = SharpVConfig(retention=0.25, memory_threshold=None)
    worst = Condition(name="worst@25%", method=Worst(), config=config, contestant="worst", budget=0.25)
    conditions = (*choose_contest(["sharpv"], (0.25,)), worst)
    asked = tuple(TOY_QUESTIONS[name] for name in ("direction", "shape_count", "caption"))
    summary = run(toy, check_clips(files, FRAMES), spec(conditions=conditions, questions=asked))
    best, bad = (summary["conditions"][name] for name in ("sharpv@25%", "worst@25%"))
    assert bad["kl"]["mean"] > 2 * best["kl"]["mean"]
    assert bad["kl"]["low"] > best["kl"]["mean"]
    assert bad["agreement"]["high"] < best["agreement"]["low"]


def test_a_question_alone_is_as_among_others(toy, files, compared):
    alone = run(toy, check_clips(files[:2], FRAMES), spec(questions=ASKED[1:]))
    found = records(compared[0])
    for name, condition in alone["conditions"].items():
        kl = [value for path in files[:2] for value in found[path.name, name].answers[1].kl]
        assert condition["kl"]["n"] == len(kl)
        assert condition["kl"]["mean"] == pytest.approx(np.mean(kl), rel=1e-12)


def test_the_vision_tower_runs_once_for_each_clip(toy, files, monkeypatch):
    calls = []
    encode = encode_once.encode_video
    monkeypatch.setattr(encode_once, "encode_video", lambda *args: calls.append(1) or encode(*args))
    tower = toy.model.base_model.vision_tower.register_forward_hook(lambda *args: calls.append("tower"))
    try:
        run(toy, check_clips(files[:2], FRAMES), spec())
    finally:
        tower.remove()
    assert calls == [1, "tower"] * 2
    assert "generate" not in vars(toy.model)
    assert "get_video_features" not in vars(toy.model.base_model)
    sharpv.attach(toy.model).detach()


def test_one_frame_of_one_clip(toy, tmp_path):
    frames = render_clip(next(iterate("test", frames=FRAMES)).scene)
    write_video(frames[:1], tmp_path / "one.mp4")
    contest = choose_contest([name for name in CONTESTANTS if name != "fastv"], (0.25,))
    clips = check_clips([tmp_path / "one.mp4"], 8)
    summary = run(toy, clips, spec(conditions=contest, frames=8))
    assert {name: found["kl"]["low"] for name, found in summary["conditions"].items()} == dict.fromkeys(
        [condition.name for condition in contest]
    )
    assert summary["conditions"]["evs@25%"]["cost"]["kept_share"]["mean"] == 0.25


def test_another_seed_draws_other_tokens_and_the_same_one_the_same(toy, files):
    clips = check_clips(files[:1], FRAMES)
    contest = choose_contest(["random"], (0.25,), seeds=(0, 3))
    first, again = (run(toy, clips, spec(conditions=contest)) for _ in range(2))
    assert without_seconds(first) == without_seconds(again)
    drawn = [first["conditions"][name]["kl"]["mean"] for name in ("random@25%", "random@25%#3")]
    assert drawn[0] != drawn[1]


@pytest.fixture
def interrupted(monkeypatch) -> Callable[[int], None]:
    """Lets so many conditions be attached, and then none."""

    def after(count: int) -> None:
        calls, plain = [], agreement.attach

        def attach(*args, **given):
            calls.append(1)
            if len(calls) > count:
                raise KeyboardInterrupt
            return plain(*args, **given)

        monkeypatch.setattr(agreement, "attach", attach)

    return after


def test_an_interrupted_run_goes_on_where_it_ended(toy, files, compared, tmp_path, interrupted, monkeypatch):
    clips = check_clips(files[:2], FRAMES)
    interrupted(len(CONTEST) + 3)
    with pytest.raises(KeyboardInterrupt):
        run(toy, clips, spec(), tmp_path)
    monkeypatch.undo()
    path = tmp_path / "records.jsonl"
    done = path.read_text()
    assert done.count("\n") == len(CONTEST) + 3
    assert not (tmp_path / "summary.json").exists()
    path.write_text(done + done.splitlines()[0][:40])  # a line that was cut off while it was written
    assert without_seconds(run(toy, clips, spec(), tmp_path)) == without_seconds(compared[1])
    assert path.read_text().startswith(done)


def test_a_finished_run_is_not_compared_again(toy, files, compared, tmp_path, interrupted):
    shutil.copytree(compared[0], tmp_path / "copy")
    interrupted(0)
    assert run(toy, check_clips(files[:2], FRAMES), spec(), tmp_path / "copy") == compared[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("conditions", choose_contest(["sharpv"], (0.12,))),
        ("questions", ASKED[:1]),
        ("frames", 3),
        ("max_new_tokens", 3),
    ],
    ids=["conditions", "questions", "frames", "max_new_tokens"],
)
def test_other_settings_are_refused_in_the_same_folder(toy, files, compared, name, value):
    with pytest.raises(sharpv.InputError, match=rf"other settings \({name}\): give another folder"):
        run(toy, check_clips(files[:2], FRAMES), spec(**{name: value}), compared[0])


def test_other_bytes_under_the_same_name_are_refused(toy, files, compared, tmp_path):
    twin = tmp_path / files[1].name
    shutil.copy(files[2], twin)
    with pytest.raises(sharpv.InputError, match=r"other settings \(clips\): give another folder"):
        run(toy, check_clips([files[0], twin], FRAMES), spec(), compared[0])


def test_a_damaged_record_is_named(toy, files, compared, tmp_path):
    shutil.copytree(compared[0], tmp_path / "copy")
    (tmp_path / "copy" / "records.jsonl").write_text('{"clip": 1, "answers": []}\n')
    with pytest.raises(sharpv.InputError, match=r"line 1 of .* is no record"):
        run(toy, check_clips(files[:2], FRAMES), spec(), tmp_path / "copy")


def test_logits_that_are_not_finite_are_named(toy, files):
    weight = toy.model.get_output_embeddings().weight
    before = weight.data.clone()
    weight.data[3] = torch.inf
    try:
        with pytest.raises(sharpv.InputError, match=r"logits of toy:default on '.*mp4' that are not finite"):
            run(toy, check_clips(files[:1], FRAMES), spec())
    finally:
        weight.data.copy_(before)


# One with positions of several axes, which generate() leaves behind for later passes; one shown images.
@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl"])
def test_dense_predicts_its_own_answers_in_other_families(family, files, monkeypatch):
    model, processor = RANDOM_MODELS[family](image_size=112)
    model.generation_config.eos_token_id = None
    loaded = VideoModel(family, model.eval(), processor)
    seen, plain = [], agreement._predictions

    def noted(loaded, inputs, steps):
        found = plain(loaded, inputs, steps)
        seen.append((found.argmax(-1).tolist(), inputs["input_ids"][0, -steps:].tolist()))
        return found

    monkeypatch.setattr(agreement, "_predictions", noted)
    conditions = choose_contest(["sharpv"], (0.25,))[:1]
    summary = run(loaded, check_clips(files[:1], FRAMES), spec(conditions=conditions, questions=("What?",)))
    assert summary["conditions"]["dense"]["kl"]["mean"] == 0
    assert len(seen) == 2
    for predicted, answer in seen:
        assert predicted == answer
        assert len(answer) == 4


def test_a_family_that_reads_no_answer_in_the_pass_of_a_pruned_prompt_is_refused(files):
    model, processor = RANDOM_MODELS["gemma4"](image_size=112)
    with pytest.raises(
        sharpv.UnsupportedModelError, match=r"'gemma4', which cannot read a pruned prompt and"
    ):
        run(VideoModel("gemma4", model, processor), check_clips(files[:1], FRAMES), spec())


def test_the_toy_is_asked_what_it_knows(toy):
    assert default_questions("toy:dense") == tuple(TOY_QUESTIONS.values())
    assert default_questions("org/model") == QUESTIONS
    assert list(TOY_QUESTIONS) == list(FAMILIES)
    asked = {(q.family, q.text) for sample in islice(iterate("test"), 200) for q in sample.questions}
    for family, question in TOY_QUESTIONS.items():
        assert unknown_words(toy, question) == []
        assert (family, question) in asked


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"questions": ()}, r"questions are \[\]: give at least one, each once"),
        ({"questions": ("a", "a")}, "each once"),
        ({"questions": ("a", " ")}, "none may be empty"),
        ({"frames": 0}, "frames is 0: it must be a whole number of at least 1"),
        ({"max_new_tokens": True}, "max_new_tokens is True"),
        ({"conditions": CONTEST[1:]}, "'dense' must be among them"),
        ({"conditions": (*CONTEST, Condition(name="blind", frames="none"))}, "must show the whole clip"),
        ({"conditions": (*CONTEST, CONTEST[1])}, "stands twice"),
        (
            {"conditions": (CONTEST[0], replace(CONTEST[1], config=SharpVConfig(retention=0.5)))},
            "memory_threshold=0.2, which acts only on what is read after .*: set it to None",
        ),
        ({"conditions": choose_contest(["fastv"], [0.5])}, "chooses by the prompt's last token"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_specification_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        spec(**given)


def test_clips_are_told_apart_by_name_and_bytes(files, tmp_path):
    first, second = check_clips(files[:2], FRAMES)
    assert (first.name, second.name) == (files[0].name, files[1].name)
    assert first.digest != second.digest
    renamed = shutil.copy(files[0], tmp_path / "other.mp4")
    assert check_clips([renamed], FRAMES)[0].digest == first.digest
    twin = shutil.copy(files[1], tmp_path / files[0].name)
    with pytest.raises(sharpv.InputError, match=rf"several clips called {files[0].name}: .*name of its own"):
        check_clips([files[0], twin], FRAMES)
    with pytest.raises(sharpv.InputError, match="got no clips: name at least one"):
        check_clips([], FRAMES)


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "cut"])
def test_a_bad_clip_is_named_before_any_work(files, tmp_path, damage):
    bad = tmp_path / "bad.mp4"
    whole = files[0].read_bytes()
    content = {"empty": b"", "text": b"not a video", "cut": whole[: len(whole) // 2]}
    if damage != "missing":
        bad.write_bytes(content[damage])
    with pytest.raises(sharpv.VideoError, match=r"bad\.mp4"):
        check_clips([files[0], bad], FRAMES)


def test_a_clip_that_was_cut_short_but_can_be_read_in_part_is_refused(videos, tmp_path):
    whole = (videos / "asl-walk.mkv").read_bytes()
    bad = tmp_path / "cut.mkv"
    bad.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(sharpv.VideoError, match=r"cut\.mkv' is cut short: .*: give a whole clip, or leave"):
        check_clips([bad], FRAMES)
