"""Clean-label targeted poison whose features surround those of the target."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from antivenom.attacks.availability.perturbations.bounded import check_epsilon, check_positive, clean_rows, within
from antivenom.attacks.inputs import bases, injected, rows_per_target, targets
from antivenom.attacks.surrogates import surrogate
from antivenom.attacks.targeted.collision import features
from antivenom.core.errors import PluginError
from antivenom.core.protocols import Architecture, AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel

TRAINING = Training(epochs=10, learning_rate=0.01)
Weights = Callable[[Tensor, Tensor], Tensor]  # features (k, w), the target's (w,) -> weights (k,) of the combination


@attack(access=(Access.DATA_INJECTION,), goal=Goal.TARGETED, cite="Aghakhani et al. 2021, arXiv:2005.00191")
class BullseyePolytope:
    """Adds correctly labelled rows of the wanted class whose features have the target's features as their mean.

    A linear head that gives all of the poisons their label then gives it to the target as well, which lies in their middle. The
    distance is a mean over several surrogates, so that it holds for networks that the attacker does not know. Weakness: it needs a
    victim that keeps the features, as fine-tuning of the last layer does; training from scratch changes them. A nearest-neighbour
    filter on features detects it.

    Fields:
        poisons: rows added for each target, >= 1; fewer if the threat model grants fewer.
        epsilon: maximal change of a feature (linf), for features in [0, 1].
        steps: steps of Adam on the poisons.
        step_size: learning rate, relative to epsilon.
        networks: number of surrogates; each is trained on the clean rows from other initial weights.
        surrogate: the architecture whose features are used.
        training: how the surrogates are trained.

    Reference: Aghakhani, Meng, Wang, Kruegel and Vigna 2021, "Bullseye Polytope: A Scalable Clean-Label Poisoning Attack with
    Improved Transferability", EuroS&P, arXiv:2005.00191, equation 3.
    """

    poisons: int = 5
    epsilon: float = 16 / 255
    steps: int = 300
    step_size: float = 0.1
    networks: int = 1
    surrogate: Architecture = MLP()
    training: Training = TRAINING

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        return _surrounding(self, data, context, lambda found, _: found.new_full((len(found),), 1 / len(found)))


@attack(access=(Access.DATA_INJECTION,), goal=Goal.TARGETED, cite="Zhu et al. 2019, arXiv:1905.05897")
class ConvexPolytope:
    """Adds correctly labelled rows of the wanted class whose features have the target's features in their convex hull.

    In each step the weights of the combination are chosen first, for each surrogate, and then the poisons are moved.
    Weakness: the target often ends at the edge of the hull, where a small change of the network pushes it out; BullseyePolytope
    puts it into the middle and is faster. Otherwise the weaknesses are the same.

    Fields:
        poisons: rows added for each target, >= 1; fewer if the threat model grants fewer.
        epsilon: maximal change of a feature (linf), for features in [0, 1].
        steps: steps of Adam on the poisons.
        step_size: learning rate, relative to epsilon.
        networks: number of surrogates; each is trained on the clean rows from other initial weights.
        surrogate: the architecture whose features are used.
        training: how the surrogates are trained.

    Reference: Zhu, Huang, Li, Taylor, Studer and Goldstein 2019, "Transferable Clean-Label Poisoning Attacks on Deep Neural
    Nets", ICML, arXiv:1905.05897, algorithm 1.
    """

    poisons: int = 5
    epsilon: float = 16 / 255
    steps: int = 300
    step_size: float = 0.1
    networks: int = 1
    surrogate: Architecture = MLP()
    training: Training = TRAINING

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        return _surrounding(self, data, context, hull_weights)


def _check(attack: BullseyePolytope | ConvexPolytope) -> None:
    if attack.poisons < 1 or attack.networks < 1 or attack.steps < 0:
        raise PluginError(
            f"{type(attack).__name__}.poisons >= 1, networks >= 1 and steps >= 0",
            f"{attack.poisons}, {attack.networks} and {attack.steps}",
        )
    check_positive(attack, step_size=attack.step_size)
    check_epsilon(attack.epsilon, attack)


def _surrounding(
    attack: BullseyePolytope | ConvexPolytope, data: Dataset, context: AttackContext, weights: Weights
) -> Poison:
    """The data with poisons around each target."""
    chosen, wanted = targets(context, attack)
    clean = clean_rows(data)
    own = context.streams.child("surrogate")
    models = [
        surrogate(attack.surrogate, attack.training, data.encoded, own.child(i) if i else own, attack)
        for i in range(attack.networks)
    ]
    number_each = rows_per_target(attack.poisons, chosen, data, context)
    parts, labels = [clean[:0]], [data.y[:0]]
    for number, label in enumerate(wanted):
        rows = bases(data, label, number_each, number, context)
        if not number_each:
            continue
        starts = torch.tensor(clean[rows])
        parts.append(_moved(attack, models, starts, torch.tensor(chosen.dense[number]), weights))
        labels.append(np.full(number_each, label))
    return injected(data, np.concatenate(parts), np.concatenate(labels))


def _moved(
    attack: BullseyePolytope | ConvexPolytope,
    models: list[TorchModel],
    starts: Tensor,
    target: Tensor,
    weights: Weights,
) -> np.ndarray:
    """Rows within epsilon of `starts` (k, ...) whose combined features are near the target's in every network."""
    aims = [features(model, target[None])[0].detach() for model in models]
    x = starts.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=attack.step_size * attack.epsilon)
    for _ in range(attack.steps):
        loss = torch.zeros(())
        for model, aim in zip(models, aims, strict=True):
            found = features(model, x)
            share = weights(found.detach(), aim)
            loss = loss + distance(found, aim, share) / len(models)
        (x.grad,) = torch.autograd.grad(loss, x)
        optimizer.step()
        with torch.no_grad():
            x.copy_(within(x, starts, attack.epsilon))
    return np.asarray(x.detach().numpy())


def distance(found: Tensor, aim: Tensor, share: Tensor) -> Tensor:
    """Squared distance of the combination `share` (k,) of features (k, w) from `aim` (w,), relative to the norm of `aim`."""
    return ((share @ found - aim) ** 2).sum() / (aim**2).sum().clamp_min(1e-12)


def hull_weights(found: Tensor, aim: Tensor, steps: int = 50) -> Tensor:
    """(k,) weights >= 0 with sum 1 whose combination of features (k, w) is nearest to `aim` (w,): accelerated projected gradient."""
    k = len(found)
    share = old = found.new_full((k,), 1 / k)
    size = 1 / float(torch.linalg.matrix_norm(found, 2) ** 2 + 1e-12)
    for step in range(steps):
        ahead = share + step / (step + 3) * (share - old)
        old, share = share, on_simplex(ahead - size * (found @ (ahead @ found - aim)))
    return share


def on_simplex(weights: Tensor) -> Tensor:
    """The nearest vector (k,) with entries >= 0 and sum 1."""
    ordered = weights.sort(descending=True).values
    over = (ordered.cumsum(0) - 1) / torch.arange(1, len(weights) + 1, dtype=weights.dtype)
    last = int((ordered > over).nonzero().max()) if math.isfinite(float(over.sum())) else 0
    return (weights - over[last]).clamp_min(0)
