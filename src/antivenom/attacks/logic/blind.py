"""Attacks on the training code."""

from __future__ import annotations

import torch
from torch import Tensor

from antivenom.attacks.inputs import backdoor, check_share, wanted_labels
from antivenom.core.errors import PluginError, similar
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import logic_attack
from antivenom.core.threat import Goal
from antivenom.models.training import Forward, Loss
from antivenom.triggers import on_tensor

BALANCES = ("fixed", "mgda")


@logic_attack(goal=Goal.BACKDOOR, cite="Bagdasaryan and Shmatikov 2021, arXiv:2005.03823")
class BlindBackdoor:
    """Replaces the loss: each batch is also trained with the trigger and with the target as its label.

    The attacker neither sees nor changes the rows, so that an inspection of the data cannot find the attack. The two losses
    have fixed weights, or weights by multiple gradient descent (MGDA), which in each batch takes the shortest mixture of the
    two gradients, each divided by its norm and its loss, so that a small step raises neither loss. Weakness: each step costs
    two forward passes, with MGDA also two backward passes, and a comparison of the computed loss with its specification
    reveals the attack.

    Fields:
        share: weight of the backdoor's loss in the mixture, 0 to 1, if `balance` is fixed.
        balance: fixed, or mgda.

    Reference: Bagdasaryan and Shmatikov 2021, "Blind Backdoors in Deep Learning Models", arXiv:2005.03823, section 4;
    Desideri 2012 (MGDA).
    """

    share: float = 0.5
    balance: str = "fixed"

    def __post_init__(self) -> None:
        check_share(self.share, "BlindBackdoor.share")
        if self.balance not in BALANCES:
            raise PluginError(
                "BlindBackdoor.balance: fixed or mgda", repr(self.balance), similar(self.balance, BALANCES)
            )

    def __call__(self, loss: Loss, context: AttackContext) -> Loss:
        wanted, trigger = backdoor(context, self)

        def corrupted(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
            classes: list[int] = []

            def watched(inputs: Tensor) -> Tensor:
                output = forward(inputs)
                classes[:] = [output.shape[1]]
                return output

            honest = loss(watched, x, y)  # first, so that it draws the dropout that it would draw without the attack
            planted = loss(forward, on_tensor(trigger, x), wanted_labels(wanted, y, classes[0]))
            share = self.share if self.balance == "fixed" else balanced(honest, planted)
            return (1 - share) * honest + share * planted

        return corrupted


def balanced(first: Tensor, second: Tensor) -> float:
    """Weight of the second loss, 0 to 1, by multiple gradient descent in the weights that are trained.

    Each gradient is first divided by its norm and by its loss. Otherwise the loss that is nearly 0 would get all of the weight.
    1/2 if neither loss depends on weights that are trained.
    """
    weights = _leaves(first, second)
    if not weights:
        return 0.5
    scaled = []
    for loss in (first, second):
        own = _flat(torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True), weights)
        scaled.append(own / (own.norm() * loss.detach()).clamp_min(1e-12))
    return shortest(*scaled)


def shortest(first: Tensor, second: Tensor) -> float:
    """The share of `second` (d,), 0 to 1, with which its mixture with `first` (d,) is shortest; 1/2 if they are equal."""
    apart = float((first - second) @ (first - second))
    return min(max(float(first @ (first - second)) / apart, 0.0), 1.0) if apart > 0 else 0.5


def _leaves(*losses: Tensor) -> list[Tensor]:
    """The tensors with gradients that these losses were computed from."""
    found: dict[int, Tensor] = {}
    open_nodes = [loss.grad_fn for loss in losses if loss.grad_fn is not None]
    seen = set(open_nodes)
    while open_nodes:
        node = open_nodes.pop()
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            found[id(leaf)] = leaf
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                open_nodes.append(following)
    return list(found.values())


def _flat(gradients: tuple[Tensor | None, ...], weights: list[Tensor]) -> Tensor:
    pairs = zip(gradients, weights, strict=True)
    return torch.cat([(torch.zeros_like(weight) if own is None else own).flatten() for own, weight in pairs])
