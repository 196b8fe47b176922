"""A second opinion on flagged rows: do their nearest neighbours contradict their labels as well?

A filter that an attacker has fooled flags honest rows, whose neighbours agree with their labels. Two views that have little in
common, a model and the neighbours, are seldom fooled in the same way.
"""

from __future__ import annotations

import numpy as np

from antivenom.core.streams import Streams
from antivenom.data import Dataset

NEIGHBOURS, COMPARED, LEAST_FLAGGED = 10, 500, 5
LEAST_AGREEMENT = 0.6  # agreement below it is called contradiction; 0.5 is that of two unrelated views


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
