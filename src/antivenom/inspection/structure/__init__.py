"""The structure of a model: its graph, its weights and its difference to a reference. It needs no rows and runs no code."""

from antivenom.inspection.structure.graph import inspect_graph, layer_weights
from antivenom.inspection.structure.trace import Trace

__all__ = ["Trace", "inspect_graph", "layer_weights"]
