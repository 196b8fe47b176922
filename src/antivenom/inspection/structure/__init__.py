"""The structure of a model: its graph, its weights and its difference to a reference. It needs no rows and runs no code."""

from antivenom.inspection.structure.adapters import Adapter, inspect_adapter, is_adapter, read_adapter
from antivenom.inspection.structure.comparison import compare
from antivenom.inspection.structure.graph import inspect_graph, layer_weights
from antivenom.inspection.structure.trace import Trace
from antivenom.inspection.structure.unreadable import cannot_tell
from antivenom.inspection.structure.weights import Bounds, inspect_weights

__all__ = [
    "Adapter",
    "Bounds",
    "Trace",
    "cannot_tell",
    "compare",
    "inspect_adapter",
    "inspect_graph",
    "inspect_weights",
    "is_adapter",
    "layer_weights",
    "read_adapter",
]
