"""A client detector that leaves out each agent in turn and validates the aggregate on the server's own rows."""

from __future__ import annotations

import enum
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import Aggregator, Need, ServerView
from antivenom.core.registry import client_detector
from antivenom.core.verdict import Verdict
from antivenom.federated.aggregators import Mean
from antivenom.federated.answers import accuracy
from antivenom.federated.needs import network_of
from antivenom.federated.weighting import scaled


class Impact(enum.StrEnum):
    """The measure of an agent's effect on the aggregate."""

    ERROR = "error"
    LOSS = "loss"
    UNION = "union"


@client_detector(
    goal=("availability", "targeted"), cite="Fang et al. 2020, USENIX Security, arXiv:1911.11815, section 5"
)
class LeaveOneOut:
    """Flags the f agents whose updates harm the aggregate most on validation rows: ERR, LFR, or either of the two.

    The score is the rise of error or loss that the agent's update causes. "union" takes the worse of the agent's two
    ranks. Weakness: it flags f agents in honest rounds, too; it needs honest rows and n more calls of the rule; and a
    backdoor costs no accuracy.

    Fields:
        f: how many agents are flagged.
        measure: "error" (ERR), "loss" (LFR) or "union".
        rule: how updates are aggregated with and without the agent.

    Reference: Fang et al. 2020, USENIX Security, arXiv:1911.11815, section 5.
    """

    f: int = 1
    measure: Impact = Impact.UNION
    rule: Aggregator = Mean()
    needs: ClassVar[frozenset[Need]] = frozenset({Need.NETWORK, Need.ROOT_ROWS})

    def __post_init__(self) -> None:
        if self.f < 0:
            raise PluginError("f >= 0", f"{self.f}", "f is how many agents are flagged")

    def __call__(self, view: ServerView, state: None) -> tuple[Verdict, None]:
        if view.validation is None:
            raise NotApplicable("validation rows of the server", "none", "set validation_rows in the scenario")
        device, n = view.start.device, len(view.updates)
        if self.f >= n:
            raise PluginError(f"f < n = {n}", f"f = {self.f}", "an aggregate must be left")
        x = torch.tensor(view.validation.inputs, device=device)
        y = torch.tensor(view.validation.y, device=device)
        whole = self._measured(view, torch.ones(n, dtype=torch.bool), x, y)
        impacts = np.array(
            [whole - self._measured(view, torch.arange(n) != i, x, y) for i in range(n)]
        )  # (n, 2): by how much error and loss rise with agent i present
        match Impact(self.measure):
            case Impact.ERROR:
                scores = impacts[:, 0]
            case Impact.LOSS:
                scores = impacts[:, 1]
            case Impact.UNION:
                scores = impacts.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable").max(axis=1).astype(float)
        flags = np.zeros(n, dtype=bool)
        flags[np.argsort(-scores, kind="stable")[: self.f]] = True
        return Verdict(scores, flags), None

    def _measured(self, view: ServerView, keep: Tensor, x: Tensor, y: Tensor) -> np.ndarray:
        """(error, loss) of the aggregate of the kept agents; their weights are scaled to the sum of all."""
        kept = keep.to(view.updates.device)
        weights = scaled(view.weights[kept], view.total)  # all zero if one agent holds all
        network, vector = network_of(view, self), view.start + self.rule(view.updates[kept], weights, view)
        with torch.no_grad():
            loss = F.cross_entropy(network.logits(vector, x), y)
        return np.array([1 - accuracy(network, vector, x, y), float(loss.nan_to_num(nan=1e30, posinf=1e30))])
