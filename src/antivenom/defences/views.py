"""Second opinions: do the nearest neighbours contradict the flagged labels as well, and does a linear model flag other rows?

A filter that an attacker has fooled flags honest rows, whose neighbours agree with their labels, or it has learnt to expect the
wrong labels, which a model that cannot bend around them contradicts. Views that have little in common are seldom fooled in the
same way.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.defences.labels import JudgedLabels, judged_labels
from antivenom.defences.sanitize import context_of

NEIGHBOURS, COMPARED, LEAST_FLAGGED = 10, 500, 5
LEAST_AGREEMENT = 0.6  # agreement below it is called contradiction; 0.5 is that of two unrelated views
LEARNT = 0.25  # median probability of a wrong label below which rows that another model flags count as learnt


def agreement(flags: np.ndarray, scores: np.ndarray) -> float:
    """The probability that a flagged row has a higher score in the other view than a row that is not flagged.

    1 is perfect agreement, 0.5 no relation; nan with fewer than five rows of either kind. Equal scores count half.
    """
    from scipy.stats import rankdata

    inside, outside = int(flags.sum()), int((~flags).sum())
    if min(inside, outside) < LEAST_FLAGGED:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[flags].sum() - inside * (inside + 1) / 2) / (inside * outside))


def neighbours_agree(numbers: Dataset, flags: np.ndarray, streams: Streams) -> float:
    """The agreement of the flags with the nearest neighbours: the share of the ten nearest rows that have another label.

    It is computed for at most 500 flagged rows and 500 others.
    """
    from sklearn.neighbors import NearestNeighbors

    rng = streams.numpy("views")
    sides = [np.flatnonzero(flags), np.flatnonzero(~flags)]
    chosen = np.concatenate([rng.permutation(side)[:COMPARED] for side in sides])
    k = min(NEIGHBOURS, len(numbers) - 1)
    if min(map(len, sides)) < LEAST_FLAGGED or k < 1:
        return float("nan")
    index = NearestNeighbors(n_neighbors=k + 1).fit(numbers.flat)
    nearest = index.kneighbors(numbers.flat[chosen], return_distance=False)
    differs = (numbers.y[nearest] != numbers.y[chosen][:, None]) & (nearest != chosen[:, None])
    return agreement(flags[chosen], differs.sum(axis=1) / k)


def contradiction(numbers: Dataset, found: JudgedLabels, form: str, streams: Streams) -> tuple[str, str]:
    """A warning if the neighbours contradict the flags, and a note if a linear model does; each is a sentence or empty.

    Args:
        numbers: the rows as numbers.
        found: the judgement of their labels.
        form: the form of the rows; only tables are compared with a linear model.
        streams: the randomness of the views.
    """
    flags, scores = found.verdict.flags, found.verdict.scores
    warning, note = "", ""
    if neighbours_agree(numbers, flags, streams) < LEAST_AGREEMENT:
        warning = (
            "The nearest rows agree with the labels of the flagged rows: either the model or the neighbourhoods were fooled, as "
            "by flips that an attacker has selected."
        )
    if form != "table" or numbers.is_sparse:
        return warning, note
    linear = context_of(LogisticRegression(max_iter=300), streams.child("linear"))
    other = judged_labels(numbers, linear.fit, linear.streams, rounds=1)
    seen = other.verdict.flags
    plausible = not other.capped and LEAST_FLAGGED <= seen.sum() <= 0.2 * len(seen)
    if plausible and np.median(scores[seen]) < LEARNT:
        note = (
            f"A linear model contradicts {int(seen.sum())} labels, most of which this model has learnt to expect: one of the two "
            "may be fooled, as by flips that an attacker has selected."
        )
    return warning, note
