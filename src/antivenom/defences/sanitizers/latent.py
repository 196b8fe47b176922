"""The activations of the rows in the pipeline's model, for sanitizers that look for traces of poison there."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.threat import Access
from antivenom.data import Dataset
from antivenom.models.wrappers import TorchModel

ROWS = (Access.DATA_MANIPULATION, Access.DATA_INJECTION)


def torch_model(model: Model, defence: object) -> TorchModel:
    """The model, if it is a torch model.

    Raises:
        NotApplicable: any other model.
    """
    if not isinstance(model, TorchModel):
        raise NotApplicable(f"a torch model for {type(defence).__name__}", type(model).__name__, "use KNNSanitizer")
    return model


def fitted(defence: object, data: Dataset, context: DefenceContext) -> TorchModel:
    """The pipeline's model, trained on the suspicious rows.

    Raises:
        NotApplicable: rows of a regression, or a model without activations.
    """
    if data.is_regression:
        raise NotApplicable(f"rows with classes for {type(defence).__name__}", "a regression", "use TRIM")
    return torch_model(context.fit(data), defence)


def activations(model: TorchModel, data: Dataset) -> np.ndarray:
    """(n, width) inputs of the model's last layer, in double precision."""
    return np.asarray(model.features(data.dense), dtype=np.float64)
