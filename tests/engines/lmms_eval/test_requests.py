"""Requests of all kinds: what fails the run, and what is recorded of the others."""

import gc
import subprocess
import sys
import weakref

import pytest

from tests.engines.lmms_eval.conftest import FEW
from tests.engines.lmms_eval.test_runs import BASES, NOTHING_DROPPED, OFF, TOKENS

pytestmark = pytest.mark.filterwarnings("ignore:Passing `min_pixels` and `max_pixels`")


def test_two_clips_of_a_document_are_both_pruned(evaluate, checkpoint):
    for family in ("llava_onevision", "qwen2_5_vl"):
        args = f"{BASES[family]},pretrained={checkpoint(family)}"
        run = evaluate(f"{args},sharpv_retention=0.25", "two_clips")
        for request in run.requests:
            kept = [(video["row"], video["tokens_kept"]) for video in request["videos"]]
            assert kept == [(0, TOKENS[family] // 4)] * 2
        assert run.summary["kept_share"] == {"mean": 0.25, "min": 0.25, "max": 0.25}


@pytest.mark.parametrize("task", ["picture", "text"])
@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl"])
def test_without_a_clip_nothing_is_pruned(evaluate, checkpoint, caplog, family, task):
    args = f"{BASES[family]},pretrained={checkpoint(family)}"
    off, on = evaluate(f"{args},{OFF}", task), evaluate(f"{args},sharpv_retention=0.1", task)
    assert off.answers == on.answers
    assert all(off.answers)
    assert [request["prompt_tokens"] for request in off.requests] == [
        request["prompt_tokens_kept"] for request in on.requests
    ]
    assert on.summary["requests_with_video"] == 0
    assert "none of 2 requests held a video: nothing was pruned" in caplog.text


def test_rows_of_a_batch_are_recorded_like_requests_of_their_own(evaluate, checkpoint):
    args = f"{BASES['qwen2_5_vl']},pretrained={checkpoint('qwen2_5_vl')}"
    alone = evaluate(f"{args},sharpv_retention=0.25", "few")
    dense, on, off = (
        evaluate(f"{args},{more}", "few", batch_size=2)
        for more in (NOTHING_DROPPED, "sharpv_retention=0.25", OFF)
    )
    assert dense.answers == off.answers
    (batch,), (without,) = on.requests, off.requests
    assert batch["docs"] == [{"task": "few", "doc_id": n} for n in (0, 1)]
    assert [video["row"] for video in batch["videos"]] == [0, 1]
    for name in ("prompt_tokens", "prompt_tokens_kept", "new_tokens"):
        assert batch[name] == [request[name][0] for request in alone.requests], name
    assert without["prompt_tokens"] == batch["prompt_tokens"]
    assert on.summary["documents_served"] == on.summary["documents"] == 2


def test_every_clip_of_a_request_has_as_many_frames_as_asked(evaluate, checkpoint):
    # It takes them of the first clip of a request only.
    base = BASES["qwen2_vl"].replace("max_num_frames=4", "max_num_frames=2")
    run = evaluate(f"{base},pretrained={checkpoint('qwen2_vl')}", "two_clips", batch_size=2)
    (request,) = run.requests
    assert [video["tokens_total"] for video in request["videos"]] == [TOKENS["qwen2_vl"] // 2] * 4


def test_a_limit_is_followed(evaluate, checkpoint):
    args = f"{BASES['llava_onevision']},pretrained={checkpoint('llava_onevision')}"
    run = evaluate(args, "few", limit=1)
    assert [request["docs"] for request in run.requests] == [[{"task": "few", "doc_id": 0}]]
    assert run.summary["documents"] == 1


def test_documents_before_an_offset_are_not_taken_for_cached_ones(evaluate, checkpoint, caplog):
    args = f"{BASES['llava_onevision']},pretrained={checkpoint('llava_onevision')},{OFF}"
    run = evaluate(args, "few", offset=1, limit=2)
    assert [request["docs"] for request in run.requests] == [[{"task": "few", "doc_id": 1}]]
    assert (run.summary["documents"], run.summary["documents_served"]) == (1, 1)
    assert "from a cache" not in caplog.text


@pytest.mark.parametrize(
    ("family", "more", "task", "named"),
    [
        # It only logs what it cannot read, and asks without.
        ("qwen2_vl", OFF, "lost", "got 1 clips, of which 0 reached the model"),
        ("qwen2_vl", "sharpv_retention=0.25", "lost", "got 1 clips, of which 0 reached the model"),
        ("qwen2_vl", OFF, "half_lost", "request half_lost [01]: got 2 clips, of which 1 reached"),
        ("llava_onevision", OFF, "lost", "request lost [01]: .*broken.mp4"),
        ("llava_onevision", OFF, "cut", "request cut [01]: .* this base reads whole clips only"),
        (
            "qwen2_vl",
            OFF,
            "likelihood",
            "a task asks for loglikelihood: with SharpV, only",
        ),
    ],
)
def test_what_would_lower_a_score_fails_the_run(evaluate, checkpoint, family, more, task, named):
    from sharpv.engines.lmms_eval.model import RunFailed  # noqa: PLC0415

    with pytest.raises(RunFailed, match=named):
        evaluate(f"{BASES[family]},pretrained={checkpoint(family)},{more}", task)


def test_clips_that_are_not_pruned_fail_the_run(evaluate, checkpoint):
    from sharpv.engines.lmms_eval.model import RunFailed  # noqa: PLC0415

    args = f"base=internvl_hf,num_frames=8,pretrained={checkpoint('internvl')}"
    with pytest.raises(RunFailed, match=r"got 1 clips, of which 0 could be pruned: .* images_as_frames=True"):
        evaluate(args, "few")


def test_a_part_of_a_clip_is_read_where_the_base_can(evaluate, checkpoint):
    args = f"{BASES['qwen2_5_vl']},pretrained={checkpoint('qwen2_5_vl')},fps=4,{OFF}"
    whole, part = evaluate(args, "few"), evaluate(args, "cut")
    assert part.requests[0]["prompt_tokens"] < whole.requests[0]["prompt_tokens"]


def test_answers_from_a_cache_are_told_apart(evaluate, checkpoint, tmp_path, caplog):
    args = f"{BASES['llava_onevision']},pretrained={checkpoint('llava_onevision')}"
    first = evaluate(args, "few", use_cache=str(tmp_path))
    assert (first.summary["documents"], first.summary["documents_served"]) == (2, 2)
    assert "from a cache" not in caplog.text
    # The key knows our options: without SharpV, all is asked again.
    assert evaluate(f"{args},{OFF}", "few", use_cache=str(tmp_path)).summary["documents_served"] == 2
    again = evaluate(args, "few", use_cache=str(tmp_path))
    assert again.answers == first.answers
    assert (again.summary["documents"], again.summary["documents_served"]) == (2, 0)
    assert "0 of 2 documents were served: the other answers came from a cache" in caplog.text


def test_a_run_leaves_nothing_to_the_next(evaluate, checkpoint, monkeypatch):
    import sharpv.engines.lmms_eval.model as plug_in  # noqa: PLC0415

    models = []
    attach = plug_in.attach
    monkeypatch.setattr(
        plug_in, "attach", lambda model, *a, **k: models.append(weakref.ref(model)) or attach(model, *a, **k)
    )
    args = f"{BASES['qwen2_5_vl']},pretrained={checkpoint('qwen2_5_vl')}"
    gc.disable()
    try:
        evaluate(args, "few", save=False)
        # lmms-eval lets go of the model before the scores are made.
        assert [model() for model in models] == [None]
    finally:
        gc.enable()
    plain = args.partition(",")[2] + ",device_map=cpu"
    assert evaluate(plain, "few", model="qwen2_5_vl").summary == {}


def test_of_a_clip_shorter_than_asked_all_frames_are_read(evaluate, checkpoint):
    for family, per_token in (("llava_onevision", 1), ("qwen2_5_vl", 2), ("qwen3_vl", 2), ("internvl", 1)):
        args = ",".join(part for part in BASES[family].split(",") if not part.endswith("=8"))
        args += f",pretrained={checkpoint(family)},sharpv_retention=0.5"
        for request in evaluate(args, "few").requests:
            assert request["videos"][0]["frames"] * per_token == FEW.frames, family


GATHER = """
import sys
import torch
from sharpv.engines.lmms_eval.records import Records
rank = int(sys.argv[1])
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
records = Records({})
records.requests = [{"docs": [n], "rank": 0} for n in range(rank, 3, 2)]
records.gather()
print([(each["docs"], each["rank"]) for each in records.requests])
"""


def test_the_records_of_all_processes_are_gathered(lmms_eval, tmp_path):
    meeting = str(tmp_path / "meeting")
    both = [
        subprocess.Popen(
            [sys.executable, "-c", GATHER, str(rank), meeting], stdout=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert said == [f"{[([0], 0), ([2], 0), ([1], 1)]}\n"] * 2
