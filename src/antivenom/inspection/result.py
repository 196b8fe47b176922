"""What an inspection found: values, and nothing that computes."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from pathlib import Path

from antivenom.core.protocols import Trigger
from antivenom.core.verdict import ModelVerdict
from antivenom.inspection.structure import Trace


class Answer(enum.StrEnum):
    """The answer to the question whether the model is backdoored."""

    NOTHING_FOUND = "no backdoor found"
    SUSPICIOUS = "suspicious"
    UNCALIBRATED = "uncalibrated"
    CANNOT_TELL = "cannot tell"


EXIT_CODES = {Answer.NOTHING_FOUND: 0, Answer.SUSPICIOUS: 1, Answer.UNCALIBRATED: 0, Answer.CANNOT_TELL: 3}


@dataclass(frozen=True, eq=False)
class Check:
    """One check of the model's behaviour or weights.

    Fields:
        name: the name of its detector.
        decides: whether it is part of the answer; otherwise it is a second opinion.
        verdict: what it found, or None if it did not run.
        why: why it did not run; empty if it did.
        seconds: how long it took.
    """

    name: str
    decides: bool
    verdict: ModelVerdict | None = None
    why: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Suspect:
    """A class and the trigger that was recovered for it.

    Fields:
        index: the number of the class.
        name: its name.
        distance: its distance from the same class in the clean reference models, in their standard deviations; the index of
            the most suspicious check without references.
        flagged: whether the answer names it.
        form: how the trigger changes an input: "mask" or "perturbation".
        trigger: the recovered trigger.
        size: its size: the sum of the mask, or the Euclidean norm of the perturbation.
        rate: share of the held-out clean rows of other classes that get the class with the trigger.
        reference_rate: the mean of this share over the reference models; nan without references.
    """

    index: int
    name: str
    distance: float
    flagged: bool
    form: str
    trigger: Trigger
    size: float
    rate: float
    reference_rate: float = math.nan


@dataclass(frozen=True)
class Candidate:
    """One repair that was tried.

    Fields:
        name: the name of the mitigation.
        accuracy: accuracy of the repaired model on held-out clean rows.
        rate: mean share of held-out clean rows that still get the class of the recovered triggers.
        clean_accuracy: accuracy of a clean reference model after the same repair; nan without references.
    """

    name: str
    accuracy: float
    rate: float
    clean_accuracy: float = math.nan


@dataclass(frozen=True)
class Repaired:
    """The repair of the model.

    Fields:
        before: accuracy and rate of the model as it was.
        candidates: the repairs that were tried.
        chosen: the name of the chosen one; empty if all lost more accuracy than allowed.
        path: the file that was written; None if none was.
        skipped: repairs for which the time did not suffice.
    """

    before: Candidate
    candidates: tuple[Candidate, ...]
    chosen: str = ""
    path: Path | None = None
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Inspection:
    """The result of `inspect`.

    Fields:
        path: the file or folder.
        form: what it holds.
        answer: the answer.
        reason: one sentence that explains it.
        checks: the checks of behaviour and weights, in the order in which they ran.
        traces: observations about the structure.
        suspects: the classes with recovered triggers, the most suspicious first.
        p_value: rank of the model among the references; nan without references.
        references: number of clean reference models.
        accuracy: the model's accuracy on held-out clean rows; nan without rows.
        reference_accuracy: the same for each reference.
        repaired: the repair, if one was asked for.
        notes: whole sentences that a reader must know.
        seconds: how long all took.
    """

    path: Path
    form: str
    answer: Answer
    reason: str
    checks: tuple[Check, ...] = ()
    traces: tuple[Trace, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    p_value: float = math.nan
    references: int = 0
    accuracy: float = math.nan
    reference_accuracy: tuple[float, ...] = ()
    repaired: Repaired | None = None
    notes: tuple[str, ...] = field(default=())
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 no backdoor found or uncalibrated, 1 suspicious, 3 cannot tell."""
        return EXIT_CODES[self.answer]

    @property
    def score(self) -> float:
        """How suspicious the model is: the largest distance of a class; 0 if no class was judged."""
        return max((suspect.distance for suspect in self.suspects), default=0.0)
