"""Which labels are probably wrong? The judgement behind `LabelNoiseModel` and `suspects`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import Model
from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.crossfit import judge_of, keys_of, out_of_sample
from antivenom.defences.noise import LabelNoise, label_noise

ROUNDS, MOST_REPEATED = 3, 5000  # rounds of cross-fitting, and rows up to which there is more than one
LEAST_ROWS = 10  # of a class; the labels of smaller classes are not judged
LARGEST_PART = 0.5  # of a class that is flagged
FLOOR = 0.01  # rate of wrong labels that scores assume at least, so that rows are ranked where no noise was found


@dataclass(frozen=True, eq=False)
class JudgedLabels:
    """The judgement of n labels.

    Fields:
        verdict: the probability that each label is wrong as its score, and the flags.
        suggested: (n,) the most probable true class of each row.
        expected: estimated number of honest rows among the flagged ones.
        noise: the fitted model of label noise, or None if there were too few rows for one.
        probabilities: (n, c) out-of-sample probabilities of the recorded label.
        unjudged: the classes with too few rows to be judged.
        capped: the classes in which more rows would have been flagged than `LARGEST_PART`.
        cut: whether models were trained on fewer rows because the time was short.
    """

    verdict: Verdict
    suggested: np.ndarray
    expected: float
    noise: LabelNoise | None
    probabilities: np.ndarray
    unjudged: tuple[int, ...] = ()
    capped: tuple[int, ...] = ()
    cut: bool = False


def check_rate(false_alarms: float) -> None:
    """Refuses a share of false alarms that is not above 0 and below 1."""
    if not 0 < false_alarms < 1:
        raise PluginError(
            "false_alarms above 0 and below 1", f"{false_alarms}", "0.01 means one honest row in a hundred"
        )


def judged_labels(
    data: Dataset,
    fit: Callable[[Dataset], Model],
    streams: Streams,
    false_alarms: float = 0.01,
    seconds: float | None = None,
    rounds: int = ROUNDS,
) -> JudgedLabels:
    """Judge all labels.

    Up to 5,000 rows are judged in several rounds with other folds, whose probabilities are averaged. Rows that were flagged are
    not trained on in the rounds that follow.

    Args:
        data: the rows; their order has no influence.
        fit: trains a model.
        streams: the randomness of the folds.
        false_alarms: largest share of the honest rows that is flagged.
        seconds: time for the training; None for no limit.
        rounds: number of rounds.

    Raises:
        DataError: the rows have one class only.
    """
    y, c = data.y, data.num_classes
    counts = np.bincount(y, minlength=c)
    if (counts > 0).sum() < 2:
        raise DataError("rows of two classes", f"{int((counts > 0).sum())}", "name the column of classes")
    judge, keys = judge_of(data, fit), keys_of(data)
    begun, total, done, cut = time.monotonic(), np.zeros((len(y), c)), 0, False
    found, left_out = None, None
    for number in range(rounds if len(y) <= MOST_REPEATED else 1):
        spent = time.monotonic() - begun
        if seconds is not None and done and spent * (done + 1) / done > seconds:
            break
        limit = None if seconds is None else seconds - spent
        drawn = out_of_sample(judge, keys, y, c, streams.child("crossfit", number), left_out=left_out, seconds=limit)
        total, done, cut = total + drawn.probabilities, done + 1, cut or drawn.cut
        found = _judged(total / done, y, counts, false_alarms, cut)
        left_out = found.verdict.flags
    assert found is not None
    return found


def _judged(p: np.ndarray, y: np.ndarray, counts: np.ndarray, false_alarms: float, cut: bool) -> JudgedLabels:
    """The judgement from out-of-sample probabilities p (n, c)."""
    unjudged = tuple(int(j) for j in np.flatnonzero((counts > 0) & (counts < LEAST_ROWS)))
    judged = ~np.isin(y, unjudged)
    kept = np.flatnonzero(counts >= LEAST_ROWS)
    scores, flags, suggested = np.zeros(len(y)), np.zeros(len(y), dtype=bool), y.copy()
    if len(kept) < 2:
        return JudgedLabels(Verdict(scores, flags), suggested, 0.0, None, p, unjudged, (), cut)
    own = np.searchsorted(kept, y[judged])
    shares = p[np.ix_(judged, kept)] + 1e-12
    noise = label_noise(shares / shares.sum(axis=1, keepdims=True), own)
    rows = np.arange(len(own))
    scores[judged] = noise.wrong(FLOOR)[rows, own]
    limit, wrong = _limit(noise, false_alarms), noise.wrong()
    flags[judged] = wrong[rows, own] > limit
    suggested[judged] = kept[noise.clean.argmax(axis=1)]
    capped = _cap(flags, scores, y, counts)
    expected = float(noise.honest[wrong > limit].sum())
    return JudgedLabels(Verdict(scores, flags), suggested, expected, noise, p, unjudged, capped, cut)


def _limit(noise: LabelNoise, false_alarms: float) -> float:
    """The probability of a wrong label above which rows are flagged.

    Every row and every label that it could have has a probability of being honest (see `LabelNoise.honest`). Those above the
    limit sum to the expected number of honest rows that are flagged, which is kept below the stated share. Labels that are
    more probably right than wrong are never flagged.
    """
    wrong, honest = noise.wrong().ravel(), noise.honest.ravel()
    order = np.argsort(-wrong, kind="stable")
    spent = np.cumsum(honest[order])
    first = int(np.searchsorted(spent, false_alarms * spent[-1], side="right"))
    return max(0.5, float(wrong[order][first])) if first < len(order) else 0.5


def _cap(flags: np.ndarray, scores: np.ndarray, y: np.ndarray, counts: np.ndarray) -> tuple[int, ...]:
    """Keep at most `LARGEST_PART` of each class flagged, the most suspicious rows; returns the classes that had more."""
    capped = []
    for j in np.flatnonzero(counts):
        own = np.flatnonzero((y == j) & flags)
        most = int(LARGEST_PART * counts[j])
        if len(own) > most:
            flags[own[np.argsort(-scores[own], kind="stable")[most:]]] = False
            capped.append(int(j))
    return tuple(capped)
