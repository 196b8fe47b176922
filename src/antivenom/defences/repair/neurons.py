"""The neurons of batch norms: the channels whose scale and shift a batch norm holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import NotApplicable
from antivenom.defences.networks import untied
from antivenom.models.wrappers import TorchModel


@dataclass(frozen=True, eq=False)
class Neurons:
    """All channels of the batch norms of a network, in the order of execution.

    Fields:
        layers: (n,) name of the batch norm of each neuron.
        scales: (n,) place of its scale in the vector of weights.
        shifts: (n,) place of its shift.
    """

    layers: np.ndarray
    scales: Tensor
    shifts: Tensor

    def __len__(self) -> int:
        return len(self.layers)

    def cut(self, model: TorchModel, which: Iterable[int], shift: bool) -> TorchModel:
        """The model with the scales of these neurons set to 0, and with `shift` their shifts too. Training keeps them so."""
        chosen = torch.as_tensor(list(which), dtype=torch.int64, device=model.vector.device)
        places = torch.cat([self.scales[chosen], self.shifts[chosen]]) if shift else self.scales[chosen]
        vector = model.vector.clone()
        kept = torch.ones_like(vector, dtype=torch.bool) if model.kept is None else model.kept.clone()
        vector[places], kept[places] = 0, False
        return replace(model, vector=vector, kept=kept)


def neurons_of(model: TorchModel, defence: object) -> Neurons:
    """The neurons of the network's batch norms.

    Raises:
        NotApplicable: no batch norm with trained scale and shift, or tied weights.
    """
    network = untied(model, defence).network
    found = [
        layer.name
        for layer in network.layers
        if layer.normalises and all(f"{layer.name}.{part}" in network.shapes for part in ("weight", "bias"))
    ]
    if not found:
        name = type(defence).__name__
        raise NotApplicable(f"a network with batch norm for {name}", "none with trained scales", "use FineTuning")
    places = network.parameters(torch.arange(network.dimension, device=model.vector.device))
    return Neurons(
        np.concatenate([np.full(len(places[f"{name}.weight"]), name, dtype=object) for name in found]),
        torch.cat([places[f"{name}.weight"] for name in found]),
        torch.cat([places[f"{name}.bias"] for name in found]),
    )
