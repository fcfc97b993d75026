"""The same rows from every format, and a clear word on each fault before any work."""

import sys

import pytest

import sharpv
from sharpv.batch.job import check_manifest
from sharpv.batch.manifest import Row, read_manifest

JSONL = r"""
{"id": "a", "video": "x/1.mp4", "question": "Wer, \u00e4h?", "more": 1}

{"id": 7, "video": "/y.mp4", "question": "q"}
"""
CSV = '\ufeffid,more,video,question\r\na,1,x/1.mp4,"Wer, äh?"\r\n7,2,/y.mp4,q\r\n'


def rows(folder):
    return [
        Row(0, "a", "x/1.mp4", "Wer, äh?", str(folder / "x/1.mp4")),
        Row(1, "7", "/y.mp4", "q", "/y.mp4"),
    ]


@pytest.mark.parametrize(("name", "text"), [("m.jsonl", JSONL), ("m.ndjson", JSONL), ("M.CSV", CSV)])
def test_rows_of_text(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert list(read_manifest(tmp_path / name)) == rows(tmp_path)


def test_rows_of_parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra parquet)")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"question": ["Wer, äh?", "q"], "id": ["a", "7"], "video": ["x/1.mp4", "/y.mp4"], "n": [1, 2]}
    parquet.write_table(arrow.table(columns), tmp_path / "m.parquet")
    assert list(read_manifest(tmp_path / "m.parquet")) == rows(tmp_path)
    parquet.write_table(arrow.table({"id": [1], "video": ["x"]}), tmp_path / "m.parquet")
    with pytest.raises(sharpv.InputError, match=r"has the columns id, video: .*needs id, video, question"):
        check_manifest(tmp_path / "m.parquet")
    (tmp_path / "m.parquet").write_text("no table")
    with pytest.raises(sharpv.InputError, match="as Parquet"):
        check_manifest(tmp_path / "m.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("sharpv.batch.manifest.ParquetFile", None)
    (tmp_path / "m.parquet").touch()
    with pytest.raises(sharpv.InputError, match=r"pip install 'sharpv\[parquet\]', or write it as \.jsonl"):
        check_manifest(tmp_path / "m.parquet")


@pytest.mark.parametrize("video", ["https://a.org/c.mp4", "data:video/mp4;base64,AA", "HTTP://a.org/c.mp4"])
def test_urls_are_left_alone(tmp_path, video):
    (tmp_path / "m.csv").write_text(f'id,video,question\na,"{video}",q\n')
    assert next(read_manifest(tmp_path / "m.csv")).source == video


def test_a_field_may_hold_a_whole_clip(tmp_path):
    video = "data:video/mp4;base64," + "A" * 200_000
    (tmp_path / "m.csv").write_text(f'id,video,question\na,"{video}",q\n')
    assert next(read_manifest(tmp_path / "m.csv")).video == video


def test_paths_start_at_the_manifest_wherever_the_command_runs(tmp_path, monkeypatch):
    (tmp_path / "m.csv").write_text("id,video,question\na,c.mp4,q\n")
    monkeypatch.chdir(tmp_path.parent)
    relative = (tmp_path / "m.csv").relative_to(tmp_path.parent)
    assert next(read_manifest(relative)).source == str(tmp_path / "c.mp4")


GOOD = '{"id": "a", "video": "v", "question": "q"}\n'


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("m.txt", GOOD, r"a manifest ends in \.jsonl, \.ndjson, \.csv, \.parquet"),
        ("m.jsonl", "", "holds no rows"),
        ("m.csv", "id,video,question\n", "holds no rows"),
        ("m.jsonl", GOOD + "{no", "line 2 of .* is no JSON"),
        ("m.jsonl", GOOD + "[1]", "line 2 of .* is no object"),
        ("m.jsonl", GOOD + '{"id": "b", "video": "v"}', "line 2 of .* has no question"),
        ("m.jsonl", '{"id": true, "video": "v", "question": "q"}', "the id True: it must be text"),
        (
            "m.jsonl",
            '{"id": 1.0, "video": "v", "question": "q"}',
            "the id 1.0: it must be text or a whole number",
        ),
        (
            "m.jsonl",
            GOOD.replace('"a"', '"7"') + GOOD.replace('"a"', "7"),
            "rows 1 and 2 of .* share the id '7'",
        ),
        ("m.jsonl", '{"id": "a", "video": " ", "question": "q"}', "the video ' ': it must be text, and not"),
        ("m.jsonl", '{"id": "a", "video": "v", "question": ["q"]}', "the question .* must be text"),
        ("m.jsonl", GOOD + GOOD.replace('"a"', '"b"') + GOOD, "rows 1 and 3 of .* share the id 'a'"),
        ("m.csv", "id,video,questions\n", "has the columns id, video, questions: .* needs"),
        ("m.csv", "id;video;question\na;v;q\n", "the columns id;video;question: .*; put commas between"),
        ("m.csv", "id,video,question,video\na,v,q,w\n", "needs id, video, question, each once$"),
        ("m.csv", "id,video,question\na,v\n", "line 2 of .* has no question"),
        ("m.csv", "id,video,question\na,v,what, then\n", "line 2 of .* has more fields"),
        ("m.csv", 'id,video,question\na,v,"q', "line 2 of .* is no CSV"),
        ("m.jsonl", b"\xff\xfe", "is not UTF-8 .*: save it as UTF-8"),
        ("gone.jsonl", None, "cannot read the manifest .*No such file"),
    ],
)
def test_faults(tmp_path, name, text, reason):
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(sharpv.InputError, match=reason):
        check_manifest(tmp_path / name)


def test_an_index_finds_rows_and_holds_none(tmp_path):
    count = 3000
    lines = (f'{{"id": "r{n}", "video": "{"v" * 500}{n}", "question": "q"}}\n' for n in range(count))
    (tmp_path / "m.jsonl").write_text("".join(lines))
    index = check_manifest(tmp_path / "m.jsonl")
    assert [index.find(f"r{n}") for n in range(count)] == list(range(count))
    assert index.find("r3000") is None
    assert index.asks(7, "r7", "v" * 500 + "7", "q")
    assert not index.asks(7, "r7", "v" * 500 + "7", "Q")
    assert not index.asks(7, "r7", "v" * 500, "7q")
    assert sum(sys.getsizeof(array) for array in vars(index).values()) < 40 * count
