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
    read_adapter,
)
from antivenom.models.wrappers import TorchModel
from antivenom.scan.view import View


def traces_of(subject: Subject, others: Sequence[Subject], classes: int | None) -> list[Trace]:
    """Observations that tell a structure from others with certainty, also beside a single reference.

    Args:
        subject: the model.
        others: the references. One is compared with the model; several are models of their own, trained apart. Beside an
            adapter, they are honest adapters and its base model.
        classes: number of classes, if it is known.
    """
    one = others[0] if len(others) == 1 else None
    if subject.form is Form.GRAPH:
        with scanned(subject.path) as (file, _):
            return inspect_graph(View(file), subject.path.name, classes)
    if subject.form is Form.ADAPTER:
        base = next((other.tensors for other in others if other.form is not Form.ADAPTER), None)
        honest = [read_adapter(other.path) for other in others if other.form is Form.ADAPTER]
        return inspect_adapter(read_adapter(subject.path), base, honest)
    if one is None or not one.tensors or not subject.tensors:
        return []
    return compare(subject.tensors, one.tensors)


def weights_of(subject: Subject) -> Mapping[str, object]:
    """The weights of a model by name: its tensors, or those of the layers of a graph."""
    if subject.form is not Form.GRAPH:
        return subject.tensors
    with scanned(subject.path) as (file, _):
        return layer_weights(View(file), subject.path.name)


def weight_traces(tensors: Mapping[str, object], model: Model | None) -> list[Trace]:
    """Observations about the weights alone. They are statistics with bounds that hold for small networks, and no proof."""
    head = f"{model.network.head().name}.weight" if isinstance(model, TorchModel) else ""
    return inspect_weights(tensors, head=head) if tensors else []


def state_of(model: Model) -> dict[str, Tensor]:
    """The tensors of a torch network by name; none of another model."""
    if not isinstance(model, TorchModel):
        return {}
    return {**model.network.parameters(model.vector), **model.network.frozen, **model.buffers}
