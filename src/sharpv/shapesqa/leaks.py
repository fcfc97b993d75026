"""The leak report: what of ShapesQA can be had without watching, and whether that is fair."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sharpv.shapesqa.dataset import Sample, iterate
from sharpv.shapesqa.oneframe import HONEST, TELLING, Rule, View
from sharpv.shapesqa.probe import backgrounds, features, fit, pictures
from sharpv.shapesqa.questions import FAMILIES, Question
from sharpv.shapesqa.scene import Scene

__all__ = [
    "ALLOWANCE",
    "NEEDS",
    "SIGMAS",
    "WRONG_FRAME",
    "BagLeaks",
    "FamilyLeaks",
    "FrameLeaks",
    "LeakReport",
    "leak_report",
    "unfair",
]

Need = Literal["one frame", "time"]
NEEDS: dict[str, Need] = {
    **dict.fromkeys(("recog", "shape_count", "start_pos", "end_pos"), "one frame"),
    **dict.fromkeys(("direction", "order", "vanish", "scene_change"), "time"),
    **dict.fromkeys(("move_count", "moving_colour", "moving_shape"), "time"),
}
"""What a family asks of a model: the right one frame (for `start_pos` the first, for `end_pos` the last), or
to compare frames. A caption is free text, which no rule here writes."""

ALLOWANCE = 0.06
"""How far above chance may be had without watching.

As much as a model may gain that is shown the middle frame only. It leaves room for what the generator does
give away: shapes are kept apart in the first and the last frame, so a Bayes rule that knows from one frame
which ways are free gets 0.28 to 0.30 of `direction`, where chance is 0.25. And a colour never has its
held-out kind, so a blind guess at `recog` among four kinds is right 0.25, where chance among five is 0.20."""

WRONG_FRAME = 0.70
"""How often `start_pos` may be answered from the last frame, and `end_pos` from the first.

Moves go along an axis and end in another quadrant, so two of four quadrants are left for the other end, which
is 0.50, and how near their borders are tells something of the axis: 0.58 to 0.63 with this generator. More
would mean that a place tells of the direction, too. The middle frame is not judged: in it a shape may have
come to its end, or not have left its start."""

OTHER_END = {"start_pos": "last", "end_pos": "first"}
SIGMAS = 2.6
FEWEST = 100
COUNTED = ("order", "vanish")
CHOSEN = frozenset({("combinations", "recog")})


@dataclass(frozen=True, slots=True)
class FrameLeaks:
    """What one frame gives of a family: shares of right answers, on clips that nothing was learned from.

    Attributes:
        frame: "first", "middle" (number n // 2) or "last".
        chance: of an honest guess, see `oneframe.HONEST`.
        rules: of each rule of `oneframe.TELLING`.
        probe: of a classifier of the frame's truth.
    """

    frame: str
    chance: float
    rules: dict[str, float]
    probe: float


@dataclass(frozen=True, slots=True)
class BagLeaks:
    """What all frames of a clip give without their order: shares of right answers.

    Attributes:
        chance: of a guess among the shapes that some frames do not show. They are taken for two at least:
            an event should concern two shapes, since backwards in time the answer is the other one.
        counts: of the guess at the one of them that the fewest frames show, or the most, whichever was
            better for a question's text on other clips.
    """

    chance: float
    counts: float


@dataclass(frozen=True, slots=True)
class FamilyLeaks:
    """What can be had of one family without watching.

    Attributes:
        family: one of `NEEDS`.
        needs: "one frame" or "time".
        n: questions.
        constant: share of the most common answer.
        blind: share of right answers when a question's text always gets the answer that was most common on
            other clips.
        chance: of a guess among the options.
        frames: first, middle, last.
        bag: of `order` and `vanish`; of other families None.
    """

    family: str
    needs: Need
    n: int
    constant: float
    blind: float
    chance: float
    frames: tuple[FrameLeaks, ...]
    bag: BagLeaks | None


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What can be had without watching.

    Attributes:
        split: that was looked at.
        seed: of it.
        clips: how many.
        length: frames of each.
        families: in the order of `FAMILIES`.
        pixels: share of `scene_change` that a classifier of the background in the middle frame gets right.
    """

    split: str
    seed: int
    clips: int
    length: int
    families: tuple[FamilyLeaks, ...]
    pixels: float

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return asdict(self)


def leak_report(clips: int = 2000, *, split: str = "test", seed: int = 0, frames: int = 8) -> LeakReport:
    """Looks for answers that need no watching.

    Whatever learns (tables, classifiers) learns on every other clip and is judged on the rest, both ways.

    Args:
        clips: how many; a figure of n questions is good to about 1 / sqrt(n).
        split: one of `SPLITS`.
        seed: of the dataset, less than 2^32.
        frames: of each clip, 4 to 32.

    Raises:
        ValueError: an argument out of its range, or too few clips to have two questions of each family.
    """
    samples = list(islice(iterate(split, seed=seed, frames=frames), clips))
    times = {"first": 0, "middle": frames // 2, "last": frames - 1}
    views = [{name: View(sample.scene, time) for name, time in times.items()} for sample in samples]
    found = []
    for family in (family for family in FAMILIES if family in NEEDS):
        asked = _Asked(samples, family)
        if len(asked.folds) < 2 or asked.folds.all() or not asked.folds.any():
            raise ValueError(f"{clips} clips have too few questions of {family}: use more, such as 2000")
        found.append(_family_leaks(asked, views, [samples[i].scene for i in asked.clips]))
    return LeakReport(split, seed, len(samples), frames, tuple(found), _pixels(samples, frames // 2))


def unfair(report: LeakReport) -> tuple[str, ...]:
    """Says what can be had without watching though it should not, one sentence each; empty where all is fair.

    Blind, no family may be answered above chance; from one frame, no family that needs time; from all frames
    without their order, no `order` or `vanish`. Above means by more than `ALLOWANCE`. From the frame at
    the clip's other end, no place may be told more often than `WRONG_FRAME`. A figure may lie 2.6 standard
    errors higher still (99 of 100 lie within).

    Raises:
        ValueError: fewer than 100 questions of a family, which would let anything pass.
    """
    found = []
    for leaks in report.families:
        if leaks.n < FEWEST:
            raise ValueError(
                f"{leaks.n} questions of {leaks.family} prove nothing, {FEWEST} are needed: use more clips"
            )
        # These clips were chosen by their pairs of colour and kind, so there a colour does tell of the kind.
        if (report.split, leaks.family) not in CHOSEN:
            found += _judge(leaks, "blind", leaks.blind, leaks.chance)
        for frame in leaks.frames:
            for name, share in {**frame.rules, "probe": frame.probe}.items():
                how = f"from the {frame.frame} frame ({name})"
                if leaks.needs == "time":
                    found += _judge(leaks, how, share, frame.chance)
                elif frame.frame == OTHER_END.get(leaks.family):
                    found += _judge(leaks, how, share, frame.chance, WRONG_FRAME)
        if leaks.bag:
            how = "from the frames without their order (counts)"
            found += _judge(leaks, how, leaks.bag.counts, leaks.bag.chance)
        if leaks.family == "scene_change":
            found += _judge(leaks, "from the pixels of the middle frame", report.pixels, leaks.chance)
    return tuple(found)


def _judge(leaks: FamilyLeaks, how: str, share: float, chance: float, most: float | None = None) -> list[str]:
    most = chance + ALLOWANCE if most is None else most
    error = SIGMAS * float(np.sqrt(max(share * (1 - share), 0.0) / leaks.n))
    if share - error <= most:
        return []
    bounds = f"chance is {chance:.3f} and {most:.3f} is fair"
    return [f"{leaks.family}: {share:.3f} right {how}, where {bounds} (n = {leaks.n})"]


class _Asked:
    """The questions of one family, and what is needed to learn on some and to judge on others."""

    def __init__(self, samples: Sequence[Sample], family: str) -> None:
        pairs = [(i, q) for i, sample in enumerate(samples) for q in sample.questions if q.family == family]
        self.family = family
        self.clips = [i for i, _ in pairs]
        self.questions: list[Question] = [question for _, question in pairs]
        self.answers = np.array([q.options.index(q.answer) for q in self.questions], dtype=np.int64)
        self.folds = np.array(self.clips, dtype=np.int64) % 2 == 0

    def table(self, keys: Sequence[Hashable], scores: NDArray[np.float64]) -> float:
        """Returns the mean score `[n, guesses]` of the guess that was best for a key on the other fold."""
        total = 0.0
        for learn in (self.folds, ~self.folds):
            sums: defaultdict[Hashable, NDArray[np.float64]] = defaultdict(lambda: np.zeros(scores.shape[1]))
            for i in np.flatnonzero(learn).tolist():
                sums[keys[i]] += scores[i]
            overall = scores[learn].sum(0)
            for i in np.flatnonzero(~learn).tolist():
                total += float(scores[i, int(np.argmax(sums.get(keys[i], overall)))])
        return total / len(scores)

    def rule(self, rule: Rule, views: Iterable[View]) -> float:
        """Returns the share of right answers of a rule, given the view of each question."""
        pairs = list(zip(self.questions, views, strict=True))
        scores = np.stack([rule.scores(*pair) for pair in pairs])
        return self.table([rule.key(*pair) for pair in pairs], scores)

    def probe(self, described: NDArray[np.float64]) -> float:
        """Returns the share of right answers of a classifier of `[n, options, d]`."""
        right = np.zeros(len(self.answers), dtype=bool)
        for learn in (self.folds, ~self.folds):
            found = fit(described, self.answers, learn)
            right[~learn] = (found == self.answers)[~learn]
        return float(right.mean())


def _family_leaks(asked: _Asked, views: Sequence[dict[str, View]], scenes: Sequence[Scene]) -> FamilyLeaks:
    options = len(asked.questions[0].options)
    frames = []
    for name in views[0]:
        seen = [views[i][name] for i in asked.clips]
        described = np.stack([features(*pair) for pair in zip(asked.questions, seen, strict=True)])
        frames.append(
            FrameLeaks(
                frame=name,
                chance=max(asked.rule(HONEST[asked.family], seen), 1 / options),
                rules={title: asked.rule(rule, seen) for title, rule in TELLING[asked.family].items()},
                probe=asked.probe(described),
            )
        )
    return FamilyLeaks(
        family=asked.family,
        needs=NEEDS[asked.family],
        n=len(asked.questions),
        constant=max(Counter(asked.answers.tolist()).values()) / len(asked.answers),
        blind=asked.table([q.text for q in asked.questions], np.eye(options)[asked.answers]),
        chance=1 / options,
        frames=tuple(frames),
        bag=_bag(asked, scenes) if asked.family in COUNTED else None,
    )


def _bag(asked: _Asked, scenes: Sequence[Scene]) -> BagLeaks:
    """Judges what counting the frames that show each shape gives, whatever their order."""
    scores, chances = [], []
    for question, scene in zip(asked.questions, scenes, strict=True):
        counts = {shape.colour: shape.last - shape.first + 1 for shape in scene.shapes}
        counts = {colour: count for colour, count in counts.items() if count < scene.frames}
        ends = (min(counts.values()), max(counts.values()))
        tied = [[colour for colour, count in counts.items() if count == end] for end in ends]
        scores.append([(question.answer in colours) / len(colours) for colours in tied])
        chances.append(1 / max(2, len(counts)))
    found = asked.table([question.text for question in asked.questions], np.array(scores))
    return BagLeaks(float(np.mean(chances)), found)


def _pixels(samples: Sequence[Sample], time: int) -> float:
    asked = _Asked(samples, "scene_change")
    return asked.probe(pictures(backgrounds([samples[i].scene for i in asked.clips], time)))
