"""The imprint layer, with which the server of a federation reconstructs a client's rows from one update."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.streams import Streams
from antivenom.leakage.layers import dense_chain
from antivenom.leakage.traps import quotients
from antivenom.models.wrappers import TorchModel


@dataclass(frozen=True)
class Imprint:
    """Makes every unit of the first dense layer measure the mean brightness of a row, with quantiles as thresholds.

    The gradients of neighbouring units differ only by the rows between their two thresholds. So a row that is alone
    between two thresholds is reconstructed exactly from one update of any batch size. Weakness: all units have the same
    direction, which an inspection reveals; the model is useless as a classifier; noise on the update hides the rows.

    Fields:
        noise: length of a random part of each unit's direction, relative to the common part, >= 0. It conceals the
            pattern and makes the thresholds less sharp.

    Reference: Fowl et al. 2022, "Robbing the Fed: Directly Obtaining Private Data in Federated Learning with Modified
    Models", ICLR 2022, arXiv:2110.13057 (the quantiles here are those of the server's own rows).
    """

    noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.noise < float("inf"):
            raise PluginError("a finite Imprint.noise >= 0", f"{self.noise}")

    def plant(self, model: TorchModel, rows: np.ndarray, streams: Streams) -> TorchModel:
        """The manipulated model, calibrated on the server's own rows (m, ...), which resemble those of the clients."""
        first, second, *_ = dense_chain(model.network)
        vector = model.vector.detach().clone()
        weights = model.network.parameters(vector)
        bins, features = weights[f"{first}.weight"].shape
        if features != math.prod(model.network.row_shape):
            raise NotApplicable("dense layers alone", "convolutions in front", "send models.reference.MLP")
        x = torch.tensor(np.ascontiguousarray(rows, dtype=np.float32)).flatten(1)
        random = torch.randn(bins, features, generator=streams.torch("noise")) / features
        weights[f"{first}.weight"][:] = 1 / features + self.noise * random
        measured = (x @ weights[f"{first}.weight"].T).sort(dim=0).values  # (m, bins)
        units = torch.arange(bins)
        weights[f"{first}.bias"][:] = -measured[units * len(x) // bins, units]
        weights[f"{first}.bias"][0] += float(measured.std())  # so that the first threshold is below the darkest row
        outgoing = torch.randn(len(weights[f"{second}.weight"]), generator=streams.torch("outgoing"))
        weights[f"{second}.weight"][:] = outgoing.unsqueeze(1) / bins
        return model.with_vector(vector)

    def read(self, planted: TorchModel, update: Tensor) -> np.ndarray:
        """Reconstructions (g, *shape) from a client's update (d,): a change of parameters or a negative gradient."""
        first = dense_chain(planted.network)[0]
        change = planted.network.parameters(update)
        weights, biases = change[f"{first}.weight"].double(), change[f"{first}.bias"].double()
        last = torch.zeros_like(biases[:1])  # there are no rows beyond the last bin
        between = weights - torch.cat([weights[1:], torch.zeros_like(weights[:1])])
        return quotients(between, biases - torch.cat([biases[1:], last]), planted.network.row_shape, 1e-9)
