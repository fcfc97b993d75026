"""A tiny model, clips of it, and servers that stop when their tests end."""

import pytest
import torch

from sharpv.hf.ask import VideoModel
from sharpv.tiny.clip import moving_square
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.video import write_video
from tests.server.running import NAME, Running


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def loaded():
    model, processor = RANDOM_MODELS["llava_onevision"](image_size=112)
    return VideoModel(NAME, model.eval(), processor)


@pytest.fixture(scope="session")
def talker():
    """A model that says "a" for ever."""
    model, processor = RANDOM_MODELS["llava_onevision"](image_size=112)
    letter = processor.tokenizer.convert_tokens_to_ids("a")
    model.generation_config.suppress_tokens = [i for i in range(len(processor.tokenizer)) if i != letter]
    return VideoModel(NAME, model.eval(), processor)


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Twelve frames, at six a second."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(moving_square(frames=12, height=96, width=128), path, fps=6)
    return path


@pytest.fixture(scope="module")
def start(loaded):
    """Starts servers with other limits."""
    servers = []

    def start(limits=None, key=None, model=loaded, **access):
        servers.append(Running(model, limits, key, **access))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def server(start):
    return start(allow_private=True)
