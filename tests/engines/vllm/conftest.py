from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.engines.vllm.checkpoints import write
from tests.engines.vllm.toys import ARCHITECTURES, DEFAULT_KEEP, Ask, Record, answer, engine, generate, pruned

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
    "default": Ask(("cut",)),
    "all": Ask(("cut",), 1.0),
    "few": Ask(("noise",), 0.11),
    "auto": Ask(("noise",), "auto"),
    "still": Ask(("still",), "auto"),
    "two": Ask(("cut", "noise"), 0.3),
    "first": Ask(("image", "cut"), 0.3),
    "last": Ask(("cut", "image"), 0.3),
    "long": Ask(("noise",), 0.2, frames=16),
}
UNPRUNED = ("text", "image", "all")
BATCH = ("few", "default", "text", "auto", "first", "all")
# Small blocks, so that prefix caching has something to find; chunks that end inside videos.
SETTINGS: dict[str, dict[str, Any]] = {
    "whole": {"block_size": 32},
    "chunked": {"block_size": 32, "max_num_batched_tokens": 48},
    "stock": {"block_size": 32},
}


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
        ours = {} if kind == "stock" else pruned(family, keep=DEFAULT_KEEP)
        asks = {name: ask for name, ask in ASKS.items() if kind != "stock" or name in UNPRUNED}
        with engine(checkpoint(family), **SETTINGS[kind], **ours) as llm:
            alone = {name: answer(llm, family, ask) for name, ask in asks.items()}
            if kind == "stock":
                return Answers(alone, {})
            llm.reset_prefix_cache()
            outputs = generate(llm, family, [ASKS[name] for name in BATCH])
            return Answers(alone, dict(zip(BATCH, outputs, strict=True)))

    return answered


@pytest.fixture(params=ARCHITECTURES)
def family(request: pytest.FixtureRequest) -> str:
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed: run `make test-vllm`")
    return request.param
