"""What a look at one clip has found: the material of the page and of the pictures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharpv.report import Report, VideoReport

__all__ = ["Inspection", "Run", "TokenScores"]


@dataclass(frozen=True, slots=True, eq=False)
class TokenScores:
    """The scores of the clip's tokens: those of `sharpv.score`, in float32, from which any choice follows.

    Attributes:
        spatial: `[n, f]`, S in [0, 2].
        temporal: `[n, f]`, T in [0, 2]; the first row is zero.
        ratios: `[n]`, r in [0, 1].
    """

    spatial: NDArray[np.float32]
    temporal: NDArray[np.float32]
    ratios: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Run:
    """One method on the clip.

    Attributes:
        report: of its request.
        answer: what the model said then; None where nothing was asked.
    """

    report: Report
    answer: str | None = None

    @property
    def name(self) -> str:
        """The method's."""
        return self.report.method

    @property
    def video(self) -> VideoReport:
        """What the method kept of the clip."""
        return self.report.videos[0]

    @property
    def kept(self) -> tuple[tuple[bool, ...], ...]:
        """`[n][f]`, the tokens that stayed to the last layer."""
        return self.video.kept if self.video.kept_inside is None else self.video.kept_inside


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """One clip, as one or more methods saw it.

    Attributes:
        clip: its name.
        frames: RGB, uint8 `[m, h, w, 3]`: what the model was shown. One frame of the LLM holds
            `source_frames` of them.
        timestamps: seconds from the start of the clip, `[m]`.
        total_frames: of the clip.
        model: the model's name.
        question: what was asked; None where nothing was.
        dense_answer: what the model said of all tokens; None where nothing was asked.
        runs: one per method, at least one, all on the same features.
        scores: of the clip's tokens.
        anchors: raster numbers of a frame's tokens in the order in which `coverage` takes them.
        command: the words of the command line that looked at this clip with this model, without what decides
            which tokens stay.
        notes: what has to be said beside it, such as that the model is a toy.
    """

    clip: str
    frames: NDArray[np.uint8]
    timestamps: NDArray[np.float64]
    total_frames: int
    model: str
    question: str | None
    dense_answer: str | None
    runs: tuple[Run, ...]
    scores: TokenScores
    anchors: tuple[int, ...]
    command: tuple[str, ...]
    notes: tuple[str, ...] = ()
