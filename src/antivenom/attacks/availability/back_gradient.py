"""Poison for a learner that is trained by gradient descent, by the gradient through its whole training."""

from __future__ import annotations

import numpy as np

from antivenom.attacks.availability.ascent import Ascent, Problem
from antivenom.attacks.availability.hypergradient import (
    IDENTITY,
    SIGMOID,
    SOFTMAX,
    LinearProblem,
    NetworkProblem,
    Steps,
)
from antivenom.attacks.inputs import attacker_rows, check_share, count, mislabelled
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import Architecture, AttackContext, Estimator
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.models.architectures import Logistic
from antivenom.models.estimators import Adaline
from antivenom.models.network import build


@attack(
    access=(Access.DATA_INJECTION,),
    goal=Goal.AVAILABILITY,
    cite="Muñoz-González et al. 2017, arXiv:1708.08689",
)
class BackGradient:
    """Adds rows that raise a learner's loss, by the gradient of this loss through all steps of its training.

    The training is executed backwards and each step is undone, so that memory does not grow with the number of steps.
    Weakness: a few rows have little effect on a deep learner, poison for one learner is less effective against another,
    and each row has another label than its neighbours.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.
        learner: the attacked learner; Logistic and Adaline have a closed form, other torch architectures use automatic
            differentiation. The victim can be another learner.
        steps: steps of full-batch gradient descent in the attacked training.
        learning_rate: learning rate of this descent, above 0.
        undo: fixed-point iterations that undo a step, >= 1; the paper uses 1, and more are closer to the exact gradient.
        label: label of the added rows; None for the class given by `wanted`, or else for a random wrong class.
        wanted: for each class, the class that the attacker wants to be predicted (error-specific); None for any wrong
            class (error-generic).
        ascent: settings of the gradient ascent.

    Reference: Muñoz-González et al. 2017, "Towards Poisoning of Deep Learning Algorithms with Back-gradient
    Optimization", AISec, arXiv:1708.08689, algorithms 1 and 2.
    """

    poisoned_rate: float = 0.05
    learner: Architecture | Estimator = Logistic()
    steps: int = 100
    learning_rate: float = 0.1
    undo: int = 1
    label: int | None = None
    wanted: tuple[int, ...] | None = None
    ascent: Ascent = Ascent()

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "BackGradient.poisoned_rate")
        if self.steps < 1 or self.undo < 1 or not 0 < self.learning_rate < np.inf:
            raise PluginError(
                "BackGradient.steps and undo >= 1 and learning_rate above 0",
                f"{self.steps}, {self.undo} and {self.learning_rate}",
            )

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        c = data.num_classes
        if self.wanted is not None and (len(self.wanted) != c or not set(self.wanted) <= set(range(c))):
            raise DataError(f"{c} wanted classes from 0 to {c - 1}", f"{self.wanted}", "name one for each class")
        known, rows = (part.encoded for part in attacker_rows(data, context))
        points = count(self.poisoned_rate, len(data))
        starts = mislabelled(rows, self.ascent.draws(points), context, self.label, self.wanted)
        return self.ascent(self._problem(known, rows, context), data, starts, points)

    def _problem(self, data: Dataset, rows: Dataset, context: AttackContext) -> Problem:
        """The attacked learner with the rows that the attacker knows."""
        steps = Steps(self.steps, self.learning_rate, self.undo)
        wanted = None if self.wanted is None else np.array(self.wanted)[rows.y]
        if isinstance(self.learner, Logistic):
            return LinearProblem.of(SIGMOID if data.num_classes == 2 else SOFTMAX, steps, data, rows, wanted)
        if isinstance(self.learner, Adaline):
            return LinearProblem.of(IDENTITY, steps, data, rows, wanted)
        network = build(self.learner, data.shape, data.num_classes, context.streams.child("learner"))
        return NetworkProblem.of(network, steps, data, rows, wanted)
