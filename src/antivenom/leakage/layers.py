"""The dense layers of a network, by name: where traps and imprints are planted."""

from __future__ import annotations

import math

from torch import nn

from antivenom.errors import NotApplicable
from antivenom.models.network import Network


def dense_chain(network: Network, hidden: int = 1) -> list[str]:
    """Names of the dense layers from the flat row to the logits, if these are all there is besides ReLU and dropout.

    Raises:
        NotApplicable: another architecture, or fewer hidden layers than `hidden`.
    """
    named = [(name, module) for name, module in network.module.named_modules() if not list(module.children())]
    dense = [(name, module) for name, module in named if isinstance(module, nn.Linear)]
    widths = [math.prod(network.row_shape), *(module.out_features for _, module in dense)]
    plain = all(isinstance(module, (nn.Linear, nn.ReLU, nn.Flatten, nn.Dropout, nn.Identity)) for _, module in named)
    joined = all(module.in_features == width and module.bias is not None for (_, module), width in zip(dense, widths))  # noqa: B905
    if not (plain and joined) or len(dense) <= hidden:
        raise NotApplicable(
            f"dense layers with ReLU, {hidden} hidden or more",
            type(network.module).__name__,
            "use models.reference.MLP",
        )
    return [name for name, _ in dense]
