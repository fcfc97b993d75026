"""Media within limits, from where a server may read them."""

import numpy as np
import pytest

from sharpv.errors import SharpVError
from sharpv.server import fetch as fetching
from sharpv.server import media as reading
from sharpv.server.fetch import Unsaved, fetch, is_public
from sharpv.server.limits import Limits
from sharpv.server.media import Access, Medium, check, load
from sharpv.video import Sampling, Video, read_video
from tests.server.running import data_url, picture_bytes, serving_files

SIX = Sampling(frames=6)


def picture(width=8, height=8, kind="PNG"):
    return picture_bytes(np.full((height, width, 3), 90, dtype=np.uint8), kind)


def loading(*media, limits=None, sampling=SIX, **access):
    return load(media, sampling, Access(limits=limits or Limits(), **access))


def test_a_clip_is_read_as_read_video_reads_it(clip):
    (found,) = loading(Medium("video", data_url(clip)))
    expected = read_video(clip, SIX)
    assert np.array_equal(found.frames, expected.frames)
    assert np.array_equal(found.timestamps, expected.timestamps)
    assert (found.total_frames, found.fps, found.duration) == (12, expected.fps, expected.duration)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_images_come_as_rgb(kind):
    (found,) = loading(Medium("image", data_url(picture(8, 6, kind), "image/x")))
    assert (found.mode, found.size) == ("RGB", (8, 6))


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"media_bytes": 500}, "media_bytes"),
        ({"video_seconds": 1}, "video_seconds"),
        ({"pixels": 128 * 96 - 1}, "(pixels)"),
        ({"total_pixels": 6 * 128 * 96 - 1}, "total_pixels"),
        ({"frames": 5}, "(frames)"),
    ],
)
def test_a_clip_over_a_limit_is_told_which(clip, limits, named):
    medium = Medium("video", data_url(clip))
    with pytest.raises(SharpVError) as refused:
        loading(medium, limits=Limits(**limits))
    assert named in str(refused.value)
    (name, value), *_ = limits.items()
    assert loading(medium, limits=Limits(**{name: value * 12}))


def test_the_limits_hold_for_all_media_of_a_request_together(clip):
    media = [Medium("video", data_url(clip)), Medium("image", data_url(picture()))]
    assert len(loading(*media, limits=Limits(frames=7))) == 2
    with pytest.raises(SharpVError, match="more than 6 frames"):
        loading(*media, limits=Limits(frames=6))


@pytest.fixture
def decoded(monkeypatch):
    """Has a clip, whose header says 6 frames of 128 x 96, give others."""

    def decoded(frames, height, width):
        pixels = np.zeros((frames, height, width, 3), dtype=np.uint8)
        found = Video(pixels, np.arange(frames) / 6, np.arange(frames), frames, 6.0, 2.0)
        monkeypatch.setattr(reading, "read_video", lambda *args: found)

    return decoded


def test_pixels_are_counted_as_they_are_decoded_and_not_as_the_header_says(clip, decoded):
    medium, limits = Medium("video", data_url(clip)), Limits(total_pixels=7 * 128 * 96)
    decoded(6, 192, 256)
    with pytest.raises(SharpVError, match="total_pixels"):
        loading(medium, limits=limits)
    decoded(3, 192, 256)  # fewer than promised, and larger: nothing of them comes back
    with pytest.raises(SharpVError, match="total_pixels"):
        loading(medium, limits=limits)
    decoded(5, 96, 128)
    assert len(loading(medium, Medium("image", data_url(picture(128, 96 * 2))), limits=limits)) == 2
    with pytest.raises(SharpVError, match="total_pixels"):
        loading(medium, Medium("image", data_url(picture(128, 96 * 2 + 1))), limits=limits)


def test_what_a_damaged_clip_does_not_give_is_given_back(clip, decoded):
    decoded(2, 96, 128)
    assert len(loading(*[Medium("video", data_url(clip))] * 3, limits=Limits(frames=10))) == 3


def test_a_limit_of_frames_holds_for_frames_in_a_list():
    frame = data_url(picture(kind="JPEG")).partition(",")[2]
    medium = Medium("video", f"data:video/jpeg;base64,{frame},{frame},{frame}")
    (found,) = loading(medium, limits=Limits(frames=3))
    assert found.frames.shape == (3, 8, 8, 3)
    with pytest.raises(SharpVError, match="more than 2 frames"):
        loading(medium, limits=Limits(frames=2))


def test_a_list_of_frames_has_one_size():
    frames = [data_url(picture(width, kind="JPEG")).partition(",")[2] for width in (8, 16)]
    with pytest.raises(SharpVError, match="one size"):
        loading(Medium("video", f"data:video/jpeg;base64,{','.join(frames)}"))


@pytest.mark.parametrize(
    "medium",
    [
        Medium("video", "clip.mp4"),
        Medium("video", "/etc/passwd"),
        Medium("video", "ftp://example.org/clip.mp4"),
        Medium("video", "data:video/mp4,abc"),
        Medium("video", "data:video/mp4;base64,&&&"),
        Medium("video", "data:video/mp4;base64,"),
        Medium("video", "file:///etc/passwd"),
        Medium("video", data_url(b"#EXTM3U\nfile:///etc/passwd\n")),
        Medium("image", data_url(b"<svg/>")),
        Medium("image", data_url(picture()[:-30])),
        Medium("image", data_url(b"GIF89a\1\0\1\0\0\0\0;")),
    ],
)
def test_what_is_no_medium_is_refused(medium):
    with pytest.raises(SharpVError):
        loading(medium)


def test_files_are_read_from_the_one_folder_only(clip, tmp_path):
    folder, outside = tmp_path / "open", tmp_path / "secret.mp4"
    folder.mkdir()
    inside = folder / "a clip.mp4"
    inside.write_bytes(clip.read_bytes())
    outside.write_bytes(clip.read_bytes())
    (folder / "link.mp4").symlink_to(outside)
    assert loading(Medium("video", inside.as_uri()), folder=str(folder))
    for url in (
        outside.as_uri(),
        f"{folder.as_uri()}/../secret.mp4",
        f"{folder.as_uri()}/%2e%2e/secret.mp4",
        (folder / "link.mp4").as_uri(),
        folder.as_uri(),
        "file://relative.mp4",
        "file:///%00",
    ):
        with pytest.raises(SharpVError, match="no file in the folder"):
            loading(Medium("video", url), folder=str(folder))


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), FileNotFoundError(2, "gone")])
def test_a_file_that_the_server_may_not_read_is_no_failure_of_it(clip, monkeypatch, error):
    """Whoever runs the tests may read all, hence the patch."""

    def fail(*args):
        raise error

    monkeypatch.setattr("pathlib.Path.open", fail)
    with pytest.raises(SharpVError, match="no file in the folder"):
        loading(Medium("video", clip.as_uri()), folder=str(clip.parent))


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888"])
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1%eth0", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1"),
        *("::127.0.0.1", "fec0::1", "::ffff:0:7f00:1", "3fff::1", "2001:db8::1"),
        *("2a00:1450::5efe:7f00:1", "2a00:1450::200:5efe:7f00:1"),
    ],
)
def test_addresses_that_are_not_public_or_may_hide_one(address):
    assert not is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::1]", "0"])
def test_nothing_is_fetched_from_inside(host, tmp_path):
    with (tmp_path / "file").open("wb") as file, pytest.raises(SharpVError, match="is not public"):
        fetch(f"http://{host}:9/clip.mp4", file, 100)


@pytest.fixture
def fetched(tmp_path):
    """Fetches a path of a web server on loopback."""

    def fetched(answers, path="/", most=1000, **options):
        with serving_files(answers) as url, (tmp_path / "file").open("w+b") as file:
            fetch(url + path, file, most, **options)
            file.seek(0)
            return file.read()

    return fetched


def test_private_addresses_are_for_who_allows_them(fetched):
    assert fetched({"/": (200, {}, b"content")}, allow_private=True) == b"content"


def test_a_redirect_from_a_public_address_to_a_private_one_is_refused(fetched, monkeypatch):
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")
    assert fetched({"/": (302, {"Location": "/b"}, b""), "/b": (200, {}, b"content")}) == b"content"
    with pytest.raises(SharpVError, match=r"127\.0\.0\.2 is not public"):
        fetched({"/": (302, {"Location": "http://127.0.0.2:9/"}, b"")})


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/", "data:,x", "//"])
def test_a_redirect_leads_to_http_only(fetched, target):
    with pytest.raises(SharpVError):
        fetched({"/": (302, {"Location": target}, b"")}, allow_private=True)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, {}, b"x" * 1001), "media_bytes"),
        ((200, {"Content-Length": "10"}, b"x"), "after 1 of 10 bytes"),
        ((404, {}, b""), "Not Found|404"),
        ((302, {"Location": "/"}, b""), "redirect"),
    ],
)
def test_what_cannot_be_fetched_is_told_why(fetched, answer, reason):
    with pytest.raises(SharpVError, match=reason):
        fetched({"/": answer}, allow_private=True)


def test_a_disk_that_is_full_is_no_fault_of_who_sends():
    with (
        serving_files({"/": (200, {}, b"content")}) as url,
        open("/dev/full", "wb", buffering=0) as full,
        pytest.raises(Unsaved, match="No space left"),
    ):
        fetch(url, full, 100, allow_private=True)


def test_a_password_in_a_url_is_not_told(tmp_path):
    with (tmp_path / "file").open("wb") as file, pytest.raises(SharpVError) as refused:
        fetch("http://user:secret@127.0.0.1:9/", file, 100, allow_private=True)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@127.0.0.1/x",
        "http://secret@127.0.0.1/x",
        "ftp://user:secret@127.0.0.1/x",
        "http://user:secret@exa\u2100mple/",
        "http://127.0.0.1\\secret/",
        "http:/\t/user:secret@127.0.0.1/x",
    ],
)
def test_a_url_with_a_password_is_refused_before_anything_is_done(url):
    with pytest.raises(SharpVError, match="got a URL with") as refused:
        check(Medium("video", url), Access())
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "target", ["http://user:secret@127.0.0.1/", "//user:secret@x/", "ftp://user:secret@x/", "/\\secret"]
)
def test_a_redirect_to_a_password_is_refused(fetched, target):
    with pytest.raises(SharpVError, match="got a URL with") as refused:
        fetched({"/": (302, {"Location": target}, b"")}, allow_private=True)
    assert "secret" not in str(refused.value)


def test_the_body_of_a_redirect_is_not_read(fetched):
    # It promises more than it sends: who reads it, fails.
    moved = (302, {"Location": "/b", "Content-Length": "100"}, b"x")
    assert fetched({"/": moved, "/b": (200, {}, b"content")}, allow_private=True) == b"content"
