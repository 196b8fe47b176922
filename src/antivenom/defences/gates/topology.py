"""A gate that follows an input through the layers and looks for neighbours of its predicted class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import DataError
from antivenom.core.protocols import DefenceContext, InputFilter, Model
from antivenom.core.registry import gate
from antivenom.core.threat import Goal
from antivenom.data import Dataset
from antivenom.defences.gates.thresholds import above, mahalanobis
from antivenom.defences.inputs import check_share
from antivenom.defences.networks import network_of, rows_of
from antivenom.models.wrappers import TorchModel

BATCH = 512  # inputs whose activations and distances are held at a time


@gate(goal=Goal.BACKDOOR, cite="Mo et al. 2024, arXiv:2312.02673")
class TED:
    """Refuses inputs that come near to their predicted class only in late layers (topological evolution dynamics).

    In each layer the clean rows are ranked by their distance from the input, and the rank of the first row of the
    predicted class is noted. For an honest input these ranks are small in all layers. A triggered input lies among rows of
    its true class at first. The ranks of the clean rows, each compared with the others, give a mean and a covariance, and
    the score is the squared Mahalanobis distance of an input's ranks from them. It needs a torch network and about fifty
    clean rows of each class.

    Weakness: a trigger that moves an input to the target class in the first layers, such as a large change of the image,
    leaves small ranks. A model that is often wrong gives clean inputs large ranks too. An attacker who trains activations of triggered rows towards those of the target class in every
    layer evades it.

    Fields:
        false_rejection: share of the clean rows that the threshold refuses at most, 0 to 1.

    Reference: Mo, Zhang, Zhang, Luo, Sun, Hu, Gao and Xiang 2024, "Robust Backdoor Detection for Deep Learning via
    Topological Evolution Dynamics", IEEE S&P, arXiv:2312.02673 (there the outlier detector is the PCA of a library).
    """

    false_rejection: float = 0.05

    def __post_init__(self) -> None:
        check_share(self.false_rejection, "TED.false_rejection")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> InputFilter:
        network = network_of(model, self)
        rows, y = rows_of(network, clean, self, least=2)
        neighbours = Neighbours.of(network, rows, y)
        own = neighbours.ranks(rows, leave_out=True)
        score = mahalanobis(own)
        return above(lambda x: score(neighbours.ranks(network.network.rows(x))), score(own), self.false_rejection)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Clean rows that the model gets right, by their activations in each layer.

    Fields:
        model: the network.
        layers: names of layers with a weight matrix, or of the batch norms after them.
        activations: (n, width) for each layer.
        y: (n,) classes of the rows.
        numbers: (n,) their places among the clean rows.
    """

    model: TorchModel
    layers: tuple[str, ...]
    activations: dict[str, Tensor]
    y: Tensor
    numbers: Tensor

    @classmethod
    def of(cls, model: TorchModel, rows: Tensor, y: Tensor) -> Neighbours:
        """The neighbours among rows (n, ...) of classes y (n,).

        Raises:
            DataError: the model gets fewer than two of them right.
        """
        layers = tuple(layer.normalised_by or layer.name for layer in model.network.layers if layer.mixes)
        numbers = torch.nonzero(_predicted(model, rows) == y).flatten()
        if len(numbers) < 2:
            raise DataError("clean rows that the model gets right for TED", f"{len(numbers)}", "raise clean_rows")
        parts = [_activations(model, layers, part) for part in rows[numbers].split(BATCH)]
        joined = {name: torch.cat([part[name] for part in parts]) for name in layers}
        return cls(model, layers, joined, y[numbers], numbers)

    def ranks(self, x: Tensor, leave_out: bool = False) -> np.ndarray:
        """(m, layers) number of neighbours that are closer to each input than the first one of its predicted class.

        It is the number of all neighbours if none is of that class. With `leave_out` the inputs x (m, ...) are the clean
        rows themselves, and no row is its own neighbour.
        """
        found = [np.zeros((0, len(self.layers)))]
        for start in range(0, len(x), BATCH):
            part = x[start : start + BATCH]
            predicted, inside = _predicted(self.model, part), _activations(self.model, self.layers, part)
            same = self.y[None] == predicted[:, None]
            itself = self.numbers[None] == torch.arange(start, start + len(part), device=x.device)[:, None]
            ranks = []
            for name in self.layers:
                distances = torch.cdist(inside[name], self.activations[name])
                if leave_out:
                    distances[itself] = torch.inf
                nearest = torch.where(same, distances, torch.inf).amin(1, keepdim=True)
                ranks.append((distances < nearest).sum(1))
            found.append(torch.stack(ranks, 1).double().cpu().numpy())
        return np.concatenate(found)


def _predicted(model: TorchModel, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model.network.logits(model.vector, part, model.buffers).argmax(1) for part in x.split(BATCH)])


def _activations(model: TorchModel, layers: tuple[str, ...], x: Tensor) -> dict[str, Tensor]:
    """The outputs of the layers, flattened to (m, width)."""
    with torch.no_grad():
        seen = model.network.activations(model.vector, x, layers, model.buffers)
    return {name: out.flatten(1) for name, out in seen.items()}
