"""Models whose layers stand on several devices, or on the disk."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import accelerate
import pytest
import torch

import sharpv
from sharpv.hf.cache import CACHE
from sharpv.hf.stopwatch import Stopwatch
from sharpv.tiny.random import RANDOM_MODELS
from tests.hf.conftest import (
    GREEDY,
    OFF,
    TEXT_ONLY,
    Config,
    distance,
    same_output,
)
from tests.hf.two_devices import HERE, THERE, TwoDevices, here, put_there


@pytest.fixture
def two_devices() -> Iterator[None]:
    with TwoDevices():
        yield


def last_layers(model: Any) -> None:
    decoder = model.get_decoder()
    put_there(model, *decoder.layers[2:], decoder.norm)


def the_decoder(model: Any) -> None:
    put_there(model, model.get_decoder())


def to_and_fro(model: Any) -> None:
    layers = model.get_decoder().layers
    tower = model.model.visual if hasattr(model.model, "visual") else model.model.vision_tower
    put_there(model, tower, layers[0], layers[2])


SPLITS = (last_layers, the_decoder, to_and_fro)


@pytest.fixture(params=["llava_onevision", "qwen3_vl"])
def family(request) -> str:
    return request.param


@pytest.fixture
def own_model(family) -> Any:
    """A model that a test may take apart; its weights are those of `model`."""
    model, _ = RANDOM_MODELS[family](image_size=112)
    model.generation_config.eos_token_id = None
    return model


def everything(model: Any, requests: dict[str, Any], config: Any) -> dict[str, Any]:
    """What an attached model gives in every way of asking, and what it reports."""
    few = GREEDY | {"max_new_tokens": 2}
    with sharpv.attach(model, config) as session, torch.no_grad():
        first = model.generate(**requests, **few)
        ids = torch.cat([first.sequences, first.sequences[:, -3:]], dim=1)
        missing = ids.shape[1] - requests["input_ids"].shape[1]
        mask = torch.nn.functional.pad(requests["attention_mask"], (0, missing), value=1)
        later = model.generate(ids, attention_mask=mask, **{CACHE: first[CACHE]}, **few)
        forward = model(**requests, output_hidden_states=True)
        reports = [
            (report.videos, report.layers, report.cache_bytes, report.dense_cache_bytes)
            for report in session.reports
        ]
    explicit = model.generate(**sharpv.prune_inputs(model, requests, config), **few)
    tensors = [*first.logits, *later.logits, forward.logits, *forward.hidden_states, *explicit.logits]
    return {"reports": reports, "tensors": list(map(here, tensors))}


@pytest.mark.usefixtures("two_devices")
def test_tensors_of_two_devices_do_not_mix():
    """Else the tests of split models below could not fail."""
    one, other = torch.ones(2), torch.ones(2, device=THERE)
    assert (other + other).device == THERE == torch.tensor([1.0, 2.0], device=THERE).device
    assert (one + other.to(HERE)).tolist() == [2.0, 2.0]
    for mixed in (lambda: one + other, lambda: other.gather(0, torch.zeros(2, dtype=torch.long))):
        with pytest.raises(RuntimeError, match="same device"):
            mixed()


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.__name__)
def test_a_split_model_gives_what_the_whole_one_gives(model, own_model, batch, family, split, two_devices):
    config = TEXT_ONLY
    if family == "llava_onevision":
        config = Config(memory_threshold=2.0, positions="compact")
    dense, whole = model.generate(**batch, **GREEDY), everything(model, batch, config)
    split(own_model)
    with sharpv.attach(own_model, OFF):
        assert all(map(torch.equal, dense.logits, map(here, own_model.generate(**batch, **GREEDY).logits)))
    apart = everything(own_model, batch, config)
    assert apart["reports"] == whole["reports"]
    assert all(map(torch.equal, apart["tensors"], whole["tensors"]))


def test_the_layers_of_a_split_cache_stay_with_their_keys(own_model, inputs, two_devices):
    last_layers(own_model)
    with sharpv.attach(own_model, TEXT_ONLY):
        layers = own_model.generate(**inputs, **GREEDY)[CACHE].layers
    assert [layer.keys.device for layer in layers] == [HERE, HERE, THERE, THERE]
    assert len({layer.physical for layer in layers}) == 1


class Queue:
    """Stands for the queue of one GPU, and for a mark in it."""

    waits = 0

    def __init__(self, number: int, at: float = 0.0) -> None:
        self.number, self.at = number, at

    def record_event(self, event: Any) -> "Queue":
        self.at += 10.0 * (1 + self.number)
        return Queue(self.number, self.at)

    def elapsed_time(self, later: "Queue") -> float:
        return later.at - self.at

    def synchronize(self) -> None:
        Queue.waits += 1


def test_times_are_read_from_every_gpu_when_all_is_over(own_model, monkeypatch):
    """The last layers of a split model are still at work when the first GPU is done."""
    monkeypatch.setattr(Queue, "waits", 0)
    queues = {torch.device("cuda", number): Queue(number) for number in (0, 1)}
    parts = {own_model: 0, own_model.get_decoder().layers[-1]: 1}

    def on_gpus(part: Any) -> Iterator[Any]:
        on_one = part in parts
        yield SimpleNamespace(device=torch.device("cuda", parts[part]) if on_one else HERE, is_cuda=on_one)

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", queues.__getitem__)
    monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: None)
    monkeypatch.setattr(torch.nn.Module, "parameters", on_gpus)
    watch = Stopwatch(own_model)
    watch.lap("vision")
    watch.lap()
    watch.lap("prefill")
    watch.lap("prefill")
    assert Queue.waits == 0
    assert watch.milliseconds() == {"vision": 20.0, "prefill": 20.0}
    assert Queue.waits == 2


@pytest.mark.filterwarnings("ignore:The following device_map keys")
@pytest.mark.parametrize("attached_first", [False, True])
def test_layers_on_the_disk(model, own_model, inputs, tmp_path, attached_first):
    """Their weights are on the meta device but while they run."""
    with sharpv.attach(model, TEXT_ONLY), torch.no_grad():
        expected, bare = model.generate(**inputs, **GREEDY), model(**inputs).logits
    dense = model.generate(**inputs, **GREEDY)
    if attached_first:
        session = sharpv.attach(own_model, TEXT_ONLY)
    name = next(name for name, module in own_model.named_modules() if module is own_model.get_decoder())
    places = {f"{name}.layers.{index}": "disk" if index else "cpu" for index in range(4)}
    rest = [path for path, _ in own_model.named_parameters() if not path.startswith(f"{name}.layers.")]
    accelerate.dispatch_model(
        own_model, places | dict.fromkeys(rest, "cpu"), main_device="cpu", offload_dir=str(tmp_path)
    )
    assert {weight.device.type for weight in own_model.parameters()} == {"cpu", "meta"}
    if not attached_first:
        session = sharpv.attach(own_model, TEXT_ONLY)
    with session, torch.no_grad():
        assert same_output(own_model.generate(**inputs, **GREEDY), expected)
        assert torch.equal(own_model(**inputs).logits, bare)
    assert same_output(own_model.generate(**inputs, **GREEDY), dense)


@pytest.mark.filterwarnings("ignore:The following device_map keys")
def test_device_map_auto_with_little_memory(model, own_model, inputs, tmp_path):
    own_model.save_pretrained(tmp_path / "model")
    loaded = type(own_model).from_pretrained(
        tmp_path / "model",
        device_map="auto",
        max_memory={"cpu": "400KB"},
        offload_folder=tmp_path / "offload",
    )
    loaded.generation_config = own_model.generation_config
    assert "disk" in loaded.hf_device_map.values()
    dense = loaded.generate(**inputs, **GREEDY)
    with sharpv.attach(loaded, OFF):
        assert same_output(loaded.generate(**inputs, **GREEDY), dense)
    with sharpv.attach(model, TEXT_ONLY):
        expected = model.generate(**inputs, **GREEDY)
    with sharpv.attach(loaded, TEXT_ONLY) as session:
        output = loaded.generate(**inputs, **GREEDY)
    # Where weights from a disk lie in memory decides how a product rounds, with SharpV and without.
    assert torch.equal(output.sequences, expected.sequences)
    assert distance(output, expected) < 1e-5
    assert all(all(layer.dropped) for layer in session.report.layers)


def test_weights_that_were_never_loaded_fail_and_leave_the_session_usable(own_model, inputs):
    """An empty model runs into the meta device's own error, not into a guess of ours."""
    with sharpv.attach(own_model, TEXT_ONLY) as session:
        expected = own_model.generate(**inputs, **GREEDY)
        layer = own_model.get_decoder().layers[1]
        weights = {name: weight.data for name, weight in layer.named_parameters()}
        layer.to("meta")
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            own_model.generate(**inputs, **GREEDY)
        assert not session.owned
        layer.to_empty(device="cpu")
        layer.load_state_dict(weights)
        assert same_output(own_model.generate(**inputs, **GREEDY), expected)
    assert len(session.reports) == 2
