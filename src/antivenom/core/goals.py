"""The metric of each goal: how success is measured and what the report calls it.

Audit, terminal and report read these values and know no goal by name, so that a plugin can add one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from antivenom.core.outcome import Curve

Metrics = Mapping[str, float]  # name -> number, as in `Outcome.metrics`; nan where it was not measured
Ends = tuple[float, float]  # a share without the attack and with it


def whole(twin: Metrics) -> float:
    """The span of a rate that is its own harm."""
    return 1.0


@dataclass(frozen=True)
class Metric:
    """The measure of success at one goal.

    Fields:
        value: (metrics of a trial, metrics of its clean twin) -> harm from 0 (no harm) to 1 (the worst possible), after
            subtraction of what the clean twin shows; nan if it was not measured.
        word: the unit that follows a number, such as "ASR".
        about: the harm as a noun phrase for the report's section on the method, such as "the attack success rate, ASR".
        limit: the harm above which a cell counts as breached, unless the scenario file gives another limit.
        short: a shorter `word` for narrow lines; empty if `word` is short enough.
        rows: name of the metric that holds the number of inputs of which the harm is a share, since a harm over few inputs
            is known to one input at best. None if the harm is not a share of inputs.
        span: metrics of the clean twin -> by how much that share changes between harm 0 and harm 1.
        curve: the curve of the attacker's success over the rounds, drawn for each defence; None draws nothing.
        limit_in_curve: whether the limit is drawn into that curve, which must then be on the scale of the harm.
        ends: (metrics of a trial, metrics of its clean twin) -> a share without the attack and the same share with it; nan if
            it was not measured. None leaves it to the harm alone.
        said: these two shares in a clause with the places {before} and {after}.
        curves: curves that only this goal has; they become columns of the report's tables.
        terms: (term, explanation) pairs for the report's glossary.
    """

    value: Callable[[Metrics, Metrics], float]
    word: str
    about: str
    limit: float
    short: str = ""
    rows: str | None = "test_rows"
    span: Callable[[Metrics], float] = whole
    curve: Curve | None = None
    limit_in_curve: bool = True
    ends: Callable[[Metrics, Metrics], Ends] | None = None
    said: str = ""
    curves: tuple[Curve, ...] = ()
    terms: tuple[tuple[str, str], ...] = ()

    def row(self, own: Metrics, twin: Metrics) -> float:
        """By how much the harm changes if one input gets another answer; 0 if it is no share of inputs."""
        inputs = math.nan if self.rows is None else own.get(self.rows, math.nan)
        size = inputs * self.span(twin)
        return 1.0 / size if size > 0 else 0.0


def rise(name: str, own: Metrics, twin: Metrics) -> float:
    """The metric's increase over the clean twin; nan if either was not measured."""
    return own.get(name, math.nan) - twin.get(name, math.nan)


def above_chance(twin: Metrics) -> float:
    """The accuracy that an attack can take: that of the clean twin above chance."""
    return twin.get("clean_accuracy", math.nan) - twin.get("chance_accuracy", math.nan)


@dataclass(frozen=True)
class Ended:
    """A metric in the clean twin and in the trial."""

    name: str

    def __call__(self, own: Metrics, twin: Metrics) -> Ends:
        return twin.get(self.name, math.nan), own.get(self.name, math.nan)


@dataclass(frozen=True)
class EndedRate:
    """The attack success rate on a clean model and on the attacked one; see `Backdoor` for learned triggers."""

    def __call__(self, own: Metrics, twin: Metrics) -> Ends:
        clean = own.get("asr_clean", math.nan) if own.get("learned_trigger") == 1 else twin.get("asr", math.nan)
        return clean, own.get("asr", math.nan)


@dataclass(frozen=True)
class Availability:
    """The model becomes useless for everybody. Harm is the share of the above-chance accuracy that is lost, at most 1."""

    def __call__(self, own: Metrics, twin: Metrics) -> float:
        above, lost = above_chance(twin), -rise("clean_accuracy", own, twin)
        return min(lost / above, 1.0) if above > 0 else math.nan  # accuracy below chance is no greater harm


@dataclass(frozen=True)
class Targeted:
    """Chosen inputs get the class that the attacker wants. Harm is the rise of the share of them that get it."""

    def __call__(self, own: Metrics, twin: Metrics) -> float:
        return rise("targets_hit", own, twin)


@dataclass(frozen=True)
class Backdoor:
    """Inputs with a trigger get the class that the attacker wants. Harm is the rise of the attack success rate.

    The baseline of a scenario's trigger is its rate in the clean twin's trial. A learned trigger exists only in the
    attack's own trial, which therefore measures the rate on a clean model itself, as `asr_clean`.
    """

    def __call__(self, own: Metrics, twin: Metrics) -> float:
        if own.get("learned_trigger") == 1:
            return own.get("asr", math.nan) - own.get("asr_clean", math.nan)
        return rise("asr", own, twin)


@dataclass(frozen=True)
class Privacy:
    """The model reveals who is in its training set. Harm is the rise of the true positive rate at 1 % false positives."""

    def __call__(self, own: Metrics, twin: Metrics) -> float:
        return rise("tpr_at_1", own, twin)


AVAILABILITY = Metric(
    Availability(),
    word="accuracy lost",
    about="the share of above-chance accuracy lost",
    limit=0.1,
    span=above_chance,
    curve=Curve("accuracy", "test accuracy by defence"),
    limit_in_curve=False,
    ends=Ended("clean_accuracy"),
    said="the accuracy is {after} ({before} without the attack)",
)
TARGETED = Metric(
    Targeted(),
    word="targets hit",
    about="the share of targets that get the wanted class",
    limit=0.2,
    rows=None,
    curve=Curve("target_confidence", "target confidence"),
    ends=Ended("targets_hit"),
    said="{after} of the target inputs get the attacker's class ({before} without the attack)",
    curves=(Curve("target_confidence", "target confidence"), Curve("targets_hit", "targets hit")),
)
BACKDOOR = Metric(
    Backdoor(),
    word="ASR",
    about="the attack success rate, ASR",
    limit=0.2,
    rows="triggered_rows",
    curve=Curve("asr", "attack success rate"),
    ends=EndedRate(),
    said="{after} of the inputs with the trigger get the attacker's class ({before} without the attack)",
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
    ends=Ended("tpr_at_1"),
    said="{after} of the members are recognised at 1% false alarms ({before} without the attack)",
)
