"""DeepConfuse: an auto-encoder that learns perturbations from the training trajectories of surrogates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.attacks.availability.perturbations.bounded import (
    check_ball,
    check_positive,
    chosen,
    clean_rows,
    perturbed,
    targets,
)
from antivenom.attacks.availability.perturbations.generator import Generator, generator
from antivenom.core.protocols import Architecture, AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.models.architectures import MLP
from antivenom.models.network import Network, build


@attack(
    access=(Access.DATA_MANIPULATION,),
    goal=Goal.AVAILABILITY,
    cite="Feng, Cai and Zhou 2019, arXiv:1905.09027",
)
class DeepConfuse:
    """Trains an auto-encoder to perturb rows such that a model trained on them fails on clean rows.

    Each trial trains a new surrogate f on perturbed rows. At every step of f, the generator g is updated such that this
    step of f maximises the loss on clean rows. Weakness: it needs many trials; adversarial training, clean rows or
    LinearProbe defeat it. The defaults are meant for two cores, where many short trials work best. The paper uses a GPU,
    convolutional f and g, 60,000 images, 500 trials, batches of 64, and learning rates of 0.01 and 1e-4.

    Fields:
        poisoned_rate: share of the rows that are perturbed, 0 to 1.
        epsilon: maximal change of a feature (linf), for features in [0, 1].
        surrogate: f, a torch architecture; it is trained without dropout.
        trials: T, number of surrogates that are trained one after another.
        epochs: epochs of f in a trial.
        batch_size: rows per step.
        learning_rate: a_f, learning rate of f (SGD).
        generator_rate: a_g, learning rate of g (Adam).
        code: width of the hidden layer of g.
        label_specific: whether predictions are moved from class y to the next class, which needs fewer trials, or to any
            other class.

    Reference: Feng, Cai and Zhou 2019, "Learning to Confuse: Generating Training Time Adversarial Data with
    Auto-Encoder", NeurIPS, arXiv:1905.09027, Algorithm 2 (in memory).
    """

    poisoned_rate: float = 1.0
    epsilon: float = 0.3
    surrogate: Architecture = MLP()
    trials: int = 200
    epochs: int = 1
    batch_size: int = 512
    learning_rate: float = 0.1
    generator_rate: float = 2e-3
    code: int = 256
    label_specific: bool = True

    def __post_init__(self) -> None:
        check_ball(self.poisoned_rate, self.epsilon, self)
        check_positive(self, trials=self.trials, epochs=self.epochs, batch_size=self.batch_size, code=self.code)
        check_positive(self, learning_rate=self.learning_rate, generator_rate=self.generator_rate)

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        clean, streams = clean_rows(data), context.streams
        rows = chosen(self.poisoned_rate, len(data), streams)
        if not len(rows):
            return Poison.none(data)
        x, y = torch.tensor(clean), torch.tensor(data.y)
        following = torch.tensor(targets(clean, data.y, data.num_classes, "next"))
        wanted = following[y] if self.label_specific else y
        made = generator(data.shape, self.code, self.epsilon, streams)
        optimizer = torch.optim.Adam(made.parameters(), lr=self.generator_rate, fused=True)
        order = streams.numpy("order")
        for trial in range(self.trials):
            network = build(self.surrogate, data.shape, data.num_classes, streams.child("surrogate", trial))
            theta, worn = network.initial, _worn(made, x)  # f is trained with g as it was at the start of the trial
            for _ in range(self.epochs):
                for batch in torch.as_tensor(order.permutation(len(y))).split(self.batch_size):
                    optimizer.zero_grad()
                    self._harm(network, theta, made, x[batch], y[batch], wanted[batch]).backward()
                    optimizer.step()
                    theta = theta - self.learning_rate * _slope(network, theta, worn[batch], y[batch])
        return perturbed(data, rows, (_worn(made, x) - x).numpy()[rows])

    def _harm(self, network: Network, theta: Tensor, made: Generator, x: Tensor, y: Tensor, wanted: Tensor) -> Tensor:
        """The loss of g, after a step of f on rows perturbed by g: minus f's clean loss, or its loss at wanted classes."""
        ahead = theta - self.learning_rate * _slope(network, theta, (x + made(x)).clamp(0, 1), y, graph=True)
        loss = F.cross_entropy(network.logits(ahead, x), wanted)
        return loss if self.label_specific else -loss


def _worn(made: Generator, x: Tensor) -> Tensor:
    """All rows (n, ...) with the perturbations of g."""
    with torch.no_grad():
        return torch.cat([(part + made(part)).clamp(0, 1) for part in x.split(1000)])


def _slope(network: Network, theta: Tensor, x: Tensor, y: Tensor, graph: bool = False) -> Tensor:
    """Gradient (d,) of the mean cross-entropy in the parameters; with `graph`, it can be differentiated with respect to x."""
    theta = theta.detach().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(network.logits(theta, x), y), theta, create_graph=graph)[0]
