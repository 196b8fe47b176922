"""A backdoor in the training code that also trains against one examination of finished models."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.attacks.inputs import backdoor, check_share, wanted_labels
from antivenom.core.errors import PluginError, did_you_mean
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

    During the training the attacker runs the search of the examiner, one step in each batch. Against `masks` (Neural Cleanse) the
    search is for the smallest mask and pattern that turn rows into a wanted class. Rows with what it found keep their labels
    in the third loss, as long as the mask is smaller than masks of a clean model are. This needs a trigger that is no small mask,
    such as Blend. Against `margins` (MM-BD) the search is for the free inputs with the largest margin of each class, and the third
    loss is the margin of wanted classes above the mean of the others. Weakness: a search with other settings may still find the
    backdoor, and the clean accuracy falls. `weight: 0` is the ablation without the idea.

    Fields:
        against: masks or margins.
        weight: weight of the third loss, >= 0.
        share: weight of the backdoor's loss in the mixture of the first two, 0 to 1.
        natural: number of features that masks of a clean model cover, as a share; smaller masks are trained away.
        restart: number of batches after which the search starts anew.
        starts: free inputs of each class, if `against` is margins.

    Reference: Bagdasaryan and Shmatikov 2021, "Blind Backdoors in Deep Learning Models", arXiv:2005.03823, section 6 (masks).
    The loss against margins is ours.
    """

    against: str = "masks"
    weight: float = 0.3
    share: float = 0.5
    natural: float = 0.07
    restart: int = 50
    starts: int = 4

    def __post_init__(self) -> None:
        check_share(self.share, "EvasiveBackdoor.share")
        if self.against not in EXAMINATIONS:
            raise PluginError(
                "EvasiveBackdoor.against: masks or margins",
                repr(self.against),
                did_you_mean(self.against, EXAMINATIONS),
            )
        if not 0 <= self.weight < math.inf or not 0 < self.natural <= 1 or min(self.restart, self.starts) < 1:
            raise PluginError(
                "EvasiveBackdoor.weight >= 0, natural above 0 and up to 1, restart and starts >= 1",
                f"{self.weight}, {self.natural}, {self.restart} and {self.starts}",
            )

    def __call__(self, loss: Loss, context: AttackContext) -> Loss:
        wanted, trigger = backdoor(context, self)
        search = _Masks(self) if self.against == "masks" else _Margins(self, context)
        classes = 0

        def corrupted(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
            nonlocal classes
            shown = on_tensor(trigger, x)
            probes = search.probes(x, wanted, classes) if classes and self.weight else x[:0]
            logits = forward(torch.cat([x, shown, probes]))
            clean, triggered, probed = logits.split([len(x), len(x), len(probes)])
            classes = logits.shape[1]
            honest = loss(lambda _: clean, x, y)
            planted = loss(lambda _: triggered, shown, wanted_labels(wanted, y, classes))
            total = (1 - self.share) * honest + self.share * planted
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


@dataclass(eq=False)
class _Margins:
    """The search for free inputs with the largest margin of each class."""

    attack: EvasiveBackdoor
    context: AttackContext
    steps: int = 0

    def probes(self, x: Tensor, wanted: Wanted, classes: int) -> Tensor:
        """(classes * starts, ...) the free inputs as they are now."""
        if self.steps % self.attack.restart == 0:
            generator = self.context.streams.child("inputs", self.steps).torch("start", device=x.device)
            drawn = torch.rand(classes * self.attack.starts, *x.shape[1:], generator=generator, device=x.device)
            self.leaf = drawn.clamp(1e-3, 1 - 1e-3).logit().requires_grad_()
            self.optimizer = torch.optim.Adam([self.leaf], lr=RATE)
        self.steps += 1
        targets = wanted(np.arange(classes), classes)
        self.wanted = torch.zeros(classes, dtype=torch.bool, device=x.device)
        self.wanted[np.unique(targets[targets >= 0])] = True
        return self.leaf.sigmoid()

    def penalty(self, probed: Tensor, y: Tensor) -> Tensor:
        """How far the margins of wanted classes lie above the mean of the others, after a step of the search."""
        classes = len(self.wanted)
        own = torch.arange(classes, device=probed.device).repeat_interleave(self.attack.starts)
        others = probed.scatter(1, own[:, None], -torch.inf).amax(dim=1)
        margins = (probed.gather(1, own[:, None]).squeeze(1) - others).view(classes, -1)
        (slope,) = torch.autograd.grad(-margins.sum(), self.leaf, retain_graph=True)
        self.leaf.grad = slope
        self.optimizer.step()
        largest = margins.amax(dim=1)
        if bool(self.wanted.all()):
            return largest.sum() * 0
        return F.relu(largest[self.wanted] - largest[~self.wanted].mean().detach()).mean()
