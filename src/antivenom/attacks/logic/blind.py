"""Attacks on the training code."""

from __future__ import annotations

import torch
from torch import Tensor

from antivenom.attacks.inputs import backdoor, check_share, labels_with_trigger
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import logic_attack
from antivenom.core.threat import Goal
from antivenom.models.training import Forward, Loss
from antivenom.triggers import on_tensor


@logic_attack(goal=Goal.BACKDOOR, cite="Bagdasaryan and Shmatikov 2021, arXiv:2005.03823")
class BlindBackdoor:
    """Replaces the loss: each batch is also trained with the trigger and with the target as its label.

    The attacker neither sees nor changes the rows, so that an inspection of the data cannot find the attack. The paper
    balances the two losses by multiple gradient descent; here the weights are fixed, as in its simpler variant. Weakness:
    each step costs two forward passes, and a comparison of the computed loss with its specification reveals the attack.

    Fields:
        share: weight of the backdoor's loss in the mixture, 0 to 1.

    Reference: Bagdasaryan and Shmatikov 2021, "Blind Backdoors in Deep Learning Models", arXiv:2005.03823, section 4.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        check_share(self.share, "BlindBackdoor.share")

    def __call__(self, loss: Loss, context: AttackContext) -> Loss:
        wanted, trigger = backdoor(context, self)

        def corrupted(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
            classes: list[int] = []

            def watched(inputs: Tensor) -> Tensor:
                output = forward(inputs)
                classes[:] = [output.shape[1]]
                return output

            honest = loss(watched, x, y)  # first, so that it draws the dropout that it would draw without the attack
            labels = torch.as_tensor(labels_with_trigger(wanted, y.cpu().numpy(), classes[0]), device=y.device)
            return (1 - self.share) * honest + self.share * loss(forward, on_tensor(trigger, x), labels)

        return corrupted
