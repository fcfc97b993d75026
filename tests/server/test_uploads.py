"""Uploaded files: so much room, so long, and nothing left behind."""

import asyncio
import io
import json
from pathlib import Path

import pytest

from sharpv.server import uploads as keeping
from sharpv.server.limits import Limits
from sharpv.server.refused import Refused
from sharpv.server.uploads import LEAST_BYTES, Uploads
from tests.server.running import send, wait_for
from tests.server.test_gate import upload


@pytest.fixture
def small(start):
    """A server with room for two and a half files of the least size."""
    return start(Limits(stored_bytes=5 * LEAST_BYTES // 2))


def folder(server):
    return Path(server.service.uploads._folder.name)


def test_uploads_have_so_much_room(small):
    answers = [upload(small, LEAST_BYTES) for _ in range(3)]
    assert [status for status, _ in answers] == [200, 200, 429]
    assert b"stored_bytes" in answers[2][1]
    stored = [json.loads(answer)["id"] for _, answer in answers[:2]]
    assert {path.name for path in folder(small).iterdir()} == set(stored)
    small.client.files.delete(stored[0])
    assert [upload(small, LEAST_BYTES)[0] for _ in range(2)] == [200, 429]


def test_uploads_are_kept_so_long(start):
    """They go when their time has come, and not with the next request."""
    hasty = start(Limits(stored_bytes=5 * LEAST_BYTES // 2, stored_seconds=0.1))
    status, answer = upload(hasty, 2 * LEAST_BYTES)
    stored = json.loads(answer)
    assert (status, stored["expires_at"] - stored["created_at"]) == (200, 0)
    wait_for(lambda: not any(folder(hasty).iterdir()))
    assert send(f"{hasty.url}/v1/files/{stored['id']}")[0] == 404
    assert upload(hasty, 2 * LEAST_BYTES)[0] == 200


def test_a_file_of_no_bytes_takes_room_too(small):
    assert [upload(small, 0)[0] for _ in range(3)] == [200, 200, 429]


async def kept(uploads, content=b"clip"):
    return await uploads.keep(len(content), "a", "", io.BytesIO(content))


def test_a_file_is_there_when_it_is_whole_and_gone_when_it_is_deleted():
    async def keep_and_delete():
        uploads = Uploads(Limits())
        file = await kept(uploads)
        path = Path(uploads.path(file.id))
        assert path.read_bytes() == b"clip"
        uploads.delete(file.id)
        assert not path.exists()
        for forget in (uploads.find, uploads.path, uploads.delete):
            with pytest.raises(Refused, match="there is none"):
                forget(file.id)
        assert (uploads._files, uploads._timers, uploads._taken) == ({}, {}, 0)
        uploads.close()
        assert not path.parent.exists()

    asyncio.run(keep_and_delete())


def test_room_is_taken_before_a_file_is_written(monkeypatch):
    """Two that come together have no more room than two after each other."""

    async def keep_both():
        uploads = Uploads(Limits(stored_bytes=LEAST_BYTES))
        results = await asyncio.gather(kept(uploads), kept(uploads), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["Refused", "StoredFile"]
        uploads.close()

    asyncio.run(keep_both())


def test_a_disk_that_is_full_is_told_and_leaves_nothing(small, monkeypatch, caplog):
    def fail(content, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(keeping, "_copy", fail)
        status, answer = upload(small, 10)
    assert status == 503
    assert "cannot write" in json.loads(answer)["error"]["message"]
    assert "No space left" in caplog.text
    assert not any(folder(small).iterdir())
    assert upload(small, 2 * LEAST_BYTES)[0] == 200


def test_so_is_one_that_is_full_while_the_form_comes(server, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", fail)
    assert upload(server, 10)[0] == 503
    assert "No space left" in caplog.text
