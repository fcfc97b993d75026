"""What keeps the records of two setups apart: another model, another machine, other releases."""

import pytest

import sharpv
from sharpv.bench import settings
from sharpv.bench.accuracy import draw
from sharpv.bench.records import ClipRecord, Records
from sharpv.bench.settings import fingerprint
from sharpv.bench.where import where
from tests.bench.conftest import small

RECORD = ClipRecord(clip="test-0-000000", scene_type="cut", condition="dense", answers=())


@pytest.fixture
def again(toy, tmp_path):
    """Opens the folder of an earlier run once more, on a machine that may differ."""

    def start(**place) -> Records:
        spec = small()
        return Records(tmp_path, settings.settings(toy, spec, draw(spec, 1), where("cpu") | place))

    start().add(RECORD)
    return start


def test_the_same_setup_goes_on_at_any_commit(again):
    assert again().found == again(commit="abc").found == {RECORD.key: RECORD}


@pytest.mark.parametrize("place", [0, -1], ids=["first", "last"])
def test_other_weights_are_refused(toy, again, place):
    weight = max(toy.model.parameters(), key=lambda weight: weight.numel())
    before, value = fingerprint(toy), weight.data.flatten()[place].clone()
    weight.data.flatten()[place] += 1
    try:
        assert fingerprint(toy) != before
        with pytest.raises(sharpv.InputError, match=r"other settings \(weights\)"):
            again()
    finally:
        weight.data.flatten()[place] = value
    assert fingerprint(toy) == before


def test_weights_in_chunks_have_the_fingerprint_of_the_whole(toy, monkeypatch):
    whole = fingerprint(toy)
    monkeypatch.setattr(settings, "CHUNK_BYTES", 1000)
    assert fingerprint(toy) == whole


def test_another_attention_is_refused(toy, again):
    before = toy.model.config._attn_implementation
    toy.model.set_attn_implementation("eager")
    try:
        with pytest.raises(sharpv.InputError, match=r"other settings \(attention\)"):
            again()
    finally:
        toy.model.set_attn_implementation(before)


def test_another_chat_template_is_refused(toy, again, monkeypatch):
    monkeypatch.setattr(toy.processor, "chat_template", toy.processor.chat_template + " ")
    with pytest.raises(sharpv.InputError, match=r"other settings \(chat_template\)"):
        again()


@pytest.mark.parametrize(
    ("name", "value"), [("versions", {"sharpv": "0", "torch": "1.0"}), ("device_name", "an abacus")]
)
def test_another_machine_is_refused(again, name, value):
    with pytest.raises(sharpv.InputError, match=rf"other settings \({name}\)"):
        again(**{name: value})
