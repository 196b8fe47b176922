"""The imprint layer: a federation's server reads a client's rows out of one update."""

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
    """Makes every unit of the first dense layer measure mean brightness, each from the next quantile on.

    All pass on alike, so that neighbouring units' gradients differ by the rows between two quantiles only: a row that is
    alone in its bin is read exactly, from one update, whatever the batch. Weakness: all rows of the layer are one
    direction, which anybody who looks sees; the model is no use as a classifier; noise on the update drowns it.

    Fields:
        noise: length of a random part of each unit's direction, as a share of the common part, >= 0; hides the pattern
            and blurs the bins.

    Reference: Fowl et al. 2022, "Robbing the Fed: Directly Obtaining Private Data in Federated Learning with Modified
    Models", ICLR 2022, arXiv:2110.13057 (the quantiles here are those of the server's own rows).
    """

    noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.noise < float("inf"):
            raise PluginError("a finite Imprint.noise >= 0", f"{self.noise}", "0 is the paper's layer")

    def plant(self, model: TorchModel, rows: np.ndarray, streams: Streams) -> TorchModel:
        """The model to send out, from rows (m, ...) of the server's own that resemble the clients'."""
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
        weights[f"{first}.bias"][0] += float(measured.std())  # below the darkest row of anybody else
        outgoing = torch.randn(len(weights[f"{second}.weight"]), generator=streams.torch("outgoing"))
        weights[f"{second}.weight"][:] = outgoing.unsqueeze(1) / bins
        return model.with_vector(vector)

    def read(self, planted: TorchModel, update: Tensor) -> np.ndarray:
        """(g, *shape) guesses from a client's update (d,): its parameters minus those sent, or minus a gradient."""
        first = dense_chain(planted.network)[0]
        change = planted.network.parameters(update)
        weights, biases = change[f"{first}.weight"].double(), change[f"{first}.bias"].double()
        last = torch.zeros_like(biases[:1])  # nothing is brighter than the last bin's end
        between = weights - torch.cat([weights[1:], torch.zeros_like(weights[:1])])
        return quotients(between, biases - torch.cat([biases[1:], last]), planted.network.row_shape, 1e-9)
