"""Attacks that change or choose labels only."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from antivenom.attacks.inputs import check_share, count, injected, mislabelled
from antivenom.core.errors import DataError, PluginError, did_you_mean
from antivenom.core.protocols import Architecture, AttackContext, Estimator
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.models.estimators import Sklearn
from antivenom.models.training import Training
from antivenom.models.wrappers import learner

RANDOM, CLUSTERED = "random", "clustered"
CHOICES = (RANDOM, "nearest", "furthest", "highest-loss", "lowest-loss", CLUSTERED)
LOGISTIC_REGRESSION = Sklearn("sklearn.linear_model.LogisticRegression", (("max_iter", 1000),))


@attack(
    access=(Access.DATA_MANIPULATION,),
    goal=Goal.AVAILABILITY,
    cite="Biggio, Nelson and Laskov 2011, ACML, PMLR 20 (random); Xiao, Xiao and Eckert 2012, ECAI (chosen rows)",
)
class LabelFlipping:
    """Gives rows another label: random rows, or rows that a surrogate of the victim's model selects.

    Random flips need no knowledge, but they partly cancel out, so that many are needed. Selected flips are close together,
    at the surrogate's decision boundary or deep inside a class, and transfer to learners without gradients, such as trees.
    Weakness: a flip deep inside a class has another label than all its neighbours, and a flip at the boundary does little
    harm. Clustered flips are each other's neighbours, so that a filter that asks the neighbours of a row keeps most of them.
    For one seed, a higher rate flips a superset of the rows.

    Fields:
        poisoned_rate: share of the rows (of class `source`, if given) that get a wrong label, 0 to 1.
        source: flip only rows of this class; None for all classes.
        choice: order of the rows: "random"; by the gap between the surrogate's two most probable classes, "nearest"
            (smallest first) or "furthest"; by its loss on the true label, "highest-loss" or "lowest-loss"; "clustered", by
            their distance from a random row of the same class. The new label is a random wrong class ("random"), the most
            probable wrong class ("nearest", "highest-loss"), the least probable class ("furthest", "lowest-loss"), or the
            class of the nearest row of another class ("clustered").
        surrogate: the model that the attacker fits to the clean rows; it must give probabilities. Unused for "random" and
            "clustered".

    Reference: Biggio, Nelson and Laskov 2011, "Support Vector Machines Under Adversarial Label Noise", ACML, PMLR 20;
    Xiao, Xiao and Eckert 2012, "Adversarial Label Flips Attack on Support Vector Machines", ECAI (nearest and furthest
    first, its baselines); Koh, Steinhardt and Liang 2018, arXiv:1811.00741 (poison is placed close together to pass filters).
    """

    poisoned_rate: float = 0.2
    source: int | None = None
    choice: str = "random"
    surrogate: Architecture | Estimator = LOGISTIC_REGRESSION

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "LabelFlipping.poisoned_rate")
        if self.source is not None and self.source < 0:
            raise PluginError("LabelFlipping.source >= 0", f"{self.source}", "give the number of a class")
        if self.choice not in CHOICES:
            raise PluginError("LabelFlipping.choice", repr(self.choice), did_you_mean(self.choice, CHOICES))

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        c = data.num_classes
        if c < 2 or (self.source is not None and self.source >= c):
            raise DataError(
                f"at least two classes, and source from 0 to {c - 1}",
                f"{c} classes, source {self.source}",
            )
        rng = context.streams.numpy("flips")
        order, shift = rng.permutation(len(data)), rng.integers(1, c, size=len(data))
        wrong = (data.y + shift) % c
        if self.choice == CLUSTERED:
            own = order if self.source is None else order[data.y[order] == self.source]
            order, wrong = _around(data, own[0]) if len(own) else (own, wrong)
        elif self.choice != RANDOM:
            model = learner(self.surrogate, Training()).fit(data.encoded, context.streams.child("surrogate"))
            score, wrong = ranked(self.choice, model.predict_proba(data.encoded.x), data.y)
            order = order[np.argsort(score[order], kind="stable")]  # equal scores stay in random order
        eligible = order if self.source is None else order[data.y[order] == self.source]
        share_of = len(data) if self.source is None else int((data.y == self.source).sum())
        rows = eligible[: count(self.poisoned_rate, share_of)]
        y, mask = data.y.copy(), np.zeros(len(data), dtype=bool)
        y[rows] = wrong[rows]
        mask[rows] = True
        return Poison(replace(data, y=y), mask)


@attack(access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Biggio, Nelson and Laskov 2012, arXiv:1206.6389")
class FlippedPoints:
    """Adds real rows with a wrong label. These are the starting rows of the gradient attacks, and so their baseline.

    The rows are the attacker's own, or copies of training rows if there are none. With equal streams, SVMPoisoning and
    BackGradient start from the same rows. Weakness: each row has another label than its neighbours, and many are needed.
    Clustered rows that are added several times outnumber the honest rows around them, so that a filter that asks the neighbours
    of a row keeps them, and flags honest rows instead.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.
        label: label of the added rows; None for a random wrong class, or for the class of the nearest row of another class if
            they are clustered.
        choice: "random" rows, or "clustered": a random row and its nearest neighbours of the same class.
        repeats: how often each row is added, >= 1.

    Reference: Biggio, Nelson and Laskov 2012, arXiv:1206.6389, section 4 (the random label flips it compares with); Koh,
    Steinhardt and Liang 2018, arXiv:1811.00741 (poison is placed close together to pass filters).
    """

    poisoned_rate: float = 0.1
    label: int | None = None
    choice: str = RANDOM
    repeats: int = 1

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "FlippedPoints.poisoned_rate")
        if self.choice not in (RANDOM, CLUSTERED):
            raise PluginError("FlippedPoints.choice", repr(self.choice), did_you_mean(self.choice, (RANDOM, CLUSTERED)))
        if self.repeats < 1:
            raise PluginError("FlippedPoints.repeats >= 1", f"{self.repeats}")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        rows, number = data if context.rows is None else context.rows, count(self.poisoned_rate, len(data))
        distinct = math.ceil(number / self.repeats)
        if self.choice == RANDOM:
            flipped, labels = mislabelled(rows, distinct, context, self.label)
        else:
            flipped, labels = self._cluster(rows, distinct, context)
        copies = np.arange(number) // self.repeats
        return injected(data, flipped[copies].x, labels[copies])

    def _cluster(self, rows: Dataset, number: int, context: AttackContext) -> tuple[Dataset, np.ndarray]:
        """That many rows of one class that lie close together, and their wrong labels."""
        order = context.streams.numpy("centre").permutation(len(rows))
        eligible = order if self.label is None else order[rows.y[order] != self.label]
        if not len(eligible):
            raise DataError("rows of a class that can be mislabelled", "none", "choose another label")
        near, wrong = _around(rows, eligible[0])
        chosen = np.resize(near, number)
        return rows[chosen], wrong[chosen] if self.label is None else np.full(number, self.label)


def _around(data: Dataset, centre: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the centre's class, the nearest first, and (n,) as their wrong label the class of the nearest other row.

    Raises:
        DataError: all rows are of one class.
    """
    from sklearn.metrics.pairwise import euclidean_distances

    distances = euclidean_distances(data.flat, data.flat[[centre]]).ravel()
    order = np.argsort(distances, kind="stable")
    same = data.y[order] == data.y[centre]
    if same.all():
        raise DataError("rows of two classes for clustered flips", "rows of one class")
    return order[same], np.full(len(data), data.y[order[~same]][0])


def ranked(choice: str, probabilities: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n,), where the lowest is flipped first, and wrong labels (n,), from the surrogate's probabilities (n, c)."""
    rows = np.arange(len(y))
    own, others = probabilities[rows, y], probabilities.copy()
    if choice in ("nearest", "furthest"):
        second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
        score = first - second
    else:
        score = own  # the loss -log p falls as p grows
    inward = choice in ("furthest", "lowest-loss")
    others[rows, y] = np.inf if inward else -np.inf
    return (-score, others.argmin(axis=1)) if inward else (score, others.argmax(axis=1))
