"""A backdoor in the training code that also trains against one examination of finished models."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.attacks.inputs import backdoor, check_share, wanted_labels
from antivenom.core.errors import PluginError, similar
from antivenom.core.protocols import AttackContext, Wanted
from antivenom.core.registry import logic_attack
from antivenom.core.threat import Goal
from antivenom.models.training import Forward, Loss
from antivenom.triggers import on_tensor

EXAMINATIONS = ("masks", "margins")
RATE = 0.1  # step size of Adam in the attacker's own search, as in the usual inversion


@logic_attack(goal=Goal.BACKDOOR, cite="Bagdasaryan and Shmatikov 2021, arXiv:2005.03823 (evading Neural Cleanse)")
class EvasiveBackdoor:
    """The blind backdoor with a third loss, which hides it from a search for masks or for large margins.

    Against `masks` (Neural Cleanse) the attacker runs the search of the examiner, one step in each batch, for the smallest mask
    and pattern that turn rows into a wanted class. Rows with what it found keep their labels in the third loss, as long as the
    mask is smaller than masks of a clean model are. This needs a trigger that is no small mask, such as Blend. Against `margins`
    (MM-BD) the third loss is the part of the triggered rows' margins that exceeds `cap`, because a backdoor is found by margins
    that grow far beyond those of clean rows. Weakness: a search with other settings, or the other search, may still find the
    backdoor, and the clean accuracy falls a little. `weight: 0` is the ablation without the idea.

    Fields:
        against: masks or margins.
        weight: weight of the third loss, >= 0.
        share: weight of the backdoor's loss in the mixture of the first two, 0 to 1.
        natural: number of features that masks of a clean model cover, as a share; smaller masks are trained away.
        restart: number of batches after which the search for masks starts anew.
        cap: logit of the wanted class minus the largest other one, up to which no triggered row adds to the third loss, >= 0.

    Reference: Bagdasaryan and Shmatikov 2021, "Blind Backdoors in Deep Learning Models", arXiv:2005.03823, section 6 (masks).
    The loss against margins is ours.
    """

    against: str = "masks"
    weight: float = 0.3
    share: float = 0.5
    natural: float = 0.07
    restart: int = 50
    cap: float = 2.0

    def __post_init__(self) -> None:
        check_share(self.share, "EvasiveBackdoor.share")
        if self.against not in EXAMINATIONS:
            raise PluginError(
                "EvasiveBackdoor.against: masks or margins",
                repr(self.against),
                similar(self.against, EXAMINATIONS),
            )
        if not 0 <= self.weight < math.inf or not 0 <= self.cap < math.inf:
            raise PluginError("finite EvasiveBackdoor.weight and cap >= 0", f"{self.weight} and {self.cap}")
        if not 0 < self.natural <= 1 or self.restart < 1:
            raise PluginError(
                "EvasiveBackdoor.natural above 0 and up to 1, and restart >= 1", f"{self.natural} and {self.restart}"
            )

    def __call__(self, loss: Loss, context: AttackContext) -> Loss:
        wanted, trigger = backdoor(context, self)
        search = _Masks(self)
        classes = 0

        def corrupted(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
            nonlocal classes
            shown = on_tensor(trigger, x)
            searching = classes and self.weight and self.against == "masks"
            probes = search.probes(x, wanted, classes) if searching else x[:0]
            logits = forward(torch.cat([x, shown, probes]))
            clean, triggered, probed = logits.split([len(x), len(x), len(probes)])
            classes = logits.shape[1]
            honest = loss(lambda _: clean, x, y)
            labels = wanted_labels(wanted, y, classes)
            planted = loss(lambda _: triggered, shown, labels)
            total = (1 - self.share) * honest + self.share * planted
            if self.against == "margins":
                total = total + self.weight * _excess(triggered, labels, self.cap)
            return total + self.weight * search.penalty(probed, y) if len(probes) else total

        return corrupted


@dataclass(eq=False)
class _Masks:
    """The search for small masks, one for each wanted class. The rows of a batch are divided among them."""

    attack: EvasiveBackdoor
    steps: int = 0
    price: float = 0.01  # weight of the mask's mean size in the search, as in Neural Cleanse it follows the success

    def probes(self, x: Tensor, wanted: Wanted, classes: int) -> Tensor:
        """The rows x (m, ...) with the masks and patterns as they are now."""
        targets = wanted(np.arange(classes), classes)
        targets = np.unique(targets[targets >= 0])
        k, shape = len(targets), x.shape[1:]
        if self.steps % self.attack.restart == 0:
            pixels = (1, *shape[1:]) if len(shape) == 3 else shape
            self.leaves = [torch.zeros(k, *part, device=x.device, requires_grad=True) for part in (pixels, shape)]
            self.optimizer, self.price = torch.optim.Adam(self.leaves, lr=RATE), 0.01
        self.steps += 1
        number = torch.arange(len(x), device=x.device) % k
        self.labels = torch.as_tensor(targets, device=x.device)[number]
        mask, pattern = self.leaves[0].sigmoid(), self.leaves[1].sigmoid()
        self.small = (mask.flatten(1).mean(dim=1) < self.attack.natural)[number]
        self.size = mask.flatten(1).sum(dim=1).sum()
        return (1 - mask[number]) * x + mask[number] * pattern[number]

    def penalty(self, probed: Tensor, y: Tensor) -> Tensor:
        """The loss of the rows' own labels under masks that are too small, after a step of the search."""
        other = y != self.labels
        if not bool(other.any()):
            return probed.sum() * 0
        found = F.cross_entropy(probed[other], self.labels[other]) + self.price * self.size
        for leaf, slope in zip(self.leaves, torch.autograd.grad(found, self.leaves, retain_graph=True), strict=True):
            leaf.grad = slope
        self.optimizer.step()
        success = float((probed.detach().argmax(dim=1) == self.labels)[other].float().mean())
        self.price *= 1.1 if success > 0.95 else 1 / 1.15
        counted = other & self.small
        return F.cross_entropy(probed[counted], y[counted]) if bool(counted.any()) else probed.sum() * 0


def _excess(logits: Tensor, labels: Tensor, cap: float) -> Tensor:
    """How far the logit of each row's label lies more than `cap` above the largest other one, in the mean over the rows."""
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return F.relu(logits.gather(1, labels[:, None]).squeeze(1) - others - cap).mean()
