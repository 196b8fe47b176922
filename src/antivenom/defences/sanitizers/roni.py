"""Sanitizers that measure the impact of training rows on predictions for other rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from antivenom.core.errors import DataError, NotApplicable, PluginError, did_you_mean
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.inputs import median_and_spread, stratified, trusted_rows
from antivenom.defences.sanitizers.distances import ROWS

MEASURES = ("answers", "probability")


@sanitizer(access=ROWS, goal=(Goal.AVAILABILITY, Goal.TARGETED), cite="Nelson et al. 2008, LEET")
class RONI:
    """Reject on negative impact: trains a small model with and without a row, and flags the row if it lowers the accuracy.

    The cost is `repeats` fits per batch of distinct rows; equal rows are tested once. Without trusted rows, the usual
    impact is the median over the suspicious rows. Weakness: it misses poison that is harmful only together (test batches,
    which however dilute a single bad row), and poison that harms only rows outside of the validation sets (name them). It
    flags honest rows with large influence, and poison in its own training sets misleads it.

    Fields:
        train_rows: size of each random training set.
        validation_rows: size of each random validation set, which is disjoint from the training set.
        repeats: number of pairs of such sets.
        measure: "answers" is the share of correct predictions, as in the paper. "probability" is the probability of the
            correct label, which shows the influence of a single row before any prediction changes (lower `min_drop` then).
        of_class: count only validation rows of this class (in the paper ham); None counts all.
        batch: number of distinct rows that are tested together: rows of one class, neighbours along a random direction.
        deviations: rows are flagged only if their impact is this many standard deviations above the usual one, >= 0.
        min_drop: rows are flagged only if their impact is above this, in the unit of `measure`, 0 to 1 (in the paper,
            ordinary spam costs up to 0.18 of the ham, a dictionary at least 0.27).
        named: numbers of trusted rows whose predictions must not suffer (target-aware RONI); the largest impact counts.
        trusted: draw the sets from the trusted rows, and take their impact as the usual one.

    Reference: Nelson et al. 2008, "Exploiting Machine Learning to Subvert Your Spam Filter", LEET, section 5.1 (there
    20, 50 and 5); target-aware: Suciu et al. 2018, arXiv:1803.06975.
    """

    train_rows: int = 20
    validation_rows: int = 50
    repeats: int = 5
    measure: str = "answers"
    of_class: int | None = None
    batch: int = 1
    deviations: float = 3.0
    min_drop: float = 0.2
    named: tuple[int, ...] = ()
    trusted: bool = False

    def __post_init__(self) -> None:
        if min(self.train_rows, self.validation_rows, self.repeats, self.batch) < 1:
            raise PluginError(
                "RONI.train_rows, validation_rows, repeats and batch >= 1",
                f"{self.train_rows}, {self.validation_rows}, {self.repeats} and {self.batch}",
            )
        if self.measure not in MEASURES:
            raise PluginError("RONI.measure by name", repr(self.measure), did_you_mean(self.measure, MEASURES))
        _check_limits(self.deviations, self.min_drop, "RONI")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        pool = trusted_rows(context, self) if self.trusted else data
        named = trusted_rows(context, self)[self._numbers(context)] if self.named else data[:0]
        self._check(data, pool)
        number, impact = self._impact(data, pool, named, context)
        scores = impact[number]
        usual, classes = scores, data.y
        if self.trusted:
            known, harm = self._impact(pool, pool, named, context)
            usual, classes = harm[known], pool.y
        flags = np.zeros(len(data), dtype=bool)
        for c in np.unique(data.y):  # by class, since the usual impact of a row depends on its label
            peers = usual[classes == c] if (classes == c).any() else usual
            most = limit(peers, self.deviations, self.min_drop, robust=not self.trusted)
            flags |= (data.y == c) & (scores > most)
        return Verdict(scores, flags)

    def _numbers(self, context: DefenceContext) -> np.ndarray:
        numbers, n = np.array(self.named), len(trusted_rows(context, self))
        if numbers.min() < 0 or numbers.max() >= n:
            raise DataError(f"RONI.named from 0 to {n - 1}", f"{self.named}", "they are numbers of trusted rows")
        return numbers

    def _check(self, data: Dataset, pool: Dataset) -> None:
        c, wanted = data.num_classes, self.train_rows + self.validation_rows
        if len(pool) < wanted:
            raise DataError(f"{wanted} rows for RONI's two sets", f"{len(pool)}", "lower train_rows or validation_rows")
        if len(np.unique(pool.y)) < 2 or (self.of_class is not None and self.of_class not in pool.y):
            got = f"{len(np.unique(pool.y))} of {c}, of_class {self.of_class}"
            raise DataError("two classes to tell apart, of_class among them", got)

    def _impact(
        self, data: Dataset, pool: Dataset, named: Dataset, context: DefenceContext
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n,) the batch of each row, and (batches,) the drop of `measure` that each batch causes."""
        number, members = batches(data, context.streams.numpy("direction"), self.batch)
        lost, asked = np.zeros(len(members)), np.zeros(len(members))
        lost_named = np.zeros((len(members), len(named)))
        own = number if pool is data else np.full(len(pool), -1)
        for repeat in range(self.repeats):
            order = stratified(pool.y, context.streams.numpy("sets", repeat))
            train, rest = order[: self.train_rows], order[self.train_rows :]
            rest = rest if self.of_class is None else rest[pool.y[rest] == self.of_class]
            questions = rest[: self.validation_rows]
            trial = Trial.of(pool[train], pool[questions], named, data)
            before = trial.right(context, np.zeros(0, dtype=np.int64), self.measure)
            for b, rows in enumerate(members):
                drop = before - trial.right(context, rows, self.measure)
                counted = own[questions] != b  # a row is not tested on itself
                lost[b] += drop[: len(questions)][counted].sum()
                asked[b] += counted.sum()
                lost_named[b] += drop[len(questions) :]
        impact = lost / np.maximum(asked, 1)
        if len(named):
            impact = np.maximum(impact, lost_named.max(axis=1) / self.repeats)
        return number, impact


@sanitizer(access=ROWS, goal=(Goal.AVAILABILITY, Goal.TARGETED), cite="Baracaldo et al. 2017, AISec")
class ProvenanceGroups:
    """RONI for sources: trains with and without all rows of a source, and flags a source if the model is better without it.

    A source is a group of the data: a person, a sensor, a supplier. Poison that is harmless row by row is tested as a
    whole, by the probability of the correct label. The cost is 1 + sources fits per repeat. Weakness: it fails against an
    attacker with many sources, or one who also sends good rows. It flags sources whose rows are honestly different.

    Fields:
        repeats: number of random halves. Models are trained on one half and tested on the other, or on the trusted rows.
        deviations: a source is flagged only if its gain is this many robust standard deviations above the median, >= 0.
        min_drop: a source is flagged only if its gain, a difference of probabilities, is above this, 0 to 1.
        trusted: test on the trusted rows instead of the suspicious ones.

    Reference: Baracaldo, Chen, Ludwig and Safavi 2017, "Mitigating Poisoning Attacks on Machine Learning Models: A Data
    Provenance Based Approach", AISec.
    """

    repeats: int = 3
    deviations: float = 3.0
    min_drop: float = 0.01
    trusted: bool = False

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise PluginError("ProvenanceGroups.repeats >= 1", f"{self.repeats}")
        _check_limits(self.deviations, self.min_drop, "ProvenanceGroups")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        if data.groups is None:
            raise NotApplicable("rows whose sources are known", "none", "set Dataset.groups (sources in a scenario)")
        c = data.num_classes
        sources, number = np.unique(data.groups, return_inverse=True)
        gain = np.zeros(len(sources))
        for repeat in range(self.repeats):
            half = np.zeros(len(data), dtype=bool)
            half[stratified(data.y, context.streams.numpy("halves", repeat))[: -(-len(data) // 2)]] = True
            asked = trusted_rows(context, self) if self.trusted else data[~half]
            sure = certainty(context.fit(data[half]), asked)
            for source in range(len(sources)):
                rest = half & (number != source)
                counted = np.ones(len(asked), dtype=bool) if self.trusted else number[~half] != source
                if len(np.unique(data.y[rest])) < min(2, c) or not counted.any():  # too few rows without this source
                    continue
                without = certainty(context.fit(data[rest]), asked)
                gain[source] += (without - sure)[counted].mean() / self.repeats
        scores = gain[number]
        return Verdict(scores, scores > limit(gain, self.deviations, self.min_drop, robust=True))


def certainty(model: Model, data: Dataset) -> np.ndarray:
    """(n,) the probability of the correct label under the model, which changes before the prediction does."""
    return np.asarray(model.predict_proba(data.x)[np.arange(len(data)), data.y])


@dataclass(frozen=True, eq=False)
class Trial:
    """One training set and one validation set.

    Fields:
        rows: the training set, followed by all suspicious rows.
        size: number of rows in the training set.
        questions: the validation rows.
    """

    rows: Dataset
    size: int
    questions: Dataset

    @classmethod
    def of(cls, train: Dataset, validation: Dataset, named: Dataset, suspects: Dataset) -> Trial:
        """The trial of these rows. Of a sparse table it keeps only the columns that occur outside of the suspicious rows."""
        parts = [train, suspects, validation, named]
        if suspects.is_sparse:
            used = np.unique(np.concatenate([part.x.indices for part in (train, validation, named)]))
            parts = [replace(part, x=sp.csr_array(part.x[:, used]), schema=None) for part in parts]
        train, suspects, validation, named = (replace(part, groups=None) for part in parts)
        return cls(train.extend(suspects.x, suspects.y), len(train), validation.extend(named.x, named.y))

    def right(self, context: DefenceContext, suspects: np.ndarray, measure: str) -> np.ndarray:
        """(questions,) `measure` for each validation row, under a model that is trained with these suspects too, 0 to 1."""
        model = context.fit(self.rows[np.concatenate([np.arange(self.size), self.size + suspects])])
        if measure == "probability":
            return certainty(model, self.questions)
        return np.asarray(model.predict(self.questions.x) == self.questions.y, dtype=np.float64)


def batches(data: Dataset, rng: np.random.Generator, size: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """(n,) the batch of each row, and for each batch the numbers of its distinct rows.

    A batch consists of rows of one class that are neighbours along a random direction. Rows with the same label and the
    same projection on this direction count as equal.
    """
    place = np.asarray(data.flat @ rng.standard_normal(data.flat.shape[1]))
    _, first, inverse = np.unique(np.stack([data.y, place], axis=1), axis=0, return_index=True, return_inverse=True)
    counts = np.bincount(data.y[first])
    rank = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = rank % size == 0
    return (np.cumsum(starts) - 1)[inverse.ravel()], np.split(first, np.flatnonzero(starts)[1:])


def limit(impact: np.ndarray, deviations: float, least: float, robust: bool) -> float:
    """The threshold of the impact: median + `deviations` standard deviations, and at least `least`.

    The deviation is the scaled median absolute deviation if `robust`, else the standard deviation.
    """
    centre, spread = median_and_spread(impact)
    spread = spread if robust else float(impact.std())
    return max(least, centre + deviations * spread) + 1e-9


def _check_limits(deviations: float, least: float, name: str) -> None:
    if not 0 <= deviations < np.inf or not 0 <= least <= 1:
        raise PluginError(f"{name}.deviations >= 0 and min_drop from 0 to 1", f"{deviations} and {least}")
