"""A robust learner that leaves out the rows that are learnt first."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import robust_learner
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.defences.repair.loops import settings
from antivenom.models.network import Network
from antivenom.models.schedules import Constant
from antivenom.models.training import Forward, Loss, train
from antivenom.models.wrappers import TorchModel

PICKED = 32  # isolated rows that join each batch


@robust_learner(
    access=(Access.DATA_INJECTION, Access.DATA_MANIPULATION),
    goal=Goal.BACKDOOR,
    cite="Li et al. 2021, NeurIPS, arXiv:2110.11571",
)
class ABL:
    """Anti-backdoor learning: finds the rows that are learnt first, leaves them out, and can unlearn the first of them.

    A trigger is learnt faster than anything else. In a first short training the loss of a batch is raised again whenever it
    is below `floor`, which holds honest rows back, and rows are ordered by their loss after its epochs. The pipeline's
    training then uses no row of the lowest share `left_out`. With `unlearning` it also climbs the loss of the lowest share
    `isolated`, up to that of a guess, log c for c classes. It needs a torch network and no clean rows.

    The paper trains on all rows and then climbs. In a network of 9,000 parameters climbing lost the target class together
    with the trigger, and without poison it cost five points of accuracy, so that it is off by default.

    Weakness: triggers that are not learnt first are missed, and honest rows are left out in their place: those blended into
    the whole image, those with weak or rare poison, and all with right labels.

    Fields:
        isolated: share of the rows that is unlearnt, above 0 and at most `left_out`.
        left_out: share of the rows that is not trained on, below 1. It must hold nearly all poisoned rows.
        isolating: epochs of the first training, at least 1.
        learning_rate: step size of the first training, which uses SGD with momentum .9 and batches of 64 rows.
        floor: the loss below which the first training climbs, >= 0 (gamma).
        unlearning: weight of the climb on the isolated rows, >= 0.

    Reference: Li, Lyu, Koren, Lyu, Li and Ma 2021, "Anti-Backdoor Learning: Training Clean Models on Poisoned Data", NeurIPS,
    arXiv:2110.11571.
    """

    isolated: float = 0.01
    left_out: float = 0.2
    isolating: int = 2
    learning_rate: float = 0.01
    floor: float = 0.5
    unlearning: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.isolated <= self.left_out < 1:
            raise PluginError(
                "ABL.isolated above 0 and at most left_out, which is below 1", f"{self.isolated} and {self.left_out}"
            )
        if self.isolating < 1 or not 0 < self.learning_rate < math.inf:
            raise PluginError("ABL.isolating >= 1 and learning_rate > 0", f"{self.isolating} and {self.learning_rate}")
        if not 0 <= self.floor < math.inf or not 0 <= self.unlearning < math.inf:
            raise PluginError("ABL.floor and unlearning >= 0", f"{self.floor} and {self.unlearning}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Model:
        network, x, y = network_for(self, data, context)
        order = np.argsort(self.losses(network, x, y, context), kind="stable")
        rest = np.sort(order[int(self.left_out * len(data)) :])
        if not self.unlearning:
            return context.fit(data[rest], "rest")
        easy = torch.as_tensor(order[: max(1, int(self.isolated * len(data)))], device=x.device)
        return context.fit(data[rest], "rest", unlearning(x[easy], y[easy], self.unlearning, context))

    def losses(self, network: Network, x: Tensor, y: Tensor, context: DefenceContext) -> np.ndarray:
        """(n,) loss of each row, averaged over the ends of the epochs of the first training."""
        once = settings(len(y), 1, self.learning_rate, schedule=Constant())
        vector, buffers = network.initial, network.buffers
        total = torch.zeros(len(y), device=x.device)
        for epoch in range(self.isolating):
            streams = context.streams.child("isolating").child(epoch)
            vector, buffers = train(network, vector, x, y, once, streams, self.held_up, buffers)
            with torch.no_grad():
                logits = torch.cat([network.logits(vector, part, buffers) for part in x.split(1024)])
            total += F.cross_entropy(logits, y, reduction="none")
        return np.asarray((total / self.isolating).cpu().numpy())

    def held_up(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The mean loss of the batch, whose sign is turned below `floor` (local gradient ascent)."""
        loss = F.cross_entropy(forward(x), y)
        return (loss.detach() - self.floor).sign() * loss


def network_for(defence: object, data: Dataset, context: DefenceContext) -> tuple[Network, Tensor, Tensor]:
    """The untrained network of the pipeline, with the rows (n, ...) and labels (n,) on its device, for a training of one's own.

    Raises:
        DataError: fewer than two rows.
        NotApplicable: the pipeline's model is no torch network.
    """
    name = type(defence).__name__
    if len(data) < 2:
        raise DataError(f"at least 2 rows for {name}", f"{len(data)}")
    untrained = context.fit(data[np.unique(data.y, return_index=True)[1]])  # only its architecture is used
    if not isinstance(untrained, TorchModel):
        raise NotApplicable(f"a torch network for {name}", type(untrained).__name__, "choose MLP or SmallCNN")
    network = untrained.network
    return network, network.rows(data.inputs), torch.tensor(data.y, device=network.initial.device)


def unlearning(x: Tensor, y: Tensor, weight: float, context: DefenceContext) -> Loss:
    """A loss that learns each batch and unlearns rows beside it.

    It is the cross-entropy of the batch, less `weight` times that of some of the rows x (k, ...) with labels y (k,), each
    capped at the loss of a guess, log c for c classes.
    """
    rng = context.streams.numpy("unlearning")

    def loss(forward: Forward, batch: Tensor, labels: Tensor) -> Tensor:
        picked = torch.as_tensor(rng.integers(len(y), size=min(PICKED, len(labels))), device=batch.device)
        logits = forward(torch.cat([batch, x[picked]]))
        climbed = F.cross_entropy(logits[len(labels) :], y[picked], reduction="none")
        capped = climbed.clamp(max=math.log(max(logits.shape[1], 2)))
        return F.cross_entropy(logits[: len(labels)], labels) - weight * capped.mean()

    return loss
