"""What a receiver can do to weights before using them or handing them on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.leakage.layers import dense_chain, dense_inputs
from antivenom.models.wrappers import TorchModel


def round_mantissa(vector: Tensor, keep: int) -> Tensor:
    """float32 weights rounded to nearest with `keep` mantissa bits left: 7 is bfloat16's precision, 10 float16's.

    Erases what LSBEncoding wrote below; costs no accuracy worth the name. Signs and answers stay, and with them what the
    other encodings wrote.
    """
    if not 1 <= keep <= 22:
        raise PluginError("keep from 1 to 22 mantissa bits", f"{keep}", "7 is bfloat16")
    drop = np.uint32(23 - keep)
    words = vector.detach().cpu().to(torch.float32).numpy().view(np.uint32)
    half = np.uint32(1 << (int(drop) - 1))
    rounded = (words + half) >> drop << drop  # a carry into the exponent is the next power of two, as it should be
    return torch.from_numpy(rounded.view(np.float32)).to(vector.device)


def firing_rates(model: TorchModel, rows: np.ndarray) -> list[np.ndarray]:
    """For each hidden dense layer, the share of rows on which each of its units is above 0."""
    return [(h > 0).float().mean(0).cpu().numpy() for h in dense_inputs(model, rows)[1:]]


def cut_rare_units(model: TorchModel, rows: np.ndarray, least: float = 0.01) -> TorchModel:
    """The model without hidden units that fire on fewer than a share `least` of the user's own rows.

    A trap must be rare to latch one row, so this is what every data trap has in common; the rows never leave the user.
    Weakness: a trap that fires more often survives, and mixes rows.
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
