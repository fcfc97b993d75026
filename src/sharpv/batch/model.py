"""The model of a worker that runs it itself, by transformers."""

from dataclasses import asdict, dataclass

import torch

from sharpv.batch.line import Line
from sharpv.batch.manifest import Row
from sharpv.config import SharpVConfig
from sharpv.hf.ask import VideoModel, ask, find_device, load_model
from sharpv.hf.attach import attach
from sharpv.video import Sampling, Video, read_video

__all__ = ["LoadedModel", "Transformers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformers:
    """Which model to load, and how to ask it.

    Attributes:
        model: directory, hub id or toy, as for `load_model`.
        config: what to keep.
        method: name of what chooses the tokens.
        sampling: which frames to read.
        max_side: as for `read_video`.
        max_new_tokens: the most tokens of an answer.
        dtype: as for `load_model`.
        device: as for `load_model`; without the number of one, workers take turns over the
            GPUs that they see.
    """

    model: str
    config: SharpVConfig
    method: str
    sampling: Sampling
    max_side: int | None
    max_new_tokens: int
    dtype: str
    device: str | None

    def open(self, worker: int, workers: int) -> "LoadedModel":
        """Loads the model; on a CPU, workers share the threads.

        Raises:
            SharpVError: the model cannot be loaded, or goes with no such method or configuration.
        """
        device = find_device(self.device)
        if device.type == "cpu":
            torch.set_num_threads(max(torch.get_num_threads() // workers, 1))
        elif device.type == "cuda" and torch.device(self.device or "cuda").index is None:
            device = torch.device(device.type, worker % torch.cuda.device_count())
        loaded = load_model(self.model, self.dtype, str(device))
        with attach(loaded.model, self.config, method=self.method):
            pass  # what it refuses, it would refuse for each row
        return LoadedModel(loaded, self)


class LoadedModel:
    """A loaded model with the settings of its job."""

    def __init__(self, loaded: VideoModel, settings: Transformers) -> None:
        self._loaded, self._settings = loaded, settings

    def read(self, source: str) -> Video:
        """Reads the frames of a clip.

        Raises:
            VideoError: it cannot be read.
        """
        return read_video(source, self._settings.sampling, max_side=self._settings.max_side)

    def ask(self, clip: Video, row: Row) -> Line:
        """Asks the question of a row about its clip.

        Raises:
            InputError: the clip or the question cannot be used.
        """
        known = self._settings
        found = ask(self._loaded, clip, row.question, known.config, known.max_new_tokens, known.method)
        report = found.report
        return Line(
            id=row.id,
            video=row.video,
            question=row.question,
            answer=found.text,
            frames=len(clip.frames),
            prompt_tokens=report.prompt_tokens[0],
            prompt_tokens_kept=report.prompt_tokens_kept[0],
            video_tokens=report.tokens_total,
            video_tokens_kept=report.tokens_kept,
            patches=report.patches_total,
            patches_encoded=report.patches_encoded,
            milliseconds=asdict(report.milliseconds),
            notes=(*clip.warnings, *report.notes),
        )

    def lost(self) -> bool:
        """Whether the device refuses all work, as a GPU does after a failed assertion in a kernel."""
        try:
            torch.ones(1, device=self._loaded.model.device).item()
        except torch.OutOfMemoryError:
            return False
        except RuntimeError:
            return True
        return False
