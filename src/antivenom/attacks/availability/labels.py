"""Attacks on labels alone."""

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
    """Gives rows another class: random rows, or those that a surrogate of the victim's model names first.

    Random flips need no knowledge; without a pattern they partly cancel out, so it takes many. Chosen ones lie together,
    on the surrogate's border or far inside a class, and carry over to learners without gradients, such as trees.
    Weakness: a flip far inside a class disagrees with all its neighbours, one on the border does little harm. With one
    seed, a higher rate flips the same rows and more.

    Fields:
        poisoned_rate: share of the rows (of class `source`, if given) that get a wrong label, 0 to 1.
        source: flip only rows of this class; None is any.
        choice: which rows, in order: "random"; by the gap between the surrogate's two most probable classes "nearest"
            (smallest first) or "furthest"; by its loss on the true label "highest-loss" or "lowest-loss". The new class is
            drawn evenly from the wrong ones ("random"), is the likeliest of them ("nearest", "highest-loss"), or the
            least likely ("furthest", "lowest-loss").
        surrogate: what the attacker fits to the clean rows; it should give probabilities. Unused where random.

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
            raise PluginError("LabelFlipping.source >= 0", f"{self.source}", "name a class by its number")
        if self.choice not in CHOICES:
            raise PluginError("LabelFlipping.choice", repr(self.choice), did_you_mean(self.choice, CHOICES))

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        c = data.num_classes
        if c < 2 or (self.source is not None and self.source >= c):
            raise DataError(
                f"at least two classes, and source from 0 to {c - 1}",
                f"{c} classes, source {self.source}",
                "correct it",
            )
        rng = context.streams.numpy("flips")
        order, shift = rng.permutation(len(data)), rng.integers(1, c, size=len(data))
        wrong = (data.y + shift) % c
        if self.choice != "random":
            model = learner(self.surrogate, Training()).fit(data, context.streams.child("surrogate"))
            score, wrong = ranked(self.choice, model.predict_proba(data.x), data.y)
            order = order[np.argsort(score[order], kind="stable")]  # equal scores stay in random order
        eligible = order if self.source is None else order[data.y[order] == self.source]
        rows = eligible[: count(self.poisoned_rate, len(eligible))]
        y, mask = data.y.copy(), np.zeros(len(data), dtype=bool)
        y[rows] = wrong[rows]
        mask[rows] = True
        return Poison(replace(data, y=y), mask)


@attack(access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Biggio, Nelson and Laskov 2012, arXiv:1206.6389")
class FlippedPoints:
    """Adds real rows under a wrong label: what the gradient attacks start from, so what their climb is worth.

    The rows are the attacker's own, if there are any, else copies of training rows; of equal streams, SVMPoisoning and
    BackGradient start from the same ones. Weakness: each disagrees with its neighbours, and many are needed.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.
        label: class that they claim; None is a random wrong one.

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
    """(n,) scores, lowest first, and the wrong class (n,) for each row, from the surrogate's probabilities (n, c)."""
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
