"""Verdicts over a model's classes: ranks among clean reference models, or an uncalibrated index without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, Model, Trigger
from antivenom.core.streams import Streams
from antivenom.core.verdict import ModelVerdict, Verdict
from antivenom.data import Dataset
from antivenom.defences.inputs import median_and_spread
from antivenom.defences.inversion import Inverted

SURE = 0.2  # smallest deviation of a statistic of whole models
FEWEST = 2  # references; with one there is no spread within the references


@dataclass(frozen=True, eq=False)
class Statistics:
    """A statistic of each class of one model. Higher is more suspicious.

    Fields:
        values: (c,) the statistic.
        reached: (c,) bool, False for a class of which the method has no statistic. Such a class is not judged.
        lowest: the value that a class without a statistic counts as in a reference model: the least suspicious one.
    """

    values: np.ndarray
    reached: np.ndarray
    lowest: float = -np.inf

    @property
    def filled(self) -> np.ndarray:
        """(c,) the values, with `lowest` for classes that were not reached."""
        return np.where(self.reached, self.values, self.lowest)


@dataclass(frozen=True, eq=False)
class Recovery:
    """The triggers that a detector recovered, one for each of c classes.

    Fields:
        statistics: the statistic of each class.
        triggers: the trigger of each class.
        sizes: (c,) its size, by the detector's own measure.
        form: what a trigger is: "mask", "perturbation" or "patch".
    """

    statistics: Statistics
    triggers: Sequence[Trigger]
    sizes: np.ndarray
    form: str

    @classmethod
    def by_size(cls, found: Inverted, largest: float, form: str) -> Recovery:
        """Inverted triggers whose statistic is the logarithm of their size, negated: small ones are suspicious.

        `largest` is the size that a trigger can have at most, which counts for a class that was not reached in a reference.
        """
        values = -np.log(np.maximum(found.sizes, 1e-6))
        return cls(Statistics(values, found.reached, -float(np.log(largest))), found.triggers, found.sizes, form)


def judged(found: Statistics, references: Sequence[Statistics] = (), threshold: float = 2.0) -> ModelVerdict:
    """A verdict over the model whose statistics were found.

    With references, each of the k + 1 models gets one number: the largest distance of a class's statistic above the mean
    of the same class in the k other models, in standard deviations pooled over the classes. The p-value is the rank of
    the model's number among the k + 1. The model is flagged if its number is the largest. If the model is clean and
    exchangeable with its references, which needs the same architecture, training and distribution of rows, it is flagged
    with a probability of at most 1 / (k + 1).

    Without references, the index of a class is the distance of its statistic above the median over the classes, in robust
    standard deviations. This index has no known rate of false alarms, and the verdict says that it is uncalibrated.

    Args:
        found: statistics of the model.
        references: statistics of clean models of the same architecture; none, or at least two.
        threshold: the index above which a class is flagged without references.
    """
    if references:
        return combined([found], [[reference] for reference in references])
    index, values = np.zeros(len(found.values)), found.values[found.reached]
    if len(values):
        middle, spread = median_and_spread(values)
        index[found.reached] = np.maximum(values - middle, 0) / max(spread, 1e-6)
    note = "the verdict is uncalibrated: there were no clean reference models, so its rate of false alarms is unknown"
    return ModelVerdict.of_classes(Verdict(index, index > threshold), notes=(note, *_unreached(found)))


def combined(
    found: Sequence[Statistics], references: Sequence[Sequence[Statistics]], whole: Sequence[float] = ()
) -> ModelVerdict:
    """One verdict from several methods, by the rank of the model among its references.

    The distance of a class is its largest one over the methods, and a model's number is that of its most distant class. All
    k + 1 models are treated alike, so that the bound on false alarms is that of one method (see `judged`).

    Args:
        found: for each method, the statistics of the model.
        references: for each reference, its statistics by the same methods.
        whole: a statistic of each model as a whole, which no class is to blame for, such as a number of remarks: the model's,
            then those of the references. Deviations of less than `SURE` count as this much, as most values may be equal.
    """
    k = len(references)
    if k < FEWEST:
        raise DataError(f"at least {FEWEST} clean reference models", f"{k}", "nine give a false-alarm rate of 10 %")
    models = [found, *references]
    distances = [
        np.max(
            [
                _distances(own, [other[method] for j, other in enumerate(models) if j != i])
                for method, own in enumerate(model)
            ],
            axis=0,
        )
        for i, model in enumerate(models)
    ]
    numbers = np.array([distance.max() for distance in distances])
    if len(whole):
        numbers = np.maximum(numbers, [_from_others(whole[i], np.delete(whole, i)) for i in range(k + 1)])
    p = (1 + int((numbers[1:] >= numbers[0]).sum())) / (k + 1)
    own = np.maximum(np.where(np.isfinite(distances[0]), distances[0], 0.0), 0.0)
    flags = (distances[0] > numbers[1:].max()) & (own > 0)
    note = (
        f"p = {p:.3g}, from {k} clean reference models: false alarms in at most 1 of {k + 1} exchangeable clean models"
    )
    unreached = _unreached(found[0]) if len(found) == 1 else ()
    flag = bool(numbers[0] > numbers[1:].max() and numbers[0] > 0)
    return ModelVerdict(max(float(numbers[0]), 0.0), flag, Verdict(own, flags), p, (note, *unreached))


def _from_others(value: float, others: np.ndarray) -> float:
    return float((value - others.mean()) / max(float(others.std(ddof=1)), SURE))


def _distances(model: Statistics, others: Sequence[Statistics]) -> np.ndarray:
    """(c,) how far each class lies above its mean in the other models, in pooled deviations; -inf if it is not judged."""
    table = np.array([other.filled for other in others])
    usable = np.isfinite(table).all(axis=0) & model.reached
    centred = table[:, usable] - table[:, usable].mean(axis=0)
    freedom = max(1, centred.shape[1] * (len(others) - 1))
    spread = np.sqrt((centred**2).sum() / freedom)
    found = np.full(len(model.values), -np.inf)
    found[usable] = (model.values[usable] - table[:, usable].mean(axis=0)) / max(spread, 1e-9)
    return found


def _unreached(found: Statistics) -> tuple[str, ...]:
    if found.reached.all():
        return ()
    missing = np.flatnonzero(~found.reached).tolist()
    more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    return (f"not reached, and not judged: classes {', '.join(map(str, missing[:10]))}{more}",)


def check_search(rows: int, threshold: float, references: int, name: str) -> None:
    """Refuses fewer than one row to search on, a threshold that is not above 0, and an impossible number of references."""
    if rows < 1 or threshold <= 0:
        raise PluginError(f"{name}.rows >= 1 and threshold > 0", f"{rows} and {threshold}")
    check_references(references, name)


def check_references(count: int, name: str) -> None:
    """Refuses a number of reference models that is neither 0 nor at least two."""
    if count != 0 and count < FEWEST:
        raise PluginError(f"{name}.references 0 or at least {FEWEST}", f"{count}", "9 give a false-alarm rate of 10 %")


class Measures(Protocol):
    """A detector that judges a model by one statistic of each class."""

    @property
    def threshold(self) -> float:
        """The index above which a class is flagged without references."""
        ...

    @property
    def references(self) -> int:
        """Number of clean reference models that are trained."""
        ...

    def measured(self, model: Model, clean: Dataset, streams: Streams = Streams(0), /) -> Statistics:
        """The statistic of each class of the model, measured with clean rows."""
        ...


@runtime_checkable
class Recovers(Protocol):
    """A detector that also recovers a trigger for each class."""

    def recovered(self, model: Model, clean: Dataset, /) -> Recovery:
        """The triggers, with the statistics that `measured` returns."""
        ...


def compared(
    detector: Measures, model: Model, clean: Dataset, references: Sequence[Model], streams: Streams = Streams(0)
) -> ModelVerdict:
    """The verdict of a detector beside given clean models, which are measured in the same way; none, or at least two.

    Raises:
        NotApplicable: a reference of another number of classes.
    """
    for other in references:
        if other.num_classes != model.num_classes:
            raise NotApplicable(
                f"reference models of {model.num_classes} classes", f"one of {other.num_classes}", "use the same task"
            )
    recovery = detector.recovered(model, clean) if isinstance(detector, Recovers) else None
    found = detector.measured(model, clean, streams) if recovery is None else recovery.statistics
    others = [detector.measured(one, clean, streams) for one in references]
    verdict = judged(found, others, detector.threshold)
    if recovery is None or verdict.classes is None:
        return verdict
    return replace(verdict, trigger=recovery.triggers[int(verdict.classes.scores.argmax())])


def trained(context: DefenceContext, rows: Dataset, count: int) -> list[Model]:
    """Clean reference models, trained in the user's pipeline on rows that the user holds, from different initial weights."""
    return [context.fit(rows, f"reference {i}") for i in range(count)]


def halved(detector: Measures, model: Model, clean: Dataset, context: DefenceContext, rows: int) -> ModelVerdict:
    """The verdict of a detector that measures on the first `rows` clean rows. References are trained on the other rows.

    Raises:
        DataError: references are wanted, but there are fewer than twice as many clean rows.
    """
    if not detector.references:
        return compared(detector, model, clean, (), context.streams)
    if len(clean) < 2 * rows:
        got = f"{len(clean)}"
        raise DataError(f"{2 * rows} clean rows, half of them for the references", got, "lower rows")
    references = trained(context, clean[rows:], detector.references)
    return compared(detector, model, clean[:rows], references, context.streams)
