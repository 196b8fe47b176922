"""Sleeper Agent: gradient matching towards a trigger that no poisoned row contains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from antivenom.attacks.availability.perturbations.bounded import clean_rows
from antivenom.attacks.backdoor.planting import drawn, perturbed, rows_of_wanted_classes, rows_to_turn
from antivenom.attacks.inputs import backdoor, check_share, count
from antivenom.attacks.matching import Matching, check_matching, gradient_norms, weight_gradient
from antivenom.attacks.surrogates import surrogate
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import Architecture, AttackContext, Augmentation
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.models.architectures import MLP
from antivenom.models.training import Training


@attack(
    access=(Access.DATA_INJECTION, Access.DATA_MANIPULATION),
    goal=Goal.BACKDOOR,
    cite="Souri et al. 2022, arXiv:2106.08970",
)
class SleeperAgent:
    """Perturbs rows of the target class so that training on them plants a trigger that none of them contains.

    The gradient of the poison is turned towards the mean gradient of other rows with the trigger and the wanted label. Rows
    whose own gradient is large are chosen, and the surrogate is trained anew on the poisoned rows several times, so that the
    poison suits the weights that it leads to. The record holds the remaining loss, `attack_matching_loss`. Weakness: as of
    GradientMatching; it also needs many source rows, and others report that the published success is hard to reproduce.

    Fields:
        poisoned_rate: perturbed rows, as a share of the clean rows, 0 to 1.
        epsilon: maximal change of a feature (linf), for features in [0, 1].
        sources: number of rows with the trigger whose mean gradient is matched, at least 1.
        by_norm: choose the rows with the largest gradients; False chooses random rows of the target class.
        retrainings: number of times the surrogate is trained anew on the poisoned rows, within the steps.
        steps: steps of signed Adam on the perturbations, all rounds together.
        step_size: first size of a step of a round, relative to epsilon.
        batch_size: poisons whose mean gradient is matched at a time.
        augmentation: random changes of the poison in each step, as the victim may use them.
        surrogate: torch architecture that the attacker trains.
        training: training of the surrogate.

    Reference: Souri, Fowl, Chellappa, Goldblum and Goldstein 2022, "Sleeper Agent: Scalable Hidden Trigger Backdoors for Neural
    Networks Trained from Scratch", NeurIPS, arXiv:2106.08970, algorithm 1.
    """

    poisoned_rate: float = 0.01
    epsilon: float = 16 / 255
    sources: int = 200
    by_norm: bool = True
    retrainings: int = 2
    steps: int = 250
    step_size: float = 0.4
    batch_size: int = 512
    augmentation: tuple[Augmentation, ...] = ()
    surrogate: Architecture = MLP()
    training: Training = Training(epochs=20, learning_rate=0.01)

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "SleeperAgent.poisoned_rate")
        check_matching(self._matching, self)
        if self.sources < 1 or self.retrainings < 0:
            raise PluginError(
                "SleeperAgent.sources >= 1 and retrainings >= 0", f"{self.sources} and {self.retrainings}"
            )

    @property
    def _matching(self) -> Matching:
        """The settings of one round between two trainings of the surrogate."""
        steps = -(-self.steps // (self.retrainings + 1))
        return Matching(self.epsilon, steps, self.step_size, 1, self.batch_size, self.augmentation)

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        wanted, trigger = backdoor(context, self)
        clean = clean_rows(data)
        turned, labels = rows_to_turn(data, wanted)
        if not len(turned):
            raise DataError("training rows that should get another class", "none", "choose another target")
        sources = context.streams.numpy("sources").permutation(turned)[: self.sources]
        shown = torch.tensor(np.asarray(trigger(clean[sources]))), torch.tensor(labels[sources])
        eligible, streams = rows_of_wanted_classes(data, wanted), context.streams
        model = surrogate(self.surrogate, self.training, data.encoded, streams.child("surrogate"), self)
        if self.by_norm and len(eligible):
            norms = gradient_norms(model, torch.tensor(clean[eligible]), torch.tensor(data.y[eligible]))
            eligible = eligible[np.argsort(-norms.numpy(), kind="stable")][: count(self.poisoned_rate, len(data))]
        rows = drawn(eligible, count(self.poisoned_rate, len(data)), context) if len(eligible) else eligible
        if not len(rows):
            return Poison.none(data)
        start, y = torch.tensor(clean[rows]), torch.tensor(data.y[rows])
        found, loss = start, 0.0
        for number in range(self.retrainings + 1):
            if number:
                poisoned = perturbed(data, rows, found.numpy(), context)
                model = surrogate(
                    self.surrogate, self.training, poisoned.data.encoded, streams.child("retrained", number), self
                )
            aim = weight_gradient(model, *shown)
            found, loss = self._matching.found(model, start, y, aim, streams.child("matching", number), found)
        return replace(perturbed(data, rows, found.numpy(), context), measured=(("matching_loss", loss),))
