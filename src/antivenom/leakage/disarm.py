"""Changes that a receiver can make to weights, to erase hidden payloads and data traps before use."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.leakage.layers import dense_chain, dense_inputs
from antivenom.models.wrappers import TorchModel


def round_mantissa(vector: Tensor, keep: int) -> Tensor:
    """Rounds float32 weights to `keep` mantissa bits: 7 is the precision of bfloat16, 10 that of float16.

    It erases the payload of LSBEncoding in the lower bits at a negligible cost in accuracy. Signs and predictions do not
    change, and neither do the payloads of the other encodings.
    """
    if not 1 <= keep <= 22:
        raise PluginError("keep from 1 to 22 mantissa bits", f"{keep}")
    drop = np.uint32(23 - keep)
    words = vector.detach().cpu().to(torch.float32).numpy().view(np.uint32)
    half = np.uint32(1 << (int(drop) - 1))
    rounded = (words + half) >> drop << drop  # a carry into the exponent correctly gives the next power of two
    return torch.from_numpy(rounded.view(np.float32)).to(vector.device)


def firing_rates(model: TorchModel, rows: np.ndarray) -> list[np.ndarray]:
    """For each hidden dense layer, the share of rows that activate each of its units."""
    return [(h > 0).float().mean(0).cpu().numpy() for h in dense_inputs(model, rows)[1:]]


def cut_rare_units(model: TorchModel, rows: np.ndarray, least: float = 0.01) -> TorchModel:
    """The model without hidden units that fewer than a share `least` of the user's own rows activate.

    Every data trap must fire rarely in order to capture a single row. Weakness: a trap that fires more often survives,
    but it mixes rows.
    """
    chain = dense_chain(model.network)
    vector = model.vector.detach().clone()
    weights = model.network.parameters(vector)
    for layer, following, rates in zip(chain, chain[1:], firing_rates(model, rows), strict=False):
        rare = torch.as_tensor(rates < least)
        weights[f"{layer}.weight"][rare] = 0
        weights[f"{layer}.bias"][rare] = 0
        weights[f"{following}.weight"][:, rare] = 0
    return model.with_vector(vector)
