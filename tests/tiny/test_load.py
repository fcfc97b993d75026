"""The toys in the box: they load in a fresh process, at once, without network and without a word."""

import json
import os
import subprocess
import sys
from itertools import islice

import pytest
import torch
from transformers import AutoModelForImageTextToText, LlavaOnevisionForConditionalGeneration
from transformers.utils import logging

from sharpv.errors import InputError
from sharpv.hf.ask import load_model, unknown_words
from sharpv.shapesqa import iterate
from sharpv.tiny import load
from sharpv.tiny.load import TOYS, toy_path

# No socket connects. The imports do not count: they are not the toy's, and transformers puts those of a class
# off until it is asked for.
FRESH = """
import json, socket, time
def refuse(*args, **kwargs): raise AssertionError("network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from transformers import (
    LlavaOnevisionForConditionalGeneration, LlavaOnevisionProcessor, LlavaOnevisionVideoProcessor,
    LlavaOnevisionImageProcessor, PreTrainedTokenizerFast, Qwen2Model, SiglipVisionModel,
)
from sharpv.hf.ask import load_model
from sharpv.tiny.load import TOYS
found = {}
for name in TOYS:
    start = time.process_time()
    loaded = load_model(f"toy:{name}", device="cpu")
    found[loaded.name] = [time.process_time() - start, str(loaded.model.dtype)]
print(json.dumps(found))
"""
FIRST_LOAD = 1.0
"""Seconds of a processor that the first load may take, other processes not counted: it takes some 0.2."""


def test_they_load_in_a_fresh_process_without_network_and_in_silence():
    online = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", FRESH], check=True, capture_output=True, text=True, timeout=240, env=online
    )
    found = json.loads(done.stdout)
    assert list(found) == [f"toy:{name}" for name in TOYS]
    for seconds, dtype in found.values():
        assert seconds < FIRST_LOAD
        assert dtype == "torch.bfloat16"
    assert done.stderr == ""


@pytest.mark.parametrize("name", TOYS)
def test_it_is_a_folder_of_the_real_class(name):
    model = AutoModelForImageTextToText.from_pretrained(toy_path(name))
    assert type(model) is LlavaOnevisionForConditionalGeneration
    assert not list(toy_path(name).glob("*.py"))


def test_the_default_is_the_model_in_the_box():
    assert toy_path() == toy_path("default")
    assert load_model(device="cpu").name == "toy:default"


def test_the_toys_differ():
    one, other = (
        load_model(f"toy:{name}", device="cpu").model.get_input_embeddings().weight for name in TOYS
    )
    assert one.shape == other.shape
    assert not torch.equal(one, other)


def test_the_weights_are_small_enough_for_a_package():
    assert sum(path.stat().st_size for name in TOYS for path in toy_path(name).iterdir()) < 10e6


def test_an_unknown_toy_is_refused_by_name():
    with pytest.raises(InputError, match="'large': it must be one of default, dense"):
        toy_path("large")
    with pytest.raises(InputError, match="must be one of default, dense"):
        load_model("toy:large")


def test_a_package_without_weights_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(load, "WEIGHTS", tmp_path)
    with pytest.raises(InputError, match="install sharpv again"):
        toy_path()


def test_loading_hides_the_bar_and_leaves_the_switch_as_it_was(capfd):
    seen = []

    def hook(bar, args, options):
        seen.append(options)
        return bar(*args, **options)

    earlier = logging.set_tqdm_hook(hook)
    try:
        load_model(device="cpu")
        assert not seen
        assert logging.set_tqdm_hook(None) is hook
    finally:
        logging.set_tqdm_hook(earlier)
    assert capfd.readouterr().err == ""


def test_it_names_the_words_that_it_does_not_know():
    loaded = load_model(device="cpu")
    assert unknown_words(loaded, "Which way does the red shape move?") == []
    assert unknown_words(loaded, "What does the dog - a Dog! - chase, é?") == ["dog", "chase", "é"]
    joined = ["well-known", "state_of", "cafe\u0301"]
    assert unknown_words(loaded, f"Does the {' '.join(joined)} --- move - bottom-left?") == joined


@pytest.mark.parametrize("name", TOYS)
def test_it_knows_every_word_of_its_world(name):
    loaded = load_model(f"toy:{name}", device="cpu")
    asked = [question for sample in islice(iterate("test"), 200) for question in sample.questions]
    texts = {text for question in asked for text in (question.text, question.answer, *question.options)}
    assert {word for text in texts for word in unknown_words(loaded, text)} == set()
