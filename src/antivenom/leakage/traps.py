"""Data traps: units of a pretrained model, each of which captures one row of the user who fine-tunes it."""

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
    """Replaces the least used units of dense layers by units that fire on few inputs and strongly favour one class.

    When a row activates a trap, the gradient changes its weights and bias by a multiple of (row, 1), so far that no later
    row activates it again. The change of its weights divided by the change of its bias is the row. Convolutions before
    the dense layers become shifts that preserve the image. Weakness: rows of one batch mix, Adam rescales the gradient,
    noise hides it, and fine-tuning changes the shifts. The gain is an outlier; a smaller gain captures fewer rows.

    Fields:
        count: number of traps per hidden layer.
        rate: share of inputs that activate a trap, above 0 and below 1; the best value is about 2 / (number of rows).
        gain: outgoing weight, > 0; it must be large compared with batch size / learning rate.
        bias: whether the bias keeps a trap inactive; otherwise its weights do, so that the biases look ordinary.

    Reference: Feng and Tramèr 2024, "Privacy Backdoors: Stealing Data with Corrupted Pretrained Models", ICML 2024,
    arXiv:2404.00473. Here the output layer of the attacker is kept, which determines the sign of the gradient. With a
    small gain and one step, these are the trap weights of Boenisch et al. 2021, arXiv:2112.02918.
    """

    count: int = 32
    rate: float = 1e-3
    gain: float = 100.0
    bias: bool = True

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.rate < 1 or not 0 < self.gain < float("inf"):
            got = f"{self.count}, {self.rate} and {self.gain}"
            raise PluginError("DataTraps.count >= 1, rate in (0, 1) and gain > 0", got)

    def plant(self, model: TorchModel, rows: np.ndarray, streams: Streams) -> TorchModel:
        """The model with traps, calibrated on the attacker's own rows (m, ...), which resemble those of the victim."""
        chain = dense_chain(model.network)
        vector, path = open_path(model.network, model.vector.detach())
        weights = model.network.parameters(vector)
        if (
            len(path.inputs) != path.size
        ):  # the convolutions were replaced, so that these inputs have lost their meaning
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
        """Captured rows (g, *shape), clipped to [0, 1], from the planted model and the fine-tuned one."""
        first = dense_chain(planted.network)[0]
        _, path = open_path(planted.network, planted.vector)
        before, after = (model.network.parameters(model.vector) for model in (planted, tuned))
        weights = path.row(after[f"{first}.weight"] - before[f"{first}.weight"])
        return quotients(weights, after[f"{first}.bias"] - before[f"{first}.bias"], planted.network.row_shape)

    def _least_used(self, model: TorchModel, rows: np.ndarray, chain: list[str]) -> list[Tensor]:
        """The least important units of each hidden layer, by mean activation times length of the outgoing weights."""
        weights, found = model.network.parameters(model.vector), []
        for following, h in zip(chain[1:], dense_inputs(model, rows)[1:], strict=True):
            if self.count > h.shape[1]:
                raise ModelError(
                    f"at least {self.count} units before layer {following}", f"{h.shape[1]}", "lower `count`"
                )
            found.append((h.mean(0) * weights[f"{following}.weight"].norm(dim=0)).argsort()[: self.count])
        return found

    def _triggers(self, x: Tensor, streams: Streams) -> tuple[Tensor, Tensor]:
        """Directions (count, features) and biases, scaled so that activations are about 1."""
        draws = torch.randn(self.count, x.shape[1], generator=streams.torch("directions"))
        scores = x @ draws.T
        draws = draws / scores.std(0).unsqueeze(1).clamp_min(1e-6)
        level = torch.quantile(x @ draws.T, 1 - self.rate, dim=0)
        if self.bias:
            return draws, -level
        mean = x.mean(0)  # on the mean row this term acts as the bias would, and on other rows nearly so
        return draws - level.unsqueeze(1) * mean / (mean @ mean), torch.zeros(self.count)

    def _unlikely(self, model: TorchModel, rows: np.ndarray, sprung: Tensor) -> Tensor:
        """For each trap (count,), the class with the lowest mean probability over the rows that activate it."""
        chances = torch.tensor(model.predict_proba(rows))
        hits = sprung.to(chances.dtype)
        return ((hits.T @ chances) / hits.sum(0).clamp_min(1).unsqueeze(1)).argmin(1)


def quotients(weights: Tensor, biases: Tensor, shape: tuple[int, ...], least: float = 1e-7) -> np.ndarray:
    """Change of weights divided by change of bias (g, *shape), for units whose bias changed; clipped to [0, 1].

    The gradient of a dense unit is a multiple of (row, 1), so the quotient is the row if one row alone caused the change.
    """
    moved = biases.abs() > least
    return (weights[moved] / biases[moved].unsqueeze(1)).clamp(0, 1).reshape(-1, *shape).cpu().numpy()
