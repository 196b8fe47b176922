"""Surrogates: networks that an attacker trains on the rows that it sees, to optimise poison against them."""

from __future__ import annotations

from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import Architecture
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, learner


def surrogate(
    architecture: Architecture, training: Training, data: Dataset, streams: Streams, attack: object
) -> TorchModel:
    """A network of this architecture, trained on the rows.

    Raises:
        NotApplicable: the architecture is not a torch network.
    """
    model = learner(architecture, training).fit(data, streams)
    if not isinstance(model, TorchModel):
        raise NotApplicable(
            f"a torch architecture as {type(attack).__name__}.surrogate", type(model).__name__, "use MLP()"
        )
    return model
