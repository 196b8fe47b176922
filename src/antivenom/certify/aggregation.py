"""Deep partition aggregation and finite aggregation: votes of models that are each trained on a part of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from antivenom.certify.bases import Base, Bases, fitted, linear
from antivenom.certify.certificate import Certificate, one_row_at_a_time
from antivenom.certify.partitions import parts
from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import robust_learner
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Rows
from antivenom.models.features import FeatureMap

CHUNK = 512  # rows predicted at a time


@robust_learner(
    access=(Access.DATA_MANIPULATION, Access.DATA_INJECTION),
    goal=(Goal.AVAILABILITY, Goal.TARGETED, Goal.BACKDOOR),
    cite="Levine and Feizi 2021, ICLR",
)
class DPA:
    """Deep partition aggregation: k models, each trained on one of k parts of the rows, vote with a certified radius.

    The part of a row is a hash of its content and label. So an inserted or deleted row changes one model, and a changed row
    counts as two changes. With labels_only the hash ignores the label, and a flipped label counts as one change (SS-DPA).
    Weakness: each model sees n / k rows, so that accuracy falls as k grows, and no radius exceeds k / 2.

    Fields:
        partitions: k, the number of parts and of base models.
        features: a map of single rows, such as HOG; None for the rows themselves.
        base: centroid, ridge or model (the model of the scenario).
        penalty: penalty of ridge, relative to the mean squared length of the rows, above 0.
        labels_only: certify against flipped labels of trusted rows.

    Reference: Levine and Feizi 2021, arXiv:2006.14768, Theorem 1 (there networks on each part).
    """

    partitions: int = 50
    features: FeatureMap | None = None
    base: Base = Base.RIDGE
    penalty: float = 0.01
    labels_only: bool = False

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, data: Dataset, context: DefenceContext) -> Ensemble:
        return _ensemble(self, data, context, self.partitions, (0,), "Levine and Feizi 2021, Theorem 1")


@robust_learner(
    access=(Access.DATA_MANIPULATION, Access.DATA_INJECTION),
    goal=(Goal.AVAILABILITY, Goal.TARGETED, Goal.BACKDOOR),
    cite="Wang et al. 2022, ICML",
)
class FiniteAggregation:
    """DPA with smaller parts that several models share: k d parts, each used by d of k d models of n / k rows each.

    A changed part affects d models, but it costs votes only where they voted for the winner. The radius counts this for
    each part. Weakness: it needs d times as many models as DPA for a small gain; with spread 1 it is DPA.

    Fields:
        partitions: k; each model sees n / k rows.
        spread: d, the number of models that share a part.
        features: a map of single rows, such as HOG; None for the rows themselves.
        base: centroid, ridge or model (the model of the scenario).
        penalty: penalty of ridge, relative to the mean squared length of the rows, above 0.
        labels_only: certify against flipped labels of trusted rows.

    Reference: Wang, Levine and Feizi 2022, arXiv:2202.02628, Theorem 2.
    """

    partitions: int = 50
    spread: int = 2
    features: FeatureMap | None = None
    base: Base = Base.RIDGE
    penalty: float = 0.01
    labels_only: bool = False

    def __post_init__(self) -> None:
        _check(self)
        if self.spread < 1:
            raise PluginError("FiniteAggregation.spread >= 1", f"{self.spread}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Ensemble:
        buckets = self.partitions * self.spread
        drawn = context.streams.numpy("spread").choice(buckets, self.spread, replace=False)
        offsets = tuple(sorted(int(offset) for offset in drawn))
        return _ensemble(self, data, context, buckets, offsets, "Wang, Levine and Feizi 2022, Theorem 2")


def _check(plugin: DPA | FiniteAggregation) -> None:
    name = type(plugin).__name__
    if plugin.partitions < 1 or not plugin.penalty > 0:
        got = f"{plugin.partitions} and {plugin.penalty}"
        raise PluginError(f"{name}.partitions >= 1 and penalty above 0", got)
    object.__setattr__(plugin, "base", Base(plugin.base))
    one_row_at_a_time(plugin.features, name)


def _ensemble(
    plugin: DPA | FiniteAggregation,
    data: Dataset,
    context: DefenceContext,
    buckets: int,
    offsets: tuple[int, ...],
    theorem: str,
) -> Ensemble:
    c = data.num_classes  # comes first, because it refuses regression data
    members = parts(data, buckets, offsets, plugin.labels_only)
    seen = data if plugin.features is None else replace(data, x=plugin.features(data.x), schema=None)
    if plugin.base is Base.MODEL:
        bases: Bases = fitted(members, seen, context.fit)
    else:
        bases = linear(members, seen, plugin.base, plugin.penalty)
    unit = "labels flipped" if plugin.labels_only else "rows inserted or deleted"
    return Ensemble(bases, plugin.features, c, offsets, Certificate(unit, theorem))


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Base models that vote. A tie goes to the class with the smaller number.

    Fields:
        bases: b fitted models.
        features: the map of rows to the inputs of the bases.
        num_classes: c.
        offsets: part j is used by the bases j + offset, modulo b.
        certificate: the statement that `certified` proves.
    """

    bases: Bases
    features: FeatureMap | None
    num_classes: int
    offsets: tuple[int, ...]
    certificate: Certificate

    def votes(self, x: Rows) -> np.ndarray:
        """Number of votes (m, c) for each class; they sum to b."""
        return _stacked([_counted(answers, self.num_classes) for answers in self._answers(x)], self.num_classes)

    def predict_proba(self, x: Rows) -> np.ndarray:
        """Shares of the votes (m, c)."""
        votes = self.votes(x)
        return np.asarray(votes / np.maximum(votes.sum(axis=1, keepdims=True), 1))

    def predict(self, x: Rows) -> np.ndarray:
        return np.asarray(self.votes(x).argmax(axis=1))

    def certified(self, x: Rows) -> np.ndarray:
        """Certified radius (m,): the number of changes, in the unit of the certificate, that cannot change a prediction."""
        if len(self.offsets) == 1:
            return radius(self.votes(x))
        found = [shared_radius(answers, self.offsets, self.num_classes) for answers in self._answers(x)]
        return _stacked(found)

    def _answers(self, x: Rows) -> Iterator[np.ndarray]:
        for start in range(0, x.shape[0], CHUNK):
            rows = x[start : start + CHUNK]
            yield self.bases.answers(rows if self.features is None else self.features(rows))


def _stacked(found: list[np.ndarray], *shape: int) -> np.ndarray:
    return np.concatenate(found) if found else np.zeros((0, *shape), dtype=np.int64)


def _counted(answers: np.ndarray, num_classes: int) -> np.ndarray:
    """Votes (m, c) from answers (m, b)."""
    return np.stack([(answers == label).sum(axis=1) for label in range(num_classes)], axis=1)


def gaps(votes: np.ndarray) -> np.ndarray:
    """Lead (m, c) of the winner over each class, less one if a tie would go to that class.

    The winner's own entry is the number of all votes, an upper bound of all entries.
    """
    rows, winner = np.arange(len(votes)), votes.argmax(axis=1)
    before = np.arange(votes.shape[1]) < winner[:, None]
    gap = votes[rows, winner][:, None] - votes - before
    gap[rows, winner] = votes.sum(axis=1)
    return np.asarray(gap)


def radius(votes: np.ndarray) -> np.ndarray:
    """Theorem 1 of Levine and Feizi, (m,): a change moves at most one vote, at worst from the winner to the runner-up."""
    return np.asarray(gaps(votes).min(axis=1) // 2)


def shared_radius(answers: np.ndarray, offsets: tuple[int, ...], num_classes: int) -> np.ndarray:
    """Theorem 2 of Wang et al., (m,), from answers (m, b).

    A base that changes its vote to class c' reduces the winner's lead by 2 if it had voted for the winner, by 0 if for c',
    and otherwise by 1. A changed part can change every base that uses it. The radius is the number of most harmful parts
    that the lead survives, for the worst class c'.
    """
    m, b = answers.shape
    votes = _counted(answers, num_classes)
    lead, winner = gaps(votes), votes.argmax(axis=1)
    worst = np.full(m, b)
    for label in range(num_classes):
        cost = (1 + (answers == winner[:, None]).astype(np.int16)) - (answers == label)
        damage = sum((np.roll(cost, -offset, axis=1) for offset in offsets), np.zeros((m, b), dtype=np.int16))
        left, count = lead[:, label], np.zeros(m, dtype=np.int64)
        for each in range(2 * len(offsets), 0, -1):  # the most harmful parts first
            held = (damage == each).sum(axis=1)
            taken = np.minimum(held, left // each)
            count, left = count + taken, np.where(taken == held, left - taken * each, 0)
        worst = np.where(winner == label, worst, np.minimum(worst, count))
    return worst
