"""Attacks that change or choose labels only."""

from __future__ import annotations

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

CHOICES = ("random", "nearest", "furthest", "highest-loss", "lowest-loss")
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
    harm. For one seed, a higher rate flips a superset of the rows.

    Fields:
        poisoned_rate: share of the rows (of class `source`, if given) that get a wrong label, 0 to 1.
        source: flip only rows of this class; None for all classes.
        choice: order of the rows: "random"; by the gap between the surrogate's two most probable classes, "nearest"
            (smallest first) or "furthest"; by its loss on the true label, "highest-loss" or "lowest-loss". The new label is
            a random wrong class ("random"), the most probable wrong class ("nearest", "highest-loss"), or the least
            probable class ("furthest", "lowest-loss").
        surrogate: the model that the attacker fits to the clean rows; it must give probabilities. Unused for "random".

    Reference: Biggio, Nelson and Laskov 2011, "Support Vector Machines Under Adversarial Label Noise", ACML, PMLR 20;
    Xiao, Xiao and Eckert 2012, "Adversarial Label Flips Attack on Support Vector Machines", ECAI (nearest and furthest
    first, its baselines).
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
        if self.choice != "random":
            model = learner(self.surrogate, Training()).fit(data.encoded, context.streams.child("surrogate"))
            score, wrong = ranked(self.choice, model.predict_proba(data.encoded.x), data.y)
            order = order[np.argsort(score[order], kind="stable")]  # equal scores stay in random order
        eligible = order if self.source is None else order[data.y[order] == self.source]
        rows = eligible[: count(self.poisoned_rate, len(eligible))]
        y, mask = data.y.copy(), np.zeros(len(data), dtype=bool)
        y[rows] = wrong[rows]
        mask[rows] = True
        return Poison(replace(data, y=y), mask)


@attack(access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Biggio, Nelson and Laskov 2012, arXiv:1206.6389")
class FlippedPoints:
    """Adds real rows with a wrong label. These are the starting rows of the gradient attacks, and so their baseline.

    The rows are the attacker's own, or copies of training rows if there are none. With equal streams, SVMPoisoning and
    BackGradient start from the same rows. Weakness: each row has another label than its neighbours, and many are needed.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.
        label: label of the added rows; None for a random wrong class.

    Reference: Biggio, Nelson and Laskov 2012, arXiv:1206.6389, section 4 (the random label flips it compares with).
    """

    poisoned_rate: float = 0.1
    label: int | None = None

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "FlippedPoints.poisoned_rate")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        rows = data if context.rows is None else context.rows
        flipped, labels = mislabelled(rows, count(self.poisoned_rate, len(data)), context, self.label)
        return injected(data, flipped.x, labels)


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
