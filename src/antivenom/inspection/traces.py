"""The structural checks that suit a model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from antivenom.artifacts.loading import scanned
from antivenom.core.protocols import Model
from antivenom.inspection.reading import Form, Subject
from antivenom.inspection.structure import (
    Trace,
    compare,
    inspect_adapter,
    inspect_graph,
    inspect_weights,
    layer_weights,
)
from antivenom.models.wrappers import TorchModel
from antivenom.scan.view import View


def structure_of(subject: Subject, others: Sequence[Subject], classes: int | None) -> tuple[list[Trace], list[Trace]]:
    """(what tells a structure from others with certainty, also beside a single reference; statistics of the weights alone).

    Args:
        subject: the model.
        others: the references. One is compared with the model; several are models of their own, trained apart. Beside an
            adapter, they are honest adapters and its base model.
        classes: number of classes, if it is known.
    """
    if subject.form is Form.GRAPH:
        with scanned(subject.path) as (file, _):
            view, name = View(file), subject.path.name
            return inspect_graph(view, name, classes), weight_traces(layer_weights(view, name), None)
    weights = subject.tensors if subject.adapter is None else subject.adapter.tensors
    return _beside(subject, others), weight_traces(weights, subject.model)


def _beside(subject: Subject, others: Sequence[Subject]) -> list[Trace]:
    if subject.adapter is not None:
        base = next((other.tensors for other in others if other.adapter is None), None)
        honest = [other.adapter for other in others if other.adapter is not None]
        return inspect_adapter(subject.adapter, base, honest)
    one = others[0] if len(others) == 1 else None
    if one is None or not one.tensors or not subject.tensors:
        return []
    return compare(subject.tensors, one.tensors)


def weight_traces(tensors: Mapping[str, object], model: Model | None) -> list[Trace]:
    """Observations about the weights alone. They are statistics with bounds that hold for small networks, and no proof."""
    head = f"{model.network.head().name}.weight" if isinstance(model, TorchModel) else ""
    return inspect_weights(tensors, head=head) if tensors else []


def state_of(model: Model) -> dict[str, Tensor]:
    """The tensors of a torch network by name; none of another model."""
    if not isinstance(model, TorchModel):
        return {}
    return {**model.network.parameters(model.vector), **model.network.frozen, **model.buffers}
