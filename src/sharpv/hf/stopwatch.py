"""When the phases of a request end, on the host and in the queues of the GPUs."""

import time
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

__all__ = ["Stopwatch"]


@dataclass(frozen=True, slots=True)
class _Mark:
    """A moment: on the host, and, per GPU, in its queue."""

    seconds: float
    events: tuple[torch.cuda.Event, ...]


class Stopwatch:
    """Milliseconds of the phases of a request; taking them keeps no GPU waiting.

    Where the model stands on GPUs, each phase is marked in their queues, and a phase takes as long as the GPU
    that took longest. The marks are read when the request is over.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._devices = _gpus(model)
        self._phases: dict[str, tuple[_Mark, _Mark]] = {}
        self._last = self._mark()

    def lap(self, phase: str | None = None) -> None:
        """Ends a phase, which began with the last lap; None for time that no phase takes.

        What a phase takes when it comes again is not counted.
        """
        now = self._mark()
        if phase is not None:
            self._phases.setdefault(phase, (self._last, now))
        self._last = now

    def saw(self, phase: str) -> bool:
        """Returns whether a phase has ended."""
        return phase in self._phases

    def milliseconds(self) -> dict[str, float]:
        """Returns the time of each phase; waits until the last of them is over."""
        for event in self._last.events:
            event.synchronize()
        return {phase: _between(*marks) for phase, marks in self._phases.items()}

    def _mark(self) -> _Mark:
        queues = [torch.cuda.current_stream(device) for device in self._devices]
        events = tuple(queue.record_event(torch.cuda.Event(enable_timing=True)) for queue in queues)
        return _Mark(time.perf_counter(), events)


def _between(start: _Mark, end: _Mark) -> float:
    if not end.events:
        return (end.seconds - start.seconds) * 1e3
    return max(one.elapsed_time(other) for one, other in zip(start.events, end.events, strict=True))


def _gpus(model: PreTrainedModel) -> list[torch.device]:
    """Returns the GPUs that a model stands on.

    One weight of each part tells: to ask all of a 7B model's costs more than the rest of an idle request.
    """
    if not torch.cuda.is_initialized():
        return []
    parts: list[nn.Module] = [model, *model.base_model.children(), *model.get_decoder().layers]
    firsts = [next(part.parameters(), None) for part in parts]
    return sorted({weight.device for weight in firsts if weight is not None and weight.is_cuda}, key=str)
