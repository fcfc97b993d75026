"""Summaries of `sharpv eval` as rows: what each condition kept, how often it was right, what it cost."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sharpv.bench.compare import flat
from sharpv.bench.conditions import DENSE
from sharpv.errors import InputError

__all__ = ["ContestRow", "FamilyShare", "Span", "contest_rows", "differing"]

ADAPTIVE = "adaptive"
PLACE = ("model", "threads", "python", "commit")
"""What says where a run was made, beside its settings."""

NO_SETTINGS = ("conditions", "weights")
"""What stands among the settings of a run, but is in the rows, or the same in all of them."""


@dataclass(frozen=True, slots=True)
class Span:
    """A figure and how far it reaches.

    Attributes:
        value: the figure.
        low: lower end; None where it is not known.
        high: upper end.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class FamilyShare:
    """How often questions of one family were answered right.

    Attributes:
        n: questions.
        value: share of right answers.
        low: lower end of its 95 % interval.
        high: upper end.
        constant: share that the most frequent answer would get; None for free text.
    """

    n: int
    value: float
    low: float
    high: float
    constant: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContestRow:
    """One condition of one summary; all shares are of 1.

    Attributes:
        condition: its name.
        method: the contestant, with its seed where that is not 0; outside a contest the condition's name.
        budget: share of tokens, "adaptive", or None outside a contest.
        file: which summary it is from.
        asked: fingerprint of the questions.
        questions: how many.
        clips: that they are about.
        tokens: share that enters the LLM, mean and range over clips; None without video.
        layers: mean over the LLM's layers of the share that each reads, the same way.
        accuracy: mean of the families, with its 95 % interval.
        against_dense: difference from dense over all questions, with its 95 % interval; None for dense.
        against_random: the same from random; None where there is none.
        against_whole: the same from what differs in encoding every patch; None where there is none.
        patches: share that the vision tower encodes, mean and range over clips; None where it is all.
        agreement: share of the questions answered as dense does.
        scoring_ms: of a clip, median and quartiles.
        prefill: time of a question's prefill over that of dense, median and quartiles.
        flops: of a question's prefill over those of dense, counted.
        paper_flops: the same by the papers' formula.
        cache: bytes of the KV cache over those of dense.
        caption_facts: mean share of the true facts that captions state; None without captions.
        layers_out: layers that gave their video up (stage 2), the mean over questions; None without stage 2.
        families: accuracy by family of questions.
    """

    condition: str
    method: str
    budget: float | str | None
    file: str
    asked: str
    questions: int
    clips: int
    tokens: Span | None
    layers: Span | None
    accuracy: Span
    against_dense: Span | None
    against_random: Span | None
    against_whole: Span | None
    patches: Span | None
    agreement: float | None
    scoring_ms: Span | None
    prefill: Span | None
    flops: float | None
    paper_flops: float | None
    cache: float | None
    caption_facts: float | None
    layers_out: float | None
    families: Mapping[str, FamilyShare] = field(default_factory=dict)

    @property
    def dense(self) -> bool:
        """Whether this is the model with all of its tokens."""
        return self.condition == DENSE

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return asdict(self)

    def same_as(self, other: "ContestRow") -> bool:
        """Says whether both found the same, whatever it took them; another run of it would."""
        mine, others = (replace(row, file="", scoring_ms=None, prefill=None) for row in (self, other))
        return mine == others


def contest_rows(summaries: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[ContestRow, ...]:
    """Returns a row per condition: dense first, then by budget, within a budget the most accurate first.

    What several summaries found alike, such as dense on the same questions, stands once.

    Args:
        summaries: one or more of one suite and one model, each with the name of its file.

    Raises:
        InputError: summaries of different suites or models, or one that is not whole.
    """
    rows: list[ContestRow] = []
    for file, summary in summaries:
        try:
            _check_same(summaries[0], (file, summary))
            found = [_row(file, summary, name) for name in summary["conditions"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"got {file!r}, a summary of `sharpv eval` that is not whole ({type(error).__name__}: "
                f"{error}): run it again with this version"
            ) from error
        rows += [row for row in found if not any(row.same_as(other) for other in rows)]
    return tuple(sorted(rows, key=_order))


def differing(summaries: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[tuple[str, list[Any]], ...]:
    """Returns the settings that are not the same in all summaries: the name, and the value in each.

    Which conditions were asked is in the rows, and no setting.

    Args:
        summaries: that `contest_rows` takes.
    """
    each = [
        flat({name: summary.get(name) for name in PLACE} | summary["settings"], without=NO_SETTINGS)
        for _, summary in summaries
    ]
    names = dict.fromkeys(name for settings in each for name in settings)
    found = ((name, [settings.get(name) for settings in each]) for name in names)
    return tuple((name, values) for name, values in found if any(value != values[0] for value in values))


def _check_same(first: tuple[str, Mapping[str, Any]], other: tuple[str, Mapping[str, Any]]) -> None:
    suites = [summary["suite"] for _, summary in (first, other)]
    if suites[0] != suites[1]:
        raise InputError(
            f"got {first[0]!r} of suite {suites[0]} and {other[0]!r} of suite {suites[1]}: compare runs of "
            "one suite"
        )
    weights = [summary["settings"]["weights"] for _, summary in (first, other)]
    if weights[0] != weights[1]:
        models = [
            f"{summary['model']}, weights {summary['settings']['weights']}" for _, summary in (first, other)
        ]
        raise InputError(
            f"got runs of different models, {first[0]!r} ({models[0]}) and {other[0]!r} ({models[1]}): "
            "compare runs of the same weights"
        )


def _row(file: str, summary: Mapping[str, Any], name: str) -> ContestRow:
    found = summary["conditions"][name]
    cost, constants = found["cost"], found.get("best_constant", summary["best_constant"])
    seed = f" #{found['seed']}" if found["seed"] else ""
    return ContestRow(
        condition=name,
        method=name if found["contestant"] is None else found["contestant"] + seed,
        budget=found["budget"],
        file=file,
        asked=summary["settings"]["questions"],
        questions=found["micro"]["n"],
        clips=found["micro"]["clusters"],
        tokens=_span(cost["kept_share"], "mean", "min", "max"),
        layers=_span(cost["layer_share"], "mean", "min", "max"),
        accuracy=Span(found["macro"], found["macro_interval"]["low"], found["macro_interval"]["high"]),
        against_dense=_span(found["against_dense"], "difference"),
        against_random=_span(found["against_random"], "difference"),
        against_whole=_span(found.get("against_whole"), "difference"),
        patches=_span(cost.get("patch_share"), "mean", "min", "max"),
        agreement=found["agreement"],
        scoring_ms=_span(cost["times"]["scoring_ms"], "median"),
        prefill=_span(cost["times"]["prefill_of_dense"], "median"),
        flops=cost["flops"]["exact_of_dense"],
        paper_flops=cost["flops"]["paper_of_dense"],
        cache=cost["cache_bytes"] / cost["dense_cache_bytes"] if cost["dense_cache_bytes"] else None,
        caption_facts=found["caption_facts"],
        layers_out=sum(cost["dropped"]) if cost["dropped"] else None,
        families={
            family: FamilyShare(
                share["n"], share["value"], share["low"], share["high"], constants.get(family)
            )
            for family, share in found["families"].items()
        },
    )


def _span(values: Mapping[str, Any] | None, value: str, low: str = "low", high: str = "high") -> Span | None:
    return None if values is None else Span(values[value], values[low], values[high])


def _order(row: ContestRow) -> tuple[int, float, float]:
    """Returns what sorts rows: dense, budgets from the smallest, adaptive, conditions outside a contest."""
    if row.dense:
        return 0, 0.0, 0.0
    share = row.budget if isinstance(row.budget, (int, float)) else 0.0
    group = 3 if row.budget is None else 2 if row.budget == ADAPTIVE else 1
    return group, share, -row.accuracy.value
