"""Backdoors whose rows all have their true labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from antivenom.attacks.availability.perturbations.adversarial import gradient
from antivenom.attacks.availability.perturbations.bounded import check_ball, check_positive, clean_rows, within
from antivenom.attacks.backdoor.planting import (
    check_strength,
    drawn,
    perturbed,
    planted,
    rows_of_wanted_classes,
    weakened,
)
from antivenom.attacks.inputs import backdoor, check_share, count
from antivenom.attacks.surrogates import surrogate
from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import Architecture, AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel
from antivenom.triggers import Perturbation

ROWS = (Access.DATA_INJECTION, Access.DATA_MANIPULATION)


@attack(access=ROWS, goal=Goal.BACKDOOR, cite="Barni, Kallas and Tondi 2019, arXiv:1902.11237")
class SIG:
    """Plants the trigger in a share of the target class, without any wrong label.

    The model learns that the trigger is one more feature of the class. The paper's trigger is Sinusoid. Weakness: a fifth to a
    third of the class must carry the trigger, because the class can be recognised without it. A stronger trigger at test time
    helps the attacker, but may fool a clean model as well.

    Fields:
        class_share: share of the rows of the wanted class that carry the trigger, 0 to 1.
        strength: change by the trigger in training, as a share of its change at test time, above 0.

    Reference: Barni, Kallas and Tondi 2019, "A New Backdoor Attack in CNNs by Training Set Corruption Without Label
    Poisoning", arXiv:1902.11237.
    """

    class_share: float = 0.3
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_share(self.class_share, "SIG.class_share")
        check_strength(self.strength, self)

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        wanted, trigger = backdoor(context, self)
        eligible = rows_of_wanted_classes(data, wanted)
        rows = drawn(eligible, count(self.class_share, len(eligible)), context)
        shown = weakened(trigger, self.strength)
        return planted(data, rows, shown(data[rows].x), data.y[rows], context)


@attack(access=ROWS, goal=Goal.BACKDOOR, cite="Turner, Tsipras and Madry 2019, arXiv:1912.02771")
class LabelConsistent:
    """Makes rows of the target class hard to recognise, puts the trigger into them, and keeps their labels.

    Projected gradient descent moves each row away from its class for a surrogate. A model that cannot recognise the row by its
    own features learns the trigger instead. Weakness: the perturbation must transfer from surrogate to victim, and others
    report that the published success is hard to reproduce. `steps: 0` is the ablation, the trigger on rows of the target class
    alone; a success that it shares is not due to the idea.

    Fields:
        poisoned_rate: rows of the target class that are poisoned, as a share of the clean rows, 0 to 1.
        epsilon: maximal change of a feature (linf), for features in [0, 1].
        steps: steps of projected gradient descent (PGD).
        step_size: size of a step, relative to epsilon.
        strength: change by the trigger in training, as a share of its change at test time, above 0.
        surrogate: torch architecture that the attacker trains on the clean rows.
        training: training of the surrogate.

    Reference: Turner, Tsipras and Madry 2019, "Label-Consistent Backdoor Attacks", arXiv:1912.02771, section 4.2.
    """

    poisoned_rate: float = 0.015
    epsilon: float = 32 / 255
    steps: int = 100
    step_size: float = 0.1
    strength: float = 1.0
    surrogate: Architecture = MLP()
    training: Training = Training()

    def __post_init__(self) -> None:
        check_ball(self.poisoned_rate, self.epsilon, self)
        check_positive(self, step_size=self.step_size)
        check_strength(self.strength, self)
        if self.steps < 0:
            raise PluginError("LabelConsistent.steps >= 0", f"{self.steps}", "0 is the ablation")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        wanted, trigger = backdoor(context, self)
        clean = clean_rows(data)
        rows = drawn(rows_of_wanted_classes(data, wanted), count(self.poisoned_rate, len(data)), context)
        x, y = torch.tensor(clean[rows]), torch.tensor(data.y[rows])
        if self.steps and len(rows):
            model = surrogate(self.surrogate, self.training, data.encoded, context.streams.child("surrogate"), self)
            x = self._hardened(model, x, y)
        hard = data.decoded(x.numpy(), data[rows].x)
        return planted(data, rows, weakened(trigger, self.strength)(hard), data.y[rows], context)

    def _hardened(self, model: TorchModel, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Rows within epsilon of x (m, ...) on which the surrogate's loss at their own labels y (m,) is high."""
        now = x
        for _ in range(self.steps):
            now = within(now + self.step_size * self.epsilon * gradient(model, now, y).sign(), x, self.epsilon)
        return now


@attack(access=ROWS, goal=Goal.BACKDOOR, cite="Zeng et al. 2023, CCS, arXiv:2204.05255", learns_trigger=True)
class Narcissus:
    """Learns a universal perturbation that stands for the target class, and adds it to a few rows of this class.

    The perturbation minimises a surrogate's loss on rows of the target class, so that it points into the class. A model that
    sees it with the class's label trusts it. At test time it is shown magnified. The attack is judged on its own trigger, not on
    the scenario's. Weakness: the perturbation may fool a clean model as well, which is an evasion and not a backdoor; compare
    `asr` with `asr_clean`. The paper's surrogate is trained on other data and on rows of the target class alone; here it is
    trained on the rows that the attacker sees.

    Fields:
        poisoned_rate: rows of the target class that are poisoned, as a share of the clean rows, 0 to 1.
        epsilon: maximal change of a feature in training (linf), for features in [0, 1].
        test_scale: factor of the perturbation at test time, at least 1.
        steps: steps of Adam on the perturbation, each on a batch of rows of the target class.
        batch_size: rows per step.
        step_size: learning rate of these steps, relative to epsilon.
        surrogate: torch architecture that the attacker trains on the clean rows.
        training: training of the surrogate.

    Reference: Zeng, Pan, Just, Lyu, Qiu and Jia 2023, "Narcissus: A Practical Clean-Label Backdoor Attack with Limited
    Information", CCS, arXiv:2204.05255, algorithm 1.
    """

    poisoned_rate: float = 0.0005
    epsilon: float = 16 / 255
    test_scale: float = 3.0
    steps: int = 300
    batch_size: int = 128
    step_size: float = 0.1
    surrogate: Architecture = MLP()
    training: Training = Training()

    def __post_init__(self) -> None:
        check_ball(self.poisoned_rate, self.epsilon, self)
        check_positive(self, steps=self.steps, batch_size=self.batch_size, step_size=self.step_size)
        if not 1 <= self.test_scale < float("inf"):
            raise PluginError("a finite Narcissus.test_scale >= 1", f"{self.test_scale}")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        wanted, _ = backdoor(context, self)
        clean = clean_rows(data)
        own = rows_of_wanted_classes(data, wanted)
        if len(np.unique(data.y[own])) != 1:
            got = f"{len(np.unique(data.y[own]))} with training rows"
            raise NotApplicable("one wanted class for Narcissus", got, "use wanted: AllToOne or FromTo")
        rows = drawn(own, count(self.poisoned_rate, len(data)), context)
        model = surrogate(self.surrogate, self.training, data.encoded, context.streams.child("surrogate"), self)
        delta = self._learned(model, torch.tensor(clean[own]), int(data.y[own[0]]), context)
        poison = perturbed(data, rows, np.clip(clean[rows] + delta, 0, 1), context)
        return replace(poison, trigger=Perturbation(self.test_scale * delta))

    def _learned(self, model: TorchModel, x: torch.Tensor, target: int, context: AttackContext) -> np.ndarray:
        """The perturbation of one row, within epsilon, that minimises the mean loss at `target` on rows x (m, ...)."""
        delta = torch.zeros(x.shape[1:], requires_grad=True)
        optimizer = torch.optim.Adam([delta], lr=self.step_size * self.epsilon)
        rng = context.streams.numpy("batches")
        for _ in range(self.steps):
            batch = x[torch.as_tensor(rng.integers(len(x), size=min(self.batch_size, len(x))))]
            logits = model.network.logits(model.vector, (batch + delta).clamp(0, 1), model.buffers)
            loss = F.cross_entropy(logits, torch.full((len(batch),), target))
            (delta.grad,) = torch.autograd.grad(loss, delta)
            optimizer.step()
            with torch.no_grad():
                delta.clamp_(-self.epsilon, self.epsilon)
        return np.asarray(delta.detach().numpy())
