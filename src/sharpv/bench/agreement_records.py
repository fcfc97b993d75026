"""How far a condition moved the logits of one clip's answers, token by token."""

import json
from dataclasses import asdict, dataclass
from typing import Self

__all__ = ["AgreementRecord", "Compared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One question, and what became of the dense model's answer to it.

    Attributes:
        question: its text.
        said: the answer of the dense model, as text.
        kl: per token of the answer, KL(dense || condition) in nats, of the predictions of that token.
        same: per token of the answer, whether both hold the same token for the likeliest.
    """

    question: str
    said: str
    kl: tuple[float, ...]
    same: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementRecord:
    """All questions about one clip under one condition.

    Attributes:
        clip: its name.
        condition: name of the condition.
        answers: one per question.
        tokens_total: visual tokens of the clip.
        tokens_kept: those that the LLM read.
        layer_share: mean over the decoder's layers of the share that each read.
        seconds: spent on the passes of the condition, without the vision tower.
    """

    clip: str
    condition: str
    answers: tuple[Compared, ...]
    tokens_total: int
    tokens_kept: int
    layer_share: float
    seconds: float

    @property
    def key(self) -> tuple[str, str]:
        """What no other record of a run has."""
        return self.clip, self.condition

    @property
    def kept_share(self) -> float:
        """Share of the visual tokens that the LLM read."""
        return self.tokens_kept / self.tokens_total

    def to_json(self) -> str:
        """Returns one line of JSON."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Builds the record from `to_json()`."""
        values = json.loads(line)
        values["answers"] = tuple(
            Compared(**answer | {"kl": tuple(answer["kl"]), "same": tuple(answer["same"])})
            for answer in values["answers"]
        )
        return cls(**values)
