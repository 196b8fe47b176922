"""How success at a goal is measured and worded. The audit, the terminal and the report take it from here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from antivenom.core.outcome import Curve

Metrics = Mapping[str, float]  # name -> number, as in an outcome; nan where it was not measured


def above_limit(own: Metrics, harm: float, limit: float) -> bool:
    """Whether the harm of one seed exceeds the limit; a harm that is nan does not."""
    return harm > limit


@dataclass(frozen=True)
class Metric:
    """The measure of success at one goal.

    Fields:
        value: (metrics of a trial, metrics of its clean twin) -> harm: 0 is none, 1 is all there is to lose, nan is not
            measured. What the clean twin shows is subtracted already.
        word: what follows a number, such as "ASR".
        about: the harm in the report's section on the method, such as "the attack success rate, ASR".
        limit: harm from which a cell counts as breached where the scenario file says nothing else.
        short: the word where a line is narrow; empty for the word itself.
        rows: the metric that says of how many inputs the value is a share. A rate over few inputs has a standard error
            of its own, below which no interval may shrink. None: the value is no such rate.
        success: (metrics, harm, limit) -> whether the attack succeeded in this seed.
        curve: what the attacker wants, drawn round by round for each defence; None draws nothing.
        limit_in_curve: the limit is drawn into that curve, which is then on the scale of the harm.
        curves: curves that mean something under this goal only; columns of the report's tables.
        terms: (term, explanation) pairs for the report's list of words.
    """

    value: Callable[[Metrics, Metrics], float]
    word: str
    about: str
    limit: float
    short: str = ""
    rows: str | None = "test_rows"
    success: Callable[[Metrics, float, float], bool] = above_limit
    curve: Curve | None = None
    limit_in_curve: bool = True
    curves: tuple[Curve, ...] = ()
    terms: tuple[tuple[str, str], ...] = ()


def rise(name: str, own: Metrics, twin: Metrics) -> float:
    """How much higher a metric is than in the clean twin; nan if either was not measured."""
    return own.get(name, math.nan) - twin.get(name, math.nan)


@dataclass(frozen=True)
class Availability:
    """The model becomes useless for everybody. Harm is the share of the accuracy above chance that is lost."""

    def __call__(self, own: Metrics, twin: Metrics) -> float:
        above = twin.get("clean_accuracy", math.nan) - twin.get("chance_accuracy", math.nan)
        lost = -rise("clean_accuracy", own, twin)
        return min(lost / above, 1.0) if above > 0 else math.nan  # below chance there is nothing more to lose


@dataclass(frozen=True)
class Targeted:
    """Chosen inputs get the class that the attacker wants. Harm is the rise of the model's confidence in it."""

    def __call__(self, own: Metrics, twin: Metrics) -> float:
        return rise("target_confidence", own, twin)


@dataclass(frozen=True)
class Backdoor:
    """Inputs with a trigger get the class that the attacker wants. Harm is the rise of the share that does."""

    def __call__(self, own: Metrics, twin: Metrics) -> float:
        if (
            "learned_trigger" in own and own["learned_trigger"] == 1
        ):  # the twin was shown the scenario's trigger, not the attack's
            return own.get("asr", math.nan) - own.get("asr_clean", math.nan)
        return rise("asr", own, twin)


@dataclass(frozen=True)
class Privacy:
    """The model tells who is in its training set. Harm is the rise of the share found at 1 % false alarms."""

    def __call__(self, own: Metrics, twin: Metrics) -> float:
        return rise("tpr_at_1", own, twin)


def _hit(own: Metrics, harm: float, limit: float) -> bool:
    """At least half of the targets get the wanted class. Confidence alone does not misclassify."""
    return own.get("targets_hit", math.nan) >= 0.5


AVAILABILITY = Metric(
    Availability(),
    word="accuracy lost",
    about="the share of above-chance accuracy lost",
    limit=0.1,
    curve=Curve("accuracy", "test accuracy by defence"),
    limit_in_curve=False,
)
TARGETED = Metric(
    Targeted(),
    word="target confidence",
    about="the confidence in the wanted class",
    limit=0.5,
    short="confidence",
    rows=None,
    success=_hit,
    curve=Curve("target_confidence", "target confidence"),
    curves=(Curve("target_confidence", "target confidence"), Curve("targets_hit", "targets hit")),
)
BACKDOOR = Metric(
    Backdoor(),
    word="ASR",
    about="the attack success rate, ASR",
    limit=0.2,
    curve=Curve("asr", "attack success rate"),
    curves=(Curve("asr", "attack success rate"),),
    terms=(
        (
            "ASR",
            "attack success rate: share of triggered inputs of other classes that the model gives the attacker's class",
        ),
    ),
)
PRIVACY = Metric(
    Privacy(),
    word="members found",
    about="the share of members found at 1% false alarms",
    limit=0.1,
    rows="targets",
)
