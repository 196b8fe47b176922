"""CRFL: global parameters that are clipped and made noisy in every round, so that a prediction can be certified."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import Aggregator, ServerView
from antivenom.core.streams import Streams
from antivenom.federated.aggregation import aggregator, has_memory, step_of
from antivenom.federated.aggregators import Mean
from antivenom.federated.needs import streams_of
from antivenom.models.network import Network


@aggregator(goal="backdoor", cite="Xie et al. 2021, ICML, arXiv:2106.08283")
class CRFL:
    """Clips the global parameters (not the updates) to a norm and adds noise to them after each aggregation.

    The smoothed model's prediction then has a radius (`certified_radius`) within which poison of a bounded size cannot
    change it. Weakness: the certificate is proven for logistic regression trained by SGD on rows of norm at most 1, with
    a learning rate of at most 1 over the smoothness of the loss and fixed shares of a mean; it covers one poisoned
    round, and shrinks with the attacker's boost, local steps and share; noise costs accuracy.

    Fields:
        rho: bound of the parameters' norm, to which growth * round is added.
        growth: rise of the bound per round.
        sigma: standard deviation of the noise on each parameter.
        rule: aggregates the updates before that.

    Reference: Xie et al. 2021, ICML, arXiv:2106.08283, algorithm 1.
    """

    rho: float = 2.0
    growth: float = 0.1
    sigma: float = 0.01
    rule: Aggregator = Mean()

    def __post_init__(self) -> None:
        if not (self.rho > 0 and self.growth >= 0 and self.sigma >= 0):
            raise PluginError("rho > 0, growth and sigma >= 0", f"{self.rho}, {self.growth} and {self.sigma}")

    @property
    def has_memory(self) -> bool:
        """That of the rule before."""
        return has_memory(self.rule)

    def bound(self, number: int) -> float:
        """The norm that parameters are clipped to in a round."""
        return self.rho + self.growth * number

    def clipped(self, vector: Tensor, number: int) -> Tensor:
        """(d,) parameters, shortened to the bound of a round."""
        length = float(torch.linalg.vector_norm(vector, dtype=torch.float64))
        return vector * min(1.0, self.bound(number) / length) if length else vector

    def step(
        self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None, state: object = None
    ) -> tuple[Tensor, Any]:
        """What moves the parameters to their clipped, noisy successors. Of a bare matrix, parameters start at 0."""
        aggregate, state = step_of(self.rule)(updates, weights, view, state)
        start = torch.zeros_like(aggregate) if view is None else view.start
        streams, number = streams_of(view), 1 if view is None else view.round
        end = self.clipped(start + aggregate, number)
        noise = torch.as_tensor(streams.numpy("crfl").standard_normal(len(end)), dtype=end.dtype, device=end.device)
        return end + self.sigma * noise - start, state


def smoothed_votes(
    network: Network, vector: Tensor, x: Tensor, sigma: float, samples: int, streams: Streams
) -> np.ndarray:
    """(m, c) how many of `samples` noisy copies of the parameters give each row each class.

    `vector` (d,) are the parameters of the last round, clipped but before their noise, which is drawn here; the authors
    save their models there. Where they carry noise already, clip them once more and count that as one more round.
    """
    votes = torch.zeros(len(x), network.num_classes, dtype=torch.int64, device=x.device)
    generator = streams.torch("smoothing", device=vector.device)
    rows = torch.arange(len(x), device=x.device)
    for _ in range(samples):
        noisy = vector + sigma * torch.empty_like(vector).normal_(generator=generator)
        with torch.no_grad():
            votes[rows, network.logits(noisy, x).argmax(dim=1)] += 1
    return votes.cpu().numpy()


def certified_radius(
    votes: np.ndarray,
    rule: CRFL,
    attacked_round: int,
    rounds: int,
    shares: Sequence[float],
    boost: float,
    local_steps: float,
    learning_rate: float,
    poisoned_rate: float,
    alpha: float = 0.001,
) -> tuple[np.ndarray, np.ndarray]:
    """The smoothed class (m,) of each row, and how much poison it outlives: the L2 size of the change of each poisoned row.

    Each certificate holds with confidence 1 - alpha; -1 where the vote is too close. The radius is the authors'. Their
    code bounds one side of the share of one class, by Hoeffding's inequality with log(1 / alpha), after it has chosen the
    two classes by the same votes; here both sides of all classes are bounded at once, so the choice is covered.

    Fields:
        votes: (m, c) from `smoothed_votes`, with the noise of the last round; c >= 2.
        attacked_round, rounds: the poisoned round, and the last.
        shares: the weight in the mean of each attacker.
        boost: by which they multiply their update.
        local_steps: SGD steps of an agent per round.
        learning_rate: of SGD.
        poisoned_rate: share of poisoned rows in the attackers' batches.
        alpha: how often a certificate may be wrong.

    Raises:
        PluginError: no later round, no attacker, no noise, or an alpha that is no probability.

    Reference: Xie et al. 2021, ICML, arXiv:2106.08283, theorem 1, with the constants of the authors' code.
    """
    if not 1 <= attacked_round < rounds or not shares:
        raise PluginError("1 <= attacked_round < rounds and an attacker", f"{attacked_round}, {rounds}, {shares}", "")
    if not (rule.sigma > 0 and 0 < alpha < 1):
        raise PluginError(
            "sigma > 0 and alpha between 0 and 1", f"{rule.sigma} and {alpha}", "no noise, no certificate"
        )
    from scipy.special import ndtr

    counts = np.sort(votes, axis=1)[:, ::-1]
    total = counts.sum(axis=1)
    slack = np.sqrt(math.log(2 * votes.shape[1] / alpha) / (2 * total))
    first, second = counts[:, 0] / total - slack, np.minimum(counts[:, 1] / total + slack, 1.0)
    rho = rule.bound(attacked_round)
    lipschitz = 2 + 2 * rho + rho**2  # squared, of the gradient of a softmax regression in its row and label
    contraction = math.prod(
        2 * ndtr(rule.bound(number) / rule.sigma) - 1 for number in range(attacked_round + 1, rounds + 1)
    )
    scale = 2 * len(shares) * lipschitz * sum(share**2 for share in shares)
    scale *= (boost * local_steps * learning_rate * poisoned_rate) ** 2 * contraction
    margin = np.square(np.sqrt(np.maximum(first, 0)) - np.sqrt(second))
    with np.errstate(divide="ignore"):
        radius = np.sqrt(-np.log1p(-margin) * rule.sigma**2 / scale)
    return votes.argmax(axis=1), np.where(first > second, radius, -1.0)
