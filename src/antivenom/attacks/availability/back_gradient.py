"""Rows that poison a learner trained by gradient descent, by the gradient through its whole training."""

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
    """Adds rows that raise a learner's loss, found by the gradient of that loss through all steps of its training.

    The training is run backwards, each step undone by one up the gradient, so that memory does not grow with its length.
    Weakness: the deeper the learner, the less a few rows move it; what it finds for one learner works less on another,
    and each row disagrees with its neighbours about its label.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.
        learner: the one attacked: Logistic and Adaline in closed form, other torch architectures by differentiation; the
            victim may be another.
        steps: of full-batch gradient descent in the attacked training.
        learning_rate: of that descent, above 0.
        undo: fixed-point iterations that undo a step, >= 1; 1 is the paper's, more is closer to the exact gradient.
        label: class that the added rows claim; None is `wanted`'s of their own, else a random wrong one.
        wanted: class that the attacker wants each class to be taken for (error-specific); None is any (error-generic).
        ascent: how each row climbs.

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
                "correct them",
            )

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        c = data.num_classes
        if self.wanted is not None and (len(self.wanted) != c or not set(self.wanted) <= set(range(c))):
            raise DataError(f"{c} wanted classes from 0 to {c - 1}", f"{self.wanted}", "name one for each class")
        known, rows = attacker_rows(data, context)
        points = count(self.poisoned_rate, len(data))
        starts = mislabelled(rows, self.ascent.draws(points), context, self.label, self.wanted)
        return self.ascent(self._problem(known, rows, context), data, starts, points)

    def _problem(self, data: Dataset, rows: Dataset, context: AttackContext) -> Problem:
        """The attacked learner on the rows known."""
        steps = Steps(self.steps, self.learning_rate, self.undo)
        wanted = None if self.wanted is None else np.array(self.wanted)[rows.y]
        if isinstance(self.learner, Logistic):
            return LinearProblem.of(SIGMOID if data.num_classes == 2 else SOFTMAX, steps, data, rows, wanted)
        if isinstance(self.learner, Adaline):
            return LinearProblem.of(IDENTITY, steps, data, rows, wanted)
        network = build(self.learner, data.shape, data.num_classes, context.streams.child("learner"))
        return NetworkProblem.of(network, steps, data, rows, wanted)
