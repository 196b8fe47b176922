"""The two server checks of Bhagoji et al.: the accuracy of an agent's model, and the range of its distances."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch

from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import Need, ServerView
from antivenom.core.registry import client_detector, require_range
from antivenom.core.verdict import Verdict
from antivenom.federated.aggregators import compared
from antivenom.federated.answers import accuracy
from antivenom.federated.distances import distances
from antivenom.federated.needs import network_of


@client_detector(goal=("availability", "targeted"), cite="Bhagoji et al. 2019, arXiv:1811.12470, section 2.3")
class AccuracyCheck:
    """Flags an agent whose own model is less accurate on validation rows than the model of all other agents.

    The score is acc(w + sum over j != i of a_j u_j) - acc(w + u_i). The paper prints the inequality with the opposite
    sign, which would accept every bad model. Weakness: it needs honest validation rows, and
    alternating minimisation keeps the malicious model accurate.

    Fields:
        gamma: tolerated difference in accuracy (0 to 1); 0.1 in the paper.

    Reference: Bhagoji et al. 2019, arXiv:1811.12470, section 2.3.
    """

    gamma: float = 0.1
    needs: ClassVar[frozenset[Need]] = frozenset({Need.NETWORK, Need.ROOT_ROWS})

    def __post_init__(self) -> None:
        require_range(self, 0, 1, "gamma")

    def __call__(self, view: ServerView, state: None) -> tuple[Verdict, None]:
        if view.validation is None:
            raise NotApplicable("validation rows of the server", "none", "set validation_rows in the scenario")
        device = view.start.device
        x, y = torch.tensor(view.validation.inputs, device=device), torch.tensor(view.validation.y, device=device)
        network, weighted = network_of(view, self), view.weights[:, None] * view.updates
        total = weighted.sum(dim=0)
        gaps = [
            accuracy(network, view.start + total - weighted[i], x, y)
            - accuracy(network, view.start + view.updates[i], x, y)
            for i in range(len(view.updates))
        ]
        scores = np.array(gaps)
        return Verdict(scores, scores > self.gamma), None


@client_detector(goal=("availability", "targeted"), cite="Bhagoji et al. 2019, arXiv:1811.12470, section 2.3")
class RangeCheck:
    """Flags an agent whose distances to the others leave the range of the others' distances among themselves.

    The score of agent i is max(|max d(i, .) - min d|, |min d(i, .) - max d|), the inner extremes taken over pairs
    without i; too high from kappa on. The paper scores one known suspect. A server knows none, and one outlier raises
    the score of everybody, so the agent without whom the others lie closest is taken out first, and the rest is scored
    again. Weakness: kappa has no natural unit and must be set for each network from clean rounds, and a stealth term in
    the attacker's loss keeps the distances in range.

    Fields:
        kappa: tolerated excess, in the L2 units of the updates; 5 separates the paper's attacks on Fashion-MNIST.
        kernels_only: leave biases out, as in the authors' code.

    Reference: Bhagoji et al. 2019, arXiv:1811.12470, section 2.3.
    """

    kappa: float = 5.0
    kernels_only: bool = False

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "kappa")

    @property
    def needs(self) -> frozenset[Need]:
        """The layers, to tell weights from biases."""
        return frozenset({Need.LAYERS}) if self.kernels_only else frozenset()

    def __call__(self, view: ServerView, state: None) -> tuple[Verdict, None]:
        apart = distances(compared(view.updates, self.kernels_only, view)).cpu().numpy()
        scores = np.zeros(len(apart))
        flags = np.zeros(len(apart), dtype=bool)
        left = np.arange(len(apart))
        while len(left) >= 3:
            among = apart[np.ix_(left, left)]
            scores[left] = range_statistics(among)
            if scores[left].max() < self.kappa:
                break
            worst = left[np.argmin([_spread(np.delete(np.delete(among, i, 0), i, 1)) for i in range(len(left))])]
            flags[worst] = True
            left = left[left != worst]
        return Verdict(scores, flags), None


def range_statistics(apart: np.ndarray) -> np.ndarray:
    """(n,) the range check's score of every agent from the (n, n) distances between them."""
    return np.array([range_statistic(apart, agent) for agent in range(len(apart))])


def range_statistic(apart: np.ndarray, agent: int) -> float:
    """The score of one agent; 0 among fewer than three agents, where no other pair exists."""
    n = len(apart)
    if n < 3:
        return 0.0
    others = np.delete(np.arange(n), agent)
    own = apart[agent, others]
    pairs = apart[np.ix_(others, others)][np.triu_indices(n - 1, k=1)]
    return float(max(abs(own.max() - pairs.min()), abs(own.min() - pairs.max())))


def _spread(apart: np.ndarray) -> float:
    """The largest distance between any two."""
    return float(apart.max(initial=0.0))
