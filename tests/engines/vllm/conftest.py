from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.engines.vllm.checkpoints import write
from tests.engines.vllm.toys import (
    ARCHITECTURES,
    DEFAULT_KEEP,
    Ask,
    Record,
    answer,
    engine,
    forget,
    generate,
    pruned,
)

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
}
ASKS = {
    "text": Ask(()),
    "image": Ask(("image",)),
    "cut": Ask(("cut",), 0.3),
    "again": Ask(("cut",), 0.3),
    "once more": Ask(("cut",), 0.3),
    "default": Ask(("cut",)),
    "all": Ask(("cut",), 1.0),
    "few": Ask(("noise",), 0.11),
    "auto": Ask(("noise",), "auto"),
    "still": Ask(("still",), "auto"),
    "two": Ask(("cut", "noise"), 0.3),
    "first": Ask(("image", "cut"), 0.3),
    "last": Ask(("cut", "image"), 0.3),
    "long": Ask(("noise",), 0.2, frames=16),
    "led": Ask(("cut",), 0.5, lead="What comes next is a clip. " * 3),
}
REPEATS = ("again", "once more")
BATCH = ("few", "default", "text", "auto", "first", "all", "long")
# Tokens of a chunk, fewer than of most prompts. vLLM takes no item that is larger.
CHUNKS = {"llava_onevision": 48, "qwen2_vl": 24, "qwen2_5_vl": 24, "qwen3_vl": 128}


@pytest.fixture(scope="session", autouse=True)
def environment() -> Iterator[None]:
    """vLLM in this process, small, quiet and offline."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return cache(lambda family: write(family, tmp_path_factory.mktemp("toys")))


@dataclass(frozen=True)
class Answers:
    """What one engine answered: each request alone, and those of `BATCH` together."""

    alone: dict[str, Record]
    together: dict[str, Any]


@pytest.fixture(scope="session")
def answers(checkpoint: Callable[[str], Path]) -> Callable[[str, str], Answers]:
    """Puts every request of `ASKS` to an engine of a family, which is started once and stopped again."""

    @cache
    def answered(family: str, kind: str) -> Answers:
        stock = kind == "stock"
        settings = {} if stock else pruned(family, keep=DEFAULT_KEEP)
        if kind == "chunked":
            settings["max_num_batched_tokens"] = CHUNKS[family]
        with engine(checkpoint(family), **settings) as llm:
            asks = {name: replace(ask, keep=None) if stock else ask for name, ask in ASKS.items()}
            alone = {name: answer(llm, family, ask, anew=name not in REPEATS) for name, ask in asks.items()}
            if stock:
                return Answers(alone, {})
            forget(llm)
            outputs = generate(llm, family, [ASKS[name] for name in BATCH])
            return Answers(alone, dict(zip(BATCH, outputs, strict=True)))

    return answered


@pytest.fixture(params=ARCHITECTURES)
def family(request: pytest.FixtureRequest) -> str:
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed: run `make test-vllm`")
    return request.param
