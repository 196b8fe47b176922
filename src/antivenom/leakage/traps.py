"""Data traps: units of a pretrained model that each latch one row of whoever fine-tunes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import ModelError, PluginError
from antivenom.core.streams import Streams
from antivenom.leakage.layers import dense_chain, dense_inputs, open_path
from antivenom.models.wrappers import TorchModel


@dataclass(frozen=True)
class DataTraps:
    """Replaces the least used units of dense layers by units that fire on few inputs and pass a huge logit to one class.

    The loss of the first row that springs a trap pushes it down by gain * (row, 1), so far that no later row fires it; its
    change of weights over its change of bias is the row. Convolutions in front become shifts that pass the image on.
    Weakness: rows that share a batch mix, Adam divides the gradient away, noise drowns it, fine-tuning blurs the shifts;
    the gain is an outlier, and a smaller one latches less.

    Fields:
        count: units turned into traps, per hidden layer.
        rate: share of inputs that spring one trap, above 0 and below 1; about 2 / (rows fine-tuned on) is best.
        gain: outgoing weight, > 0; large against batch size / learning rate.
        bias: whether the unit is kept quiet by its bias; else by its weights, which a look at biases does not see.

    Reference: Feng and Tramèr 2024, "Privacy Backdoors: Stealing Data with Corrupted Pretrained Models", ICML 2024,
    arXiv:2404.00473, with the output layer kept: the attacker's own head gives the gradient its sign. With a small gain and
    one step these are the trap weights of Boenisch et al. 2021, arXiv:2112.02918.
    """

    count: int = 32
    rate: float = 1e-3
    gain: float = 100.0
    bias: bool = True

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.rate < 1 or not 0 < self.gain < float("inf"):
            got = f"{self.count}, {self.rate} and {self.gain}"
            raise PluginError("DataTraps.count >= 1, rate in (0, 1) and gain > 0", got, "correct them")

    def plant(self, model: TorchModel, rows: np.ndarray, streams: Streams) -> TorchModel:
        """The model with traps, tuned on rows (m, ...) of the attacker's own that resemble the victim's."""
        chain = dense_chain(model.network)
        vector, path = open_path(model.network, model.vector.detach())
        weights = model.network.parameters(vector)
        if len(path.inputs) != path.size:  # convolutions gave way, so the dense units lose what these inputs meant
            weights[f"{chain[0]}.weight"][:, path.inputs] = 0
        opened = model.with_vector(vector)
        units = self._least_used(opened, rows, chain)
        x = torch.tensor(np.ascontiguousarray(rows, dtype=np.float32)).flatten(1)[:, path.pixels]
        directions, quiet = self._triggers(x, streams)
        classes = self._unlikely(opened, rows, (x @ directions.T + quiet) > 0)

        for layer, mine in zip(chain[:-1], units, strict=True):
            weights[f"{layer}.weight"][mine] = 0
            weights[f"{layer}.bias"][mine] = 0
        for layer, before in zip(chain[1:], units, strict=True):
            weights[f"{layer}.weight"][:, before] = 0
        weights[f"{chain[0]}.weight"][units[0].unsqueeze(1), path.inputs] = directions
        weights[f"{chain[0]}.bias"][units[0]] = quiet
        for layer, before, mine in zip(chain[1:-1], units, units[1:], strict=False):
            weights[f"{layer}.weight"][mine, before] = 1
        weights[f"{chain[-1]}.weight"][classes, units[-1]] = self.gain
        return model.with_vector(vector)

    def read(self, planted: TorchModel, tuned: TorchModel) -> np.ndarray:
        """(g, *shape) rows that sprung traps hold, clipped to [0, 1]; the reader keeps the model it gave away."""
        first = dense_chain(planted.network)[0]
        _, path = open_path(planted.network, planted.vector)
        before, after = (model.network.parameters(model.vector) for model in (planted, tuned))
        weights = path.row(after[f"{first}.weight"] - before[f"{first}.weight"])
        return quotients(weights, after[f"{first}.bias"] - before[f"{first}.bias"], planted.network.row_shape)

    def _least_used(self, model: TorchModel, rows: np.ndarray, chain: list[str]) -> list[Tensor]:
        """The units of each hidden layer that matter least: mean activation on the rows times outgoing weights."""
        weights, found = model.network.parameters(model.vector), []
        for following, h in zip(chain[1:], dense_inputs(model, rows)[1:], strict=True):
            if self.count > h.shape[1]:
                raise ModelError(
                    f"at least {self.count} units before layer {following}", f"{h.shape[1]}", "plant fewer"
                )
            found.append((h.mean(0) * weights[f"{following}.weight"].norm(dim=0)).argsort()[: self.count])
        return found

    def _triggers(self, x: Tensor, streams: Streams) -> tuple[Tensor, Tensor]:
        """(count, features) directions whose excess over the quantile is about 1, and their biases."""
        draws = torch.randn(self.count, x.shape[1], generator=streams.torch("directions"))
        scores = x @ draws.T
        draws = draws / scores.std(0).unsqueeze(1).clamp_min(1e-6)
        level = torch.quantile(x @ draws.T, 1 - self.rate, dim=0)
        if self.bias:
            return draws, -level
        mean = x.mean(0)  # the typical row answers what the bias would; a random row does so nearly
        return draws - level.unsqueeze(1) * mean / (mean @ mean), torch.zeros(self.count)

    def _unlikely(self, model: TorchModel, rows: np.ndarray, sprung: Tensor) -> Tensor:
        """(count,) the class that the model gives least to the rows which spring each trap."""
        chances = torch.tensor(model.predict_proba(rows))
        hits = sprung.to(chances.dtype)
        return ((hits.T @ chances) / hits.sum(0).clamp_min(1).unsqueeze(1)).argmin(1)


def quotients(weights: Tensor, biases: Tensor, shape: tuple[int, ...], least: float = 1e-7) -> np.ndarray:
    """(g, *shape): change of a unit's weights over change of its bias, where it changed; clipped to [0, 1].

    The gradient of a dense unit is (row, 1) times one number, so this is the row if a single one caused the change.
    """
    moved = biases.abs() > least
    return (weights[moved] / biases[moved].unsqueeze(1)).clamp(0, 1).reshape(-1, *shape).cpu().numpy()
