"""Backdoors by model replacement: train one into the own model, and scale the update so that it survives averaging."""

from __future__ import annotations

import enum
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import AgentView
from antivenom.core.registry import agent, require_range
from antivenom.core.threat import Access, Goal
from antivenom.federated.agents.implanting import backdoor_rows, backdoored, check_implanting
from antivenom.federated.agents.objectives import client_of, each_client, each_member
from antivenom.federated.clients import Client

GOALS = (Goal.BACKDOOR, Goal.TARGETED)


@agent(access=(Access.DATA_INJECTION,), goal=GOALS, cite="Gu et al. 2017, arXiv:1708.06733")
class ClientBadNets:
    """Trains honestly on its shard plus backdoor copies of its rows: data poisoning by a client, nothing boosted.

    Weakness: averaging over the others dilutes it, and it fades as soon as the client stops.

    Fields:
        poisoned_rate: rows added, as a share of the shard, 0 or more.

    Reference: Gu et al. 2017, arXiv:1708.06733; in a federation: Bagdasaryan et al. 2020, arXiv:1807.00459.
    """

    poisoned_rate: float = 0.5

    def __post_init__(self) -> None:
        require_range(self, 0, math.inf, "poisoned_rate")

    def __call__(self, view: AgentView) -> Tensor:
        def client(member: int) -> Client:
            x, y = view.shards[member]
            bad_x, bad_y = backdoor_rows(view, member)
            streams = view.streams.child("member", member)
            number = round(self.poisoned_rate * len(y)) if len(bad_y) else 0
            drawn = torch.as_tensor(
                streams.numpy("draws").integers(0, max(len(bad_y), 1), size=number), device=x.device
            )
            rows, labels = torch.cat([x, bad_x[drawn]]), torch.cat([y, bad_y[drawn]])
            order = torch.as_tensor(streams.numpy("shuffle").permutation(len(labels)), device=x.device)
            return client_of(view, rows[order], labels[order], streams.child("honest"))

        return each_client(view, client)


@agent(goal=GOALS, cite="Bagdasaryan et al. 2020, arXiv:1807.00459")
class ModelReplacement:
    """Trains a backdoored model and sends boost * (model - global), so that the average becomes that model.

    One shot is enough once the others' updates nearly cancel. Weakness: the update is about 1/a times as long as an
    honest one, so a norm bound stops it.

    Fields:
        share: of every batch that is backdoor rows, 0 to 1; 20 of 64 in the paper.
        epochs: passes over the own shard; None is what an honest agent makes.
        learning_rate: None is the honest one; the paper lowers it.
        boost: factor (gamma = n / eta); None is 1/a shared among the malicious agents.

    Reference: Bagdasaryan et al. 2020, AISTATS, arXiv:1807.00459, section 3.2.
    """

    share: float = 0.3125
    epochs: int | None = None
    learning_rate: float | None = None
    boost: float | None = None

    def __post_init__(self) -> None:
        check_implanting(self)

    def __call__(self, view: AgentView) -> Tensor:
        return view.factor(self.boost) * each_member(view, lambda member: backdoored(self, view, member))


class Anomaly(enum.StrEnum):
    """What a detector is thought to look at."""

    L2 = "l2"
    COSINE = "cosine"


@agent(goal=GOALS, cite="Bagdasaryan et al. 2020, arXiv:1807.00459")
class ConstrainAndScale:
    """Model replacement whose loss also holds what a detector would look at: alpha * L_class + (1 - alpha) * L_ano.

    Training ends when the backdoor is learnt. With `bound` it is train-and-scale: the update is scaled to that length, the
    largest that the server lets pass. Weakness: the term fights the backdoor, and the detector must be guessed.

    Fields:
        alpha: weight of the class loss, 0 to 1.
        anomaly: l2 (half the squared distance to the global model) or cosine (1 - cosine of the two models).
        share: of every batch that is backdoor rows, 0 to 1; 20 of 64 in the paper.
        epochs: passes over the own shard; None is what an honest agent makes.
        learning_rate: None is the honest one; the paper lowers it.
        stop_loss: loss on backdoor rows at which training ends (epsilon in the paper).
        boost: factor; None is 1/a shared among the malicious agents.
        bound: length that the update is scaled to (S), in the L2 unit of updates; None scales by `boost`.

    Reference: Bagdasaryan et al. 2020, AISTATS, arXiv:1807.00459, section 3.3.
    """

    alpha: float = 0.7
    anomaly: Anomaly = Anomaly.L2
    share: float = 0.3125
    epochs: int | None = None
    learning_rate: float | None = None
    stop_loss: float = 0.01
    boost: float | None = None
    bound: float | None = None

    def __post_init__(self) -> None:
        check_implanting(self)
        require_range(self, 0, math.inf, "stop_loss")
        if not 0 <= self.alpha <= 1 or (self.bound is not None and self.bound < 0):
            raise PluginError("alpha from 0 to 1 and bound >= 0", f"{self.alpha} and {self.bound}")

    def __call__(self, view: AgentView) -> Tensor:
        def seen(vector: Tensor) -> Tensor:
            return anomaly(vector, view.start, self.anomaly)

        def update(member: int) -> Tensor:
            sent = backdoored(self, view, member, alpha=self.alpha, term=seen, stop_loss=self.stop_loss)
            factor = view.factor(self.boost) if self.bound is None else self.bound / sent.norm().clamp_min(1e-12)
            return factor * sent

        return each_member(view, update)


def anomaly(vector: Tensor, start: Tensor, kind: Anomaly) -> Tensor:
    """How far the model is from the global one."""
    if Anomaly(kind) is Anomaly.COSINE:
        return 1 - F.cosine_similarity(vector, start, dim=0)
    return 0.5 * (vector - start).square().sum()
