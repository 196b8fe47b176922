"""The checks of a model, beside its references, within the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from antivenom.core.errors import DataError, ModelError, NotApplicable
from antivenom.core.protocols import Model
from antivenom.core.verdict import ModelVerdict
from antivenom.data import Dataset
from antivenom.defences import MMBD, NeuralCleanse, PatchSweep, SmallestPerturbation, WeightScreen
from antivenom.defences.acceptance.calibration import Recovery, Statistics, combined, judged
from antivenom.defences.acceptance.margins import by_gamma
from antivenom.inspection.references import Clock, at_once
from antivenom.inspection.result import Check
from antivenom.models.wrappers import TorchModel

# The checks in the order in which they run. These settings were chosen on models that the benchmark does not judge.
BY_GRADIENTS = (WeightScreen(), NeuralCleanse(steps=60, rows=24), SmallestPerturbation(steps=60, rows=24))
LAST = (MMBD(),)  # a second opinion that takes as long as an inversion, for the time that the references leave
BY_QUERIES = (PatchSweep(),)
Detector = WeightScreen | MMBD | NeuralCleanse | SmallestPerturbation | PatchSweep
LEAST = 4  # references; fewer give false alarms in more than one of five clean models


@dataclass(frozen=True, eq=False)
class Measured:
    """What one check measured on the inspected model.

    Fields:
        detector: the detector.
        statistics: the statistic of each class, or None if the check did not run.
        recovery: the recovered triggers, if the detector recovers any.
        why: why it did not run.
        seconds: how long it took.
    """

    detector: Detector
    statistics: Statistics | None = None
    recovery: Recovery | None = None
    why: str = ""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The name of the detector."""
        return type(self.detector).__name__


ByName = dict[str, Statistics]


def detectors_for(model: Model, rows: bool) -> tuple[Detector, ...]:
    """The detectors that suit the model: by gradients and weights, with or without clean rows, or by queries alone."""
    if not isinstance(model, TorchModel):
        return BY_QUERIES
    return BY_GRADIENTS if rows else (WeightScreen(), *LAST)


def measured(model: Model, probes: Dataset, clock: Clock, detectors: Sequence[Detector]) -> list[Measured]:
    """What each check measures on the model, or why it did not run."""
    found: list[Measured] = []
    for detector in detectors:
        expected = max((one.seconds for one in found), default=0.0)  # the checks by gradients take about equally long
        if clock.left <= expected:
            found.append(Measured(detector, why=f"no time was left for its about {max(expected, 1):.0f} s"))
            continue
        start = time.monotonic()
        try:
            recovery = None if isinstance(detector, (WeightScreen, MMBD)) else detector.recovered(model, probes)
            statistics = detector.measured(model, probes) if recovery is None else recovery.statistics
        except (NotApplicable, DataError, ModelError) as error:
            found.append(Measured(detector, why=str(error)))
            continue
        found.append(Measured(detector, statistics, recovery, seconds=time.monotonic() - start))
    return found


def deciding(found: Sequence[Measured]) -> list[Measured]:
    """The checks that make the answer: those that recover triggers or, if none of them ran, all that ran.

    The weight screen and MM-BD are second opinions beside an inversion: on clean models they differ more from seed to seed.
    """
    ran = [one for one in found if one.statistics is not None]
    return [one for one in ran if one.recovery is not None] or ran


def beside(
    found: Sequence[Measured], makers: Sequence[Callable[[], Model]], probes: Dataset, clock: Clock, workers: int
) -> tuple[list[Model], list[ByName]]:
    """The references that fit into the time, and their statistics by the deciding checks and the weight screen.

    Args:
        found: the checks of the model.
        makers: for each reference, a function that trains or returns it.
        probes: the rows on which the model was measured.
        clock: the time; a batch of references is begun only if the last one would fit into what is left.
        workers: number of references in a batch.
    """
    decide = deciding(found)
    wanted = [one for one in found if one in decide or (one.statistics and isinstance(one.detector, WeightScreen))]

    def one(make: Callable[[], Model]) -> tuple[Model, ByName]:
        model = make()
        return model, {each.name: each.detector.measured(model, probes) for each in wanted}

    models: list[Model] = []
    statistics: list[ByName] = []
    last = sum(each.seconds for each in wanted)
    for i in range(0, len(makers), workers):
        if clock.left < last:
            break
        start = time.monotonic()
        for model, own in at_once(one, makers[i : i + workers]):
            models.append(model)
            statistics.append(own)
        last = time.monotonic() - start
    return models, statistics


def verdicts(
    found: Sequence[Measured], statistics: Sequence[ByName], traces: Sequence[float] = ()
) -> tuple[ModelVerdict | None, list[Check]]:
    """The verdict of the deciding checks together, which is None without references, and that of each check alone.

    Args:
        found: all checks of the model.
        statistics: for each reference, its statistics by the name of the check.
        traces: number of suspicious traces in the weights of the model, and in those of each reference.
    """
    decide, checks = deciding(found), []
    for one in found:
        if one.statistics is None:
            checks.append(Check(one.name, False, why=one.why))
            continue
        own = [row[one.name] for row in statistics if one.name in row]
        if not own and isinstance(one.detector, MMBD):
            verdict = by_gamma(np.exp(one.statistics.filled), one.detector.level)
        else:
            verdict = judged(one.statistics, own, one.detector.threshold)
        checks.append(Check(one.name, one in decide, verdict, seconds=one.seconds))
    if not statistics or not decide:
        return None, checks
    ours = [one.statistics for one in decide if one.statistics is not None]
    return combined(ours, [[row[one.name] for one in decide] for row in statistics], traces), checks
