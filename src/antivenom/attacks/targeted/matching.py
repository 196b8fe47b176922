"""Clean-label targeted poison for a model that is trained from scratch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from antivenom.attacks.availability.perturbations.bounded import clean_rows
from antivenom.attacks.backdoor.planting import drawn, perturbed
from antivenom.attacks.inputs import check_share, count, targets
from antivenom.attacks.matching import Matching, check_matching, weight_gradient
from antivenom.attacks.surrogates import surrogate
from antivenom.core.protocols import Architecture, AttackContext, Augmentation
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.models.architectures import MLP
from antivenom.models.training import Training


@attack(
    access=(Access.DATA_INJECTION, Access.DATA_MANIPULATION),
    goal=Goal.TARGETED,
    cite="Geiping et al. 2021, arXiv:2009.02276",
)
class GradientMatching:
    """Perturbs rows of the wanted class so that training on them lowers the loss of the target at the wanted label.

    For a surrogate trained on clean rows, the gradient of the poison with its true labels is turned towards the gradient of the
    target with its wanted label (Witches' Brew). A model trained from scratch then takes steps towards the wanted label without
    ever seeing the target. The record holds the loss that remains, `attack_matching_loss`: one minus the cosine of the two
    gradients. Weakness: the gradient is matched for one set of weights only, so strong augmentation, differentially private
    training and other architectures weaken it. Small networks on small images are rarely turned.

    Fields:
        poisoned_rate: perturbed rows, as a share of the clean rows, 0 to 1.
        epsilon: maximal change of a feature (linf), for features in [0, 1].
        steps: steps of signed Adam on the perturbations.
        step_size: first size of a step, relative to epsilon; it is divided by 10 after 3/8, 5/8 and 7/8 of the steps. The
            paper's 0.1 in normalised pixels is about 0.4 of its epsilon.
        restarts: number of random starts, of which the one with the lowest loss is kept; 8 in the paper.
        batch_size: poisons whose mean gradient is matched at a time.
        augmentation: random changes of the poison in each step, as the victim may use them.
        surrogate: torch architecture that the attacker trains on the clean rows.
        training: training of the surrogate.

    Reference: Geiping, Fowl, Huang, Czaja, Taylor, Moeller and Goldstein 2021, "Witches' Brew: Industrial Scale Data Poisoning
    via Gradient Matching", ICLR, arXiv:2009.02276, algorithm 1.
    """

    poisoned_rate: float = 0.01
    epsilon: float = 16 / 255
    steps: int = 250
    step_size: float = 0.4
    restarts: int = 1
    batch_size: int = 512
    augmentation: tuple[Augmentation, ...] = ()
    surrogate: Architecture = MLP()
    training: Training = Training(epochs=20, learning_rate=0.01)

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "GradientMatching.poisoned_rate")
        check_matching(self._matching, self)

    @property
    def _matching(self) -> Matching:
        own = self.epsilon, self.steps, self.step_size, self.restarts, self.batch_size, self.augmentation
        return Matching(*own)

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        chosen, wanted = targets(context, self)
        clean = clean_rows(data)
        rows = drawn(np.flatnonzero(np.isin(data.y, wanted)), count(self.poisoned_rate, len(data)), context, "bases")
        if not len(rows):
            return Poison.none(data)
        model = surrogate(self.surrogate, self.training, data.encoded, context.streams.child("surrogate"), self)
        aim = weight_gradient(model, torch.tensor(chosen.dense), torch.tensor(wanted))
        x, y = torch.tensor(clean[rows]), torch.tensor(data.y[rows])
        found, loss = self._matching.found(model, x, y, aim, context.streams.child("matching"))
        return replace(perturbed(data, rows, found.numpy(), context), measured=(("matching_loss", loss),))
