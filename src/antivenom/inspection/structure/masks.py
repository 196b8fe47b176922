"""Masks of an attention: the one honest use of a comparison of the input behind the first layers."""

from __future__ import annotations

from collections.abc import Mapping

from antivenom.inspection.structure import operations as ops
from antivenom.inspection.structure.onnx_file import Node
from antivenom.inspection.structure.state import State
from antivenom.scan.limits import Meter


def is_mask(
    node: Node, readers: Mapping[str, list[Node]], ends: set[str], states: Mapping[str, State], meter: Meter
) -> bool:
    """Whether every path from the node reaches the softmax of an attention over computed values."""
    pending, seen, reached = [node], {node}, False
    while pending:
        meter.spend("opcodes", 1)
        at = pending.pop()
        for name in at.outputs:
            if name in ends:
                return False
            for reader in readers.get(name, ()):
                if reader.op in ("Softmax", "Attention", "MultiHeadAttention"):
                    if reader.op == "Softmax" and not _weighs(reader, readers, states):
                        return False
                    reached = True
                elif reader.op in ops.PASSES or reader.op in ops.ELEMENTWISE:
                    if reader not in seen:
                        seen.add(reader)
                        pending.append(reader)
                else:
                    return False
    return reached


def _weighs(softmax: Node, readers: Mapping[str, list[Node]], states: Mapping[str, State]) -> bool:
    """Whether a softmax weighs computed values, by a product of two values that both depend on the input."""
    names, seen = list(softmax.outputs), set(softmax.outputs)
    for name in names:
        for reader in readers.get(name, ()):
            if reader.op in ("MatMul", "Einsum", "FusedMatMul"):
                if all(states[each].depth for each in reader.inputs if each):
                    return True
            elif reader.op in ops.PASSES or reader.op in ops.ELEMENTWISE:
                for each in reader.outputs:
                    if each not in seen:
                        seen.add(each)
                        names.append(each)
    return False
