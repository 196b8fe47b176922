"""Sanitizers that try rows out: what do they do to the answers on other rows?"""

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
from antivenom.defences.inputs import stratified, trusted_rows
from antivenom.defences.sanitizers.distances import ROWS

MEASURES = ("answers", "probability")


@sanitizer(access=ROWS, goal=(Goal.AVAILABILITY, Goal.TARGETED), cite="Nelson et al. 2008, LEET")
class RONI:
    """Reject on negative impact: trains a small model with and without a row, and flags the row if it costs answers.

    Costs `repeats` fits per batch of distinct rows: rows that are alike are judged once. Without trusted rows the usual
    impact is the suspicious rows' own median. Weakness: poison that harms only together (judge batches, which dilute a
    single bad row) or only rows that are not asked (name them); honest rows with much leverage; poison in the sets.

    Fields:
        train_rows: size of each random training set.
        validation_rows: of each random validation set, apart from it.
        repeats: pairs of sets.
        measure: "answers" counts right ones, as the paper does; "probability" is that of the right label, which sees what a
            single row does long before an answer turns (set `min_drop` lower then).
        of_class: count only the validation rows of this class (the paper: ham); None counts all.
        batch: distinct rows judged together: of one class, and neighbours along a random direction.
        deviations: flagged if the impact is so many standard deviations above the usual one, >= 0.
        min_drop: and above this, in the measure's own unit: a share of the answers or a probability, 0 to 1 (the paper's
            ordinary spam costs up to 0.18 of the ham, a dictionary at least 0.27).
        named: numbers of trusted rows that must not suffer (target-aware RONI); the worst of them counts.
        trusted: sets and usual impact from the trusted rows instead of the suspicious ones.

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
        for c in np.unique(data.y):  # a row of one class may cost the others' answers by its label alone
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
        """(n,) the batch of each row, and (batches,) the share of right answers that each batch costs."""
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
                counted = own[questions] != b  # nobody is asked about himself
                lost[b] += drop[: len(questions)][counted].sum()
                asked[b] += counted.sum()
                lost_named[b] += drop[len(questions) :]
        impact = lost / np.maximum(asked, 1)
        if len(named):
            impact = np.maximum(impact, lost_named.max(axis=1) / self.repeats)
        return number, impact


@sanitizer(access=ROWS, goal=(Goal.AVAILABILITY, Goal.TARGETED), cite="Baracaldo et al. 2017, AISec")
class ProvenanceGroups:
    """RONI over sources: trains with and without all rows of a source, and flags the source whose absence helps.

    A source is a group of the data: a person, a sensor, a supplier. Poison that is harmless row by row is judged as a
    whole, by the probability of the right label, at 1 + sources fits per repeat. Weakness: an attacker with many
    sources, or one who also sends good rows; a source whose rows are honestly different.

    Fields:
        repeats: random halves of the rows to train on, the other half being asked; with trusted rows these are asked.
        deviations: flagged if the gain is so many robust standard deviations above the usual one, >= 0.
        min_drop: and above this probability, 0 to 1.
        trusted: ask the trusted rows instead of the suspicious ones.

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
                if len(np.unique(data.y[rest])) < min(2, c) or not counted.any():  # nothing is left to compare with
                    continue
                without = certainty(context.fit(data[rest]), asked)
                gain[source] += (without - sure)[counted].mean() / self.repeats
        scores = gain[number]
        return Verdict(scores, scores > limit(gain, self.deviations, self.min_drop, robust=True))


def certainty(model: Model, data: Dataset) -> np.ndarray:
    """(n,) the probability that the model gives the right label: it moves long before an answer turns."""
    return np.asarray(model.predict_proba(data.x)[np.arange(len(data)), data.y])


@dataclass(frozen=True, eq=False)
class Trial:
    """One pair of sets.

    Fields:
        rows: the training set first, then all suspects.
        size: of the training set.
        questions: rows whose answers count.
    """

    rows: Dataset
    size: int
    questions: Dataset

    @classmethod
    def of(cls, train: Dataset, validation: Dataset, named: Dataset, suspects: Dataset) -> Trial:
        """Of a sparse table only the columns that the two sets use: what no question holds cannot change its answer."""
        parts = [train, suspects, validation, named]
        if suspects.is_sparse:
            used = np.unique(np.concatenate([part.x.indices for part in (train, validation, named)]))
            parts = [replace(part, x=sp.csr_array(part.x[:, used]), schema=None) for part in parts]
        train, suspects, validation, named = (replace(part, groups=None) for part in parts)
        return cls(train.extend(suspects.x, suspects.y), len(train), validation.extend(named.x, named.y))

    def right(self, context: DefenceContext, suspects: np.ndarray, measure: str) -> np.ndarray:
        """(questions,) how right the model is that learnt these suspects too, 0 to 1."""
        model = context.fit(self.rows[np.concatenate([np.arange(self.size), self.size + suspects])])
        if measure == "probability":
            return certainty(model, self.questions)
        return np.asarray(model.predict(self.questions.x) == self.questions.y, dtype=np.float64)


def batches(data: Dataset, rng: np.random.Generator, size: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """(n,) the batch of each row, and per batch one row number for each of its distinct rows.

    A batch is of one class and of neighbours along a random direction. Rows that agree there and in the label are alike.
    """
    place = np.asarray(data.flat @ rng.standard_normal(data.flat.shape[1]))
    _, first, inverse = np.unique(np.stack([data.y, place], axis=1), axis=0, return_index=True, return_inverse=True)
    counts = np.bincount(data.y[first])
    rank = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = rank % size == 0
    return (np.cumsum(starts) - 1)[inverse.ravel()], np.split(first, np.flatnonzero(starts)[1:])


def limit(impact: np.ndarray, deviations: float, least: float, robust: bool) -> float:
    """The impact that is no longer usual: centre + so many standard deviations, and never below `least`."""
    centre = float(np.median(impact))
    spread = 1.4826 * float(np.median(np.abs(impact - centre))) if robust else float(impact.std())
    return max(least, centre + deviations * spread) + 1e-9


def _check_limits(deviations: float, least: float, name: str) -> None:
    if not 0 <= deviations < np.inf or not 0 <= least <= 1:
        raise PluginError(f"{name}.deviations >= 0 and min_drop from 0 to 1", f"{deviations} and {least}")
