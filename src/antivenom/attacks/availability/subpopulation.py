"""Attacks on one part of the population, which an average over all test rows hides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from antivenom.attacks.inputs import count, injected
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison, Rows

COMPONENTS = 10


@attack(access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Jagielski et al. 2021, arXiv:2006.14026")
class SubpopulationAttack:
    """Adds mislabelled copies of the rows of one subpopulation, so that the model fails on it but hardly on others.

    The subpopulation is a cluster of rows (ClusterMatch), or the rows with equal values of some features (FeatureMatch).
    The judge reports the accuracy on its test rows and on the others; `alpha: 0` measures both without the attack.
    Weakness: each copy duplicates a row with another label. A vote of neighbours fails once the copies outnumber the
    honest rows, because it then removes the honest ones.

    Fields:
        alpha: number of added rows, as a multiple of the subpopulation's training rows, >= 0.
        clusters: number of clusters (k-means, on 10 principal components if there are more features).
        features: columns whose values define the subpopulation; () for clusters.
        rank: position of the subpopulation in the order of size, where 0 is the largest.

    Reference: Jagielski, Severi, Pousette Harger and Oprea 2021, "Subpopulation Data Poisoning Attacks", CCS,
    arXiv:2006.14026 (label flipping; there 100 clusters).
    """

    alpha: float = 1.0
    clusters: int = 20
    features: tuple[int, ...] = ()
    rank: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < math.inf or self.clusters < 1 or self.rank < 0 or min(self.features, default=0) < 0:
            raise PluginError(
                "SubpopulationAttack.alpha, rank and features from 0, clusters from 1",
                f"{self.alpha}, {self.rank}, {self.features} and {self.clusters}",
            )

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        if data.num_classes < 2:
            raise DataError("at least two classes", f"{data.num_classes}", "use data with several classes")
        members = self._members(data, context.streams)
        inside = members(data.x)
        wrong = int(np.bincount(data.y[inside], minlength=data.num_classes).argmin())
        own = data if context.rows is None else context.rows
        matching = np.flatnonzero(members(own.x) & (own.y != wrong))
        if not len(matching):
            raise DataError("rows of the subpopulation to copy", "none", "choose another rank or more attacker_rows")
        copied = context.streams.numpy("copies").permutation(matching)
        copied = np.resize(copied, count(self.alpha, int(inside.sum())))  # every row once before any twice
        poison = injected(data, own[copied].x, np.full(len(copied), wrong))
        return replace(poison, subpopulation=members)

    def _members(self, data: Dataset, streams: Streams) -> Callable[[Rows], np.ndarray]:
        """A function that tells which rows belong to the subpopulation."""
        encode = data.columns.encode
        if self.features:
            if max(self.features) >= data.flat.shape[1]:
                last = data.flat.shape[1] - 1
                raise DataError(f"features from 0 to {last}", f"{self.features}")
            values, sizes = np.unique(self._columns(data.flat), axis=0, return_counts=True)
            shared = values[self._nth(sizes)]
            return lambda x: np.asarray((self._columns(encode(x)) == shared).all(axis=1))
        if self.clusters > len(data):
            raise DataError(f"clusters from 1 to {len(data)}, the rows", f"{self.clusters}", "lower `clusters`")
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from sklearn.pipeline import make_pipeline

        seed = streams.sklearn("clusters")
        steps: list[Any] = [KMeans(self.clusters, n_init=1, random_state=seed)]
        if min(len(data), data.flat.shape[1]) > COMPONENTS:
            solver = "arpack" if data.is_sparse else "auto"
            steps.insert(0, PCA(COMPONENTS, svd_solver=solver, random_state=seed))
        groups = make_pipeline(*steps)
        cluster = self._nth(np.bincount(groups.fit_predict(data.flat), minlength=self.clusters))
        return lambda x: np.asarray(groups.predict(_table(encode(x))) == cluster)

    def _columns(self, x: Rows) -> np.ndarray:
        chosen: Rows = _table(x)[:, list(self.features)]
        return np.asarray(chosen.toarray() if sp.issparse(x) else chosen)

    def _nth(self, sizes: np.ndarray) -> int:
        """Index of the subpopulation with this rank."""
        if self.rank >= len(sizes):
            raise DataError(f"a rank from 0 to {len(sizes) - 1}", f"{self.rank}", "lower `rank`")
        return int(np.argsort(-sizes, kind="stable")[self.rank])


def _table(x: Rows) -> Rows:
    return x if x.ndim == 2 else x.reshape(len(x), -1)
