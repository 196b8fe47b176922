"""Trigger inversion: search for the trigger that makes a network answer as a backdoor would, for all classes in one batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import Trigger
from antivenom.defences.spaces import Leaves, Space
from antivenom.models.wrappers import TorchModel

Objective = Callable[[Tensor, Tensor], Tensor]
"""Logits (k, b, c) and classes (k,) -> (k, b) losses, which the search makes small."""
NO_CLASS = (
    -1
)  # the class of a problem that has none: no row ever gets it, so that the trigger with the smallest loss is kept


def to_class(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of each answer with its problem's class."""
    k, b, _ = logits.shape
    return F.cross_entropy(logits.flatten(0, 1), classes.repeat_interleave(b), reduction="none").view(k, b)


def negative_margin(logits: Tensor, classes: Tensor) -> Tensor:
    """The largest logit of another class minus that of the problem's class."""
    own = logits.gather(2, classes.view(-1, 1, 1).expand(-1, logits.shape[1], 1)).squeeze(2)
    is_own = F.one_hot(classes, logits.shape[2]).bool()[:, None]
    return logits.masked_fill(is_own, -torch.inf).amax(2) - own


@dataclass(frozen=True)
class Search:
    """How triggers are searched.

    Fields:
        steps: maximal number of steps of Adam.
        rate: step size of Adam.
        success: share of the rows that must get the class, above 0 and up to 1.
        penalty: weight of the trigger's size in the loss at the start. Each class has its own weight: it rises by the
            factor 1.5 after `patience` steps with success in a row, and falls by 1.5 ** 1.5 after as many without.
        patience: that number of steps. A class leaves the batch when its trigger has not become smaller by 1 % in ten
            times as many steps and its weight has both risen and fallen.
    """

    steps: int = 100
    rate: float = 0.1
    success: float = 0.98
    penalty: float = 0.001
    patience: int = 5

    def __post_init__(self) -> None:
        if self.steps < 1 or self.patience < 1 or self.rate <= 0 or self.penalty < 0 or not 0 < self.success <= 1:
            raise PluginError(
                "Search.steps and patience >= 1, rate > 0, penalty >= 0, and success above 0 and up to 1",
                f"{self.steps}, {self.patience}, {self.rate}, {self.penalty} and {self.success}",
            )


@dataclass(frozen=True, eq=False)
class Inverted:
    """The triggers that a search found, one for each of k problems.

    Fields:
        space: the space in which they were searched.
        leaves: their numbers, each tensor with k as its first axis.
        sizes: (k,) size of each trigger.
        rates: (k,) share of the rows that get the class; rows that are of this class already do not count.
        losses: (k,) smallest loss of a row during the search, without the penalty.
        steps: (k,) number of steps after which the class left the batch.
        reached: (k,) bool, whether the rate attained the success that was asked for. Otherwise the trigger is the one with
            the highest rate, and its size says nothing.
    """

    space: Space
    leaves: Leaves
    sizes: np.ndarray
    rates: np.ndarray
    losses: np.ndarray
    steps: np.ndarray
    reached: np.ndarray

    @functools.cached_property
    def triggers(self) -> tuple[Trigger, ...]:
        """The triggers as plugins."""
        return tuple(self.space.trigger(self.leaves, i) for i in range(len(self.sizes)))


def invert(
    model: TorchModel,
    x: Tensor,
    classes: Sequence[int],
    space: Space,
    search: Search = Search(),
    generator: torch.Generator | None = None,
    y: Tensor | None = None,
    objective: Objective = to_class,
) -> Inverted:
    """Search one trigger for each class.

    The classes are the first axis of all tensors: every step is one forward and backward pass over k x b rows, in
    evaluation mode, so that no statistic of a batch norm changes. Equal classes are separate problems.

    Args:
        model: the network.
        x: (b, ...) clean rows; ignored by a space of free inputs.
        classes: the class of each problem.
        space: the form of the triggers.
        search: steps, step size and success.
        generator: random numbers for the start of the search, if the space draws any.
        y: (b,) labels of the rows. A row does not count for its own class.
        objective: the loss of each answer.
    """
    drawn = torch.Generator(device=x.device).manual_seed(0) if generator is None else generator
    wanted = torch.as_tensor(list(classes), device=x.device)
    leaves = space.start(len(wanted), model.network.row_shape, drawn)
    found, adam = _Progress(wanted, leaves, search), _Adam(leaves, search.rate, space.isotropic)
    for step in range(search.steps + 1):
        leaves = tuple(leaf.detach().requires_grad_() for leaf in leaves)
        shown, target = space.shown(leaves, x), wanted[found.live]
        logits = model.network.logits(model.vector, shown.flatten(0, 1), model.buffers).unflatten(0, shown.shape[:2])
        counted = torch.ones(shown.shape[:2], device=x.device) if y is None else (y != target[:, None]).float()
        rows, size = objective(logits, target), space.size(leaves)
        loss = _mean(rows, counted) + found.weight[found.live] * size
        rate = _mean((logits.detach().argmax(2) == target[:, None]).float(), counted)
        done = found.judge(step, leaves, size.detach(), rate, rows.detach())
        if step == search.steps or bool(done.all()):
            break
        leaves = space.projected(adam.moved(leaves, torch.autograd.grad(loss.sum(), leaves)))
        if bool(done.any()):
            found.live, leaves = found.live[~done], tuple(leaf[~done] for leaf in leaves)
            adam.drop(done)
    return found.result(space)


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """(k,) mean over the rows that count; 0 if none does."""
    return (values * counted).sum(1) / counted.sum(1).clamp(min=1)


class _Progress:
    """The best trigger of each of k problems so far, and the weight of its size in the loss."""

    def __init__(self, wanted: Tensor, leaves: Leaves, search: Search) -> None:
        k, device = len(wanted), wanted.device

        def numbers(value: float) -> Tensor:
            return torch.full((k,), float(value), device=device)

        self.search, self.live = search, torch.arange(k, device=device)  # the problems that are still in the batch
        self.best = tuple(leaf.clone() for leaf in leaves)
        self.size, self.rate, self.loss, self.lowest = (
            numbers(value) for value in (torch.inf, -1, torch.inf, torch.inf)
        )
        self.weight, self.last = numbers(search.penalty), numbers(search.steps)
        self.met, self.missed, self.still = numbers(0), numbers(0), numbers(0)  # steps in a row
        self.rose, self.fell = numbers(0).bool(), numbers(0).bool()

    def judge(self, step: int, leaves: Leaves, size: Tensor, rate: Tensor, rows: Tensor) -> Tensor:
        """Compare the triggers of this step with the best ones; returns which problems of the batch are finished."""
        live, good, mean = self.live, rate >= self.search.success, rows.mean(1)
        before = self.size[live]
        smaller = (size < before) | ((size == before) & (mean < self.loss[live]))
        first = self.rate[live] < self.search.success
        closer = (rate > self.rate[live]) | ((rate == self.rate[live]) & (mean < self.loss[live]))
        better = torch.where(good, first | smaller, closer)
        self.still[live] = torch.where(good & (first | (size < 0.99 * before)), 0, self.still[live] + 1)
        chosen = live[better]
        self.size[chosen], self.rate[chosen], self.loss[chosen] = size[better], rate[better], mean[better]
        for kept, leaf in zip(self.best, leaves, strict=True):
            kept[chosen] = leaf.detach()[better]
        self.lowest[live] = torch.minimum(self.lowest[live], rows.amin(1))
        self._weigh(good)
        ends = (self.still[live] >= 10 * self.search.patience) & self.rose[live] & self.fell[live]
        ends &= self.rate[live] >= self.search.success
        self.last[live[ends]] = step
        return ends

    def _weigh(self, good: Tensor) -> None:
        live, patience = self.live, self.search.patience
        self.met[live] = torch.where(good, self.met[live] + 1, 0)
        self.missed[live] = torch.where(good, 0, self.missed[live] + 1)
        up, down = live[self.met[live] >= patience], live[self.missed[live] >= patience]
        self.weight[up] *= 1.5
        self.weight[down] /= 1.5**1.5
        self.met[up], self.missed[down] = 0, 0
        self.rose[up], self.fell[down] = True, True

    def result(self, space: Space) -> Inverted:
        size, rate, lowest, last = (v.cpu().numpy() for v in (self.size, self.rate, self.lowest, self.last))
        reached = rate >= self.search.success
        return Inverted(space, self.best, size, np.maximum(rate, 0), lowest, last.astype(int), reached)


class _Adam:
    """Adam for problems that leave the batch. The state of torch's own optimiser cannot lose rows.

    If it is isotropic, all numbers of a problem have one step size, as projections onto a Euclidean ball need.
    """

    def __init__(self, leaves: Leaves, rate: float, isotropic: bool) -> None:
        self.rate, self.isotropic, self.steps = rate, isotropic, 0
        self.moments = [(torch.zeros_like(leaf), torch.zeros_like(leaf)) for leaf in leaves]

    def moved(self, leaves: Leaves, gradients: Leaves) -> Leaves:
        self.steps += 1
        step = self.rate / (1 - 0.9**self.steps)
        new = []
        for leaf, gradient, (first, second) in zip(leaves, gradients, self.moments, strict=True):
            first.lerp_(gradient, 0.1)
            square = gradient.square()
            if self.isotropic:
                square = square.mean(dim=tuple(range(1, square.dim())), keepdim=True).expand_as(square)
            second.lerp_(square, 0.001)
            new.append(leaf.detach() - step * first / ((second / (1 - 0.999**self.steps)).sqrt() + 1e-8))
        return tuple(new)

    def drop(self, done: Tensor) -> None:
        self.moments = [(first[~done], second[~done]) for first, second in self.moments]
