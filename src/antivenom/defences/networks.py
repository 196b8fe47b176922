"""Checks of the networks and clean rows that defences on finished models are given."""

from __future__ import annotations

import torch
from torch import Tensor

from antivenom.core.errors import DataError, ModelError, NotApplicable
from antivenom.core.protocols import Model
from antivenom.data import Dataset
from antivenom.models.wrappers import TorchModel


def network_of(model: Model, defence: object) -> TorchModel:
    """The model as a torch network.

    Raises:
        NotApplicable: the model is no torch network, so that it has no gradients or weights.
        ModelError: the network is in training mode.
    """
    name = type(defence).__name__
    if not isinstance(model, TorchModel):
        raise NotApplicable(
            f"a torch model for {name}", type(model).__name__, "it needs gradients or weights, which this model lacks"
        )
    require_evaluation(model, defence)
    return model


def require_evaluation(model: Model, defence: object) -> None:
    """Refuses a network in training mode.

    Batch norm in training mode would shift its statistics whenever the network sees rows.

    Raises:
        ModelError: a torch network in training mode.
    """
    if isinstance(model, TorchModel) and any(part.training for part in model.network.module.modules()):
        name = type(defence).__name__
        raise ModelError(f"a network in evaluation mode for {name}", "one in training mode", "call its .eval()")


def continuous(model: TorchModel, defence: object) -> TorchModel:
    """The model, after a check that its inputs are numbers that can be changed by a little.

    Raises:
        NotApplicable: its rows are tokens, which have no gradient.
    """
    if model.network.tokens:
        raise NotApplicable(f"a network on rows of numbers for {type(defence).__name__}", "one on tokens")
    return model


def untied(model: TorchModel, defence: object) -> TorchModel:
    """The model, after a check that no two of its layers share a weight.

    Raises:
        NotApplicable: shared weights. A change of one layer's channel would change another layer too.
    """
    if model.network.layout.tied:
        raise NotApplicable(f"a network without tied weights for {type(defence).__name__}", "layers that share weights")
    return model


def rows_of(model: TorchModel, clean: Dataset, defence: object, least: int = 1) -> tuple[Tensor, Tensor]:
    """The clean rows (n, ...) and their labels (n,) as tensors on the network's device.

    Args:
        model: the network that takes them.
        clean: the rows that the defender holds.
        defence: the defence, for messages.
        least: the smallest number of rows with which the defence works.

    Raises:
        DataError: too few rows, or a regression.
        ModelError: rows of another shape or number of classes than the network's.
    """
    name = type(defence).__name__
    if len(clean) < least:
        raise DataError(f"at least {least} clean rows for {name}", f"{len(clean)}", "raise clean_rows")
    if clean.num_classes != model.num_classes:
        raise ModelError(
            f"a head with {clean.num_classes} outputs, one for each class of the clean rows", f"{model.num_classes}"
        )
    if clean.encoded.shape != model.network.row_shape:
        raise ModelError(f"clean rows of shape {model.network.row_shape}", f"{clean.encoded.shape}")
    return model.network.rows(clean.inputs), torch.tensor(clean.y, device=model.vector.device)


def bounds(x: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest and largest values of rows x (n, ...): one pair for images, a pair for each column of a table."""
    if x.dim() > 2:
        return x.min(), x.max()
    return x.amin(0), x.amax(0)
