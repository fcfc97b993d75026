"""The record of a request: JSON both ways, and nothing derived twice."""

import dataclasses
import json

import pytest

from sharpv import Report, SharpVConfig
from sharpv.report import SCHEMA_VERSION, LayerReport, Milliseconds, ReuseAudit, ReuseReport, VideoReport

VIDEO = VideoReport(
    row=1,
    frames=2,
    tokens_per_frame=3,
    separators=1,
    ratios=(0.5, 0.25),
    kept=((True, False, True), (False,) * 3),
)
PLACED = dataclasses.replace(VIDEO, leading=1, grid=(1, 2), source_frames=2, window=(0.0, -0.25, 1.0, 1.25))
INSIDE = dataclasses.replace(VIDEO, kept=((True,) * 3,) * 2, kept_inside=VIDEO.kept)
REUSE = ReuseReport(
    computed=((True,) * 4, (False, True, False, False)),
    grid=(2, 2),
    plan_milliseconds=1.5,
    audit=ReuseAudit(frames=1, cosine_mean=0.99, cosine_p5=0.9, temporal_error=0.01, kept_overlap=0.5),
)
UNPLANNED = ReuseReport(computed=(), grid=None, plan_milliseconds=0.0, fallback="a reason")
FULL = Report(
    model="llava_onevision",
    config=SharpVConfig(retention=0.5),
    method="random",
    prompt_tokens=(5, 12),
    prompt_tokens_kept=(5, 8),
    videos=(VIDEO, dataclasses.replace(VIDEO, row=0, ratios=())),
    layer_tokens=(4, 4, 2, 0),
    layers=(LayerReport(layer=0, similarity=(None, 1.0), dropped=(False, True)),),
    cache_bytes=10,
    dense_cache_bytes=20,
    milliseconds=Milliseconds(vision=1.5, prefill=0.0),
    notes=("a note",),
    versions={"sharpv": "0.1.0"},
)
EMPTY = Report(model="m", config=SharpVConfig(), prompt_tokens=(), prompt_tokens_kept=())


@pytest.mark.parametrize("report", [FULL, EMPTY], ids=["full", "empty"])
def test_a_report_survives_json(report):
    text = report.to_json()
    assert "\n" not in text
    assert Report.from_json(text) == report
    assert Report.from_json(text).to_json() == text


def test_the_json_says_what_follows_from_the_fields():
    values = json.loads(FULL.to_json())
    assert (values["tokens_total"], values["tokens_kept"]) == (12, 4) == (FULL.tokens_total, FULL.tokens_kept)
    assert values["videos"][0]["kept"] == [[1, 0, 1], [0, 0, 0]]
    assert values["videos"][0]["tokens_total"] == 6
    assert values["layers"] == [{"layer": 0, "similarity": [None, 1.0], "dropped": [False, True]}]
    assert values["schema_version"] == SCHEMA_VERSION


def test_the_share_that_a_layer_reads_is_the_mean_over_layers():
    assert FULL.layer_share == (4 + 4 + 2 + 0) / 4 / 12 == json.loads(FULL.to_json())["layer_share"]
    assert EMPTY.layer_share is None
    assert json.loads(EMPTY.to_json())["layer_share"] is None


def test_what_stayed_inside_the_llm_survives_json():
    report = dataclasses.replace(FULL, videos=(INSIDE,))
    values = json.loads(report.to_json())["videos"][0]
    assert values["kept_inside"] == [[1, 0, 1], [0, 0, 0]]
    assert values["tokens_kept"] == 6
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize("reuse", [REUSE, UNPLANNED, dataclasses.replace(REUSE, audit=None)])
def test_what_the_vision_tower_encoded_survives_json(reuse):
    report = dataclasses.replace(FULL, videos=(dataclasses.replace(VIDEO, reuse=reuse), VIDEO))
    assert Report.from_json(report.to_json()) == report
    values = report.to_dict()
    assert values["videos"][1]["reuse"] is None
    del values["videos"][1]["reuse"]
    values["videos"][0]["reuse"]["colour"] = "red"
    if reuse.audit is not None:
        values["videos"][0]["reuse"]["audit"]["colour"] = "red"
    assert Report.from_dict(values) == report


def test_the_json_of_reuse_says_what_follows_from_the_patches():
    values = json.loads(json.dumps(REUSE.to_dict()))
    assert values["computed"] == [[1, 1, 1, 1], [0, 1, 0, 0]]
    names = ("rows_computed", "rows_total", "share", "full_frames")
    assert [values[name] for name in names] == [5, 8, 0.625, 1]
    assert [getattr(REUSE, name) for name in names] == [5, 8, 0.625, 1]
    assert [getattr(UNPLANNED, name) for name in names] == [0, 0, 1.0, 0]


@pytest.mark.parametrize(
    ("reuses", "patches"),
    [((REUSE,), (8, 5)), ((REUSE, REUSE), (16, 10))]
    + [(reuses, (None, None)) for reuses in ((), (None,), (UNPLANNED,), (REUSE, None), (REUSE, UNPLANNED))],
)
def test_patches_of_a_request_are_counted_where_all_were_planned(reuses, patches):
    videos = tuple(dataclasses.replace(VIDEO, reuse=reuse) for reuse in reuses)
    report = dataclasses.replace(FULL, videos=videos)
    assert (report.patches_total, report.patches_encoded) == patches


def test_where_tokens_stand_in_the_picture_survives_json():
    report = dataclasses.replace(FULL, videos=(PLACED,))
    assert Report.from_json(report.to_json()) == report
    values = FULL.to_dict()
    for name in ("leading", "grid", "source_frames", "window"):
        del values["videos"][0][name]
    (old, _) = Report.from_dict(values).videos
    assert old == VIDEO


def test_a_report_from_before_the_layers_were_counted_is_read():
    values = FULL.to_dict()
    del values["layer_tokens"], values["layer_share"]
    for video in values["videos"]:
        del video["kept_inside"]
    old = Report.from_dict(values)
    assert old == dataclasses.replace(FULL, layer_tokens=())
    assert old.layer_share == 4 / 12


def test_values_that_json_does_not_know_are_refused():
    layer = LayerReport(layer=0, similarity=(float("nan"),), dropped=(False,))
    with pytest.raises(ValueError, match="JSON"):
        dataclasses.replace(EMPTY, layers=(layer,)).to_json()


def test_keys_of_a_later_minor_release_are_left_out():
    values = FULL.to_dict() | {"colour": "red"}
    values["videos"][0]["colour"] = "red"
    values["layers"][0]["colour"] = "red"
    values["milliseconds"]["colour"] = 1.0
    assert Report.from_dict(values) == FULL


def test_a_record_from_before_there_were_other_methods_is_sharpvs():
    values = FULL.to_dict()
    assert values.pop("method") == "random"
    assert Report.from_dict(values) == dataclasses.replace(FULL, method="sharpv")


@pytest.mark.parametrize("version", [None, 0, SCHEMA_VERSION + 1, "1"])
def test_another_schema_is_refused(version):
    with pytest.raises(ValueError, match="use the release that wrote it"):
        Report.from_dict(FULL.to_dict() | {"schema_version": version})


@pytest.mark.parametrize(
    "record",
    [FULL, VIDEO, FULL.layers[0], FULL.milliseconds, REUSE, REUSE.audit],
    ids=lambda r: type(r).__name__,
)
def test_records_cannot_change(record):
    name = dataclasses.fields(record)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, name, 1)


def test_a_dictionary_of_a_report_is_a_copy():
    FULL.to_dict()["videos"][0]["kept"][0][0] = 7
    FULL.to_dict()["versions"]["sharpv"] = "9"
    assert FULL.videos[0].kept[0][0] is True
    assert FULL.versions == {"sharpv": "0.1.0"}
