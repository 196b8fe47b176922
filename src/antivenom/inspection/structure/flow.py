"""Follows the values of the input through an ONNX graph, without running it.

Each value of the graph gets a state: whether it depends on values of the input (their shape alone does not count), how many
learned layers lie between, and whether it is a decision, which means the result of a comparison.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace

import numpy as np

from antivenom.inspection.structure import operations as ops
from antivenom.inspection.structure.masks import is_mask
from antivenom.inspection.structure.onnx_file import Graph, Model, Node, Weight
from antivenom.inspection.structure.state import CONSTANT, State, merged, of_input
from antivenom.scan.limits import LimitReached, Meter
from antivenom.scan.reader import malformed

_DEEPEST_CALL = 40
Sources = MutableMapping[str, tuple[Weight, bool]]  # a constant, and whether it is transposed


@dataclass(frozen=True)
class Join:
    """A node at which a `branch` meets another value, `trunk`, that has passed more learned layers."""

    node: Node
    branch: State
    trunk: State


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer with constant weights: its node, the weight, and whether its units are the columns of the weight."""

    node: Node
    weight: Weight
    by_columns: bool
    depth: int


@dataclass(eq=False)
class Flow:
    """The result of following the input through a graph.

    Fields:
        joins: the nodes at which values of different depth meet.
        conditions: the If, Loop and Scan nodes whose condition depends on the input, with its state.
        constants: the comparisons of the input with a constant of several numbers.
        learned: all learned layers.
        layers: those of them whose weight is a constant of the file, in the order in which they are evaluated.
        masks: the joins that mask an attention.
        states: the state of every value of the main graph.
    """

    model: Model
    meter: Meter
    joins: dict[Node, list[Join]] = field(default_factory=dict)
    conditions: dict[Node, State] = field(default_factory=dict)
    constants: dict[Node, Weight] = field(default_factory=dict)
    learned: set[Node] = field(default_factory=set)
    layers: dict[Node, Layer] = field(default_factory=dict)
    masks: set[Node] = field(default_factory=set)
    states: dict[str, State] = field(default_factory=dict)
    _trained: dict[int, bool] = field(default_factory=dict)

    def run(self) -> Flow:
        """Follows the main graph. Raises Fault or LimitReached."""
        graph = self.model.graph
        given = {each.name: of_input(each) for each in graph.inputs if each.name not in graph.weights}
        self.states = dict(self._graph(graph, ChainMap(given), ChainMap({}), 0)[0])
        return self

    def _graph(
        self, graph: Graph, outer: ChainMap[str, State], constants: ChainMap[str, tuple[Weight, bool]], depth: int
    ) -> tuple[ChainMap[str, State], list[State]]:
        """The states of all values of a graph, and those of its outputs."""
        if depth > _DEEPEST_CALL:
            raise LimitReached("depth", _DEEPEST_CALL)
        states = outer.new_child(dict.fromkeys(graph.weights, CONSTANT))
        sources = constants.new_child({name: (each, False) for name, each in graph.weights.items()})
        for node in in_order(graph, states):
            self.meter.spend("opcodes", 1)
            entering = [states[name] if name else CONSTANT for name in node.inputs]
            for name, state in zip(node.outputs, self._node(node, entering, states, sources, depth), strict=False):
                if name:
                    states[name] = state
        self._mark_masks(graph, states)
        return states, [states.get(each.name, CONSTANT) for each in graph.outputs]

    def _node(
        self,
        node: Node,
        entering: list[State],
        states: ChainMap[str, State],
        sources: ChainMap[str, tuple[Weight, bool]],
        depth: int,
    ) -> list[State]:
        constant = _constant(node, sources)
        if constant is not None:
            sources[node.outputs[0]] = constant
        if node.graphs:
            return self._control(node, entering, states, sources, depth)
        body = self.model.functions.get((node.domain, node.op))
        if body is not None:
            given = dict(zip((each.name for each in body.inputs), entering, strict=False))
            given = dict.fromkeys((each.name for each in body.inputs), CONSTANT) | given
            weights = {
                inner.name: sources[name]
                for inner, name in zip(body.inputs, node.inputs, strict=False)
                if name in sources
            }
            return self._graph(body, ChainMap(given), ChainMap(weights), depth + 1)[1]
        if node.op in ops.SHAPE:
            return [next((each.size for each in entering if each.size is not None), None) or CONSTANT]
        state = self._step(node, entering, sources)
        sized = [entering[at] for at in ops.SIZED_BY.get(node.op, ()) if at < len(entering) and entering[at].depends]
        size = merged(sized) if sized else next((each.size for each in entering if each.size is not None), None)
        if size is not None:
            size = replace(size, size=None)
            if state.depends or node.op in ("ConstantOfShape", "Range", "Expand", "Tile"):
                state = replace(state, size=size)
        return [state] * len(node.outputs)

    def _step(self, node: Node, entering: list[State], sources: Sources) -> State:
        """The state of the outputs of an ordinary node."""
        live = [each for each in entering if each.depends]
        if not live:
            return CONSTANT
        state = merged(live)
        op = node.op
        if len(live) > 1 and op not in ops.ATTENTION:
            self._join(node, live)
        if op in ops.PRODUCTS or op in ops.LEARNED or (op in ("Gather", "Embedding") and not entering[0].depends):
            return self._layer(node, entering, state, sources)
        if op in ops.ATTENTION:
            self.learned.add(node)
            return replace(
                state, depth=state.depth + 1, decision="", steep="", is_curved=False, statistic="", bent=True
            )
        reduced = state.reduced or op in ops.REDUCE or op.startswith("Reduce")
        if op == "OneHot":
            return replace(state, bent=True, decision=state.decision or node.label, decided_at=state.depth)
        if op in ops.COMPARE or (op == "Cast" and ops.BOOL in node.numbers.get("to", ()) and not state.decision):
            self._compared(node, entering, sources)
            return replace(
                state,
                bent=True,
                reduced=reduced,
                steep=state.steep or (node.label if state.depth == 0 else ""),
                decision=node.label,
                decided_at=state.depth,
                is_global=reduced,
            )
        bends = op in ops.STEEP or op in ops.LOGIC or (op == "Pow" and _exponent(node, sources) >= 3)
        is_curved = state.is_curved or (state.depth == 0 and (op in ops.CURVED or _multiplies(node, entering)))
        statistic = state.statistic or (node.label if is_curved and reduced and state.depth == 0 else "")
        is_global = state.is_global
        if state.decision:
            is_global |= op in ops.KEEPS_DECISION or (bends and state.reduced)
        return replace(
            state,
            bent=state.bent or bends or op in ("MaxPool", "GlobalMaxPool", "ReduceMax", "Max", "Min", "Abs"),
            reduced=reduced,
            steep=state.steep or (node.label if bends and state.depth == 0 else ""),
            is_curved=is_curved,
            statistic=statistic,
            decision="" if op in ops.POSITION else state.decision,
            is_global=is_global,
        )

    def _layer(self, node: Node, entering: list[State], state: State, sources: Sources) -> State:
        """The state behind a layer. A product whose constant only picks, copies or sums is no learned layer."""
        at = next((i for i, name in enumerate(node.inputs) if name in sources and i < 2), None)
        if node.op in ("QLinearConv", "QLinearMatMul"):
            at = 3
        if node.op in ops.LEARNED:
            self.learned.add(node)
            return replace(
                state,
                depth=state.depth + 1,
                decision="",
                steep="",
                is_curved=False,
                statistic="",
                reduced=False,
                bent=True,
            )
        if sum(each.depends for each in entering[:2]) == 2 and node.op != "Gather":
            curved = state.is_curved or state.depth == 0
            return replace(state, bent=True, reduced=True, is_curved=curved)  # a product of two computed values
        found = sources.get(node.inputs[at]) if at is not None and at < len(node.inputs) else None
        if found is not None and not self._is_learned(found[0]):
            if node.op == "Gather":
                label = state.decision or node.label
                return replace(state, decision=label, steep=state.steep or node.label)
            return replace(state, reduced=True)
        self.learned.add(node)
        if found is not None and node.op != "Gather" and at is not None:
            columns = _by_columns(node, at) != found[1]
            self.layers[node] = Layer(node, found[0], columns, state.depth)
            units = _units(found[0], columns, node.op)
        else:
            units = 0
        keeps = bool(state.decision) and state.is_global  # a decision remains one behind a linear layer
        return replace(
            state,
            depth=state.depth + 1,
            reduced=units == 1,
            steep="",
            is_curved=False,
            statistic="",
            decision=state.decision if keeps else "",
        )

    def _is_learned(self, weight: Weight) -> bool:
        key = id(weight)
        if key not in self._trained:
            self._trained[key] = is_learned(weight)
        return self._trained[key]

    def _compared(self, node: Node, entering: list[State], sources: Sources) -> None:
        if node.op != "Equal" or any(each.depth for each in entering):
            return
        for name in node.inputs:
            if name in sources:
                values = sources[name][0].values()
                if values is not None and len(np.unique(values)) > 1 and not _counts(values):
                    self.constants[node] = sources[name][0]

    def _join(self, node: Node, live: list[State]) -> None:
        deepest = max(live, key=lambda each: (not each.decision, each.depth))
        for branch in live:
            if branch is not deepest and (branch.depth < deepest.depth or branch.decision) and not deepest.decision:
                self.joins.setdefault(node, [])
                join = Join(node, branch, deepest)
                if join not in self.joins[node]:
                    self.joins[node].append(join)

    def _control(
        self,
        node: Node,
        entering: list[State],
        states: ChainMap[str, State],
        sources: ChainMap[str, tuple[Weight, bool]],
        depth: int,
    ) -> list[State]:
        """If, Loop, Scan and other operations with subgraphs."""
        conditions = entering[:1] if node.op == "If" else entering[:2] if node.op == "Loop" else []
        results: list[list[State]] = []
        for body in node.graphs.values():
            carried = entering[2:] if node.op == "Loop" else entering
            state: list[State] = []
            for _ in range(1 if node.op == "If" else 2):  # twice, because a loop hands its results to its next round
                inner = states.new_child(_entering_body(node, body, carried))
                state = self._graph(body, inner, sources, depth + 1)[1]
                carried = state[1:] if node.op == "Loop" else [*carried[: len(state)], *carried[len(state) :]]
            if node.op == "Loop" and state:
                conditions = [*conditions, state[0]]
                state = state[1:]
            results.append(state)
        live = [each for each in conditions if each.depends]
        if live:
            self.conditions[node] = merged(live)
        found = []
        for at in range(len(node.outputs)):
            parts = [each[at] for each in results if at < len(each)]
            if live and any(not each.decision and each.depth for each in parts):
                self._join(node, [*live, *(each for each in parts if each.depends)])
            found.append(merged([each for each in (*parts, *live) if each.depends]))
        return found

    def _mark_masks(self, graph: Graph, states: Mapping[str, State]) -> None:
        """Marks the joins whose result enters nothing but the scores of an attention, as masks do."""
        inside = [node for node in graph.nodes if node in self.joins]
        if not inside:
            return
        readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in node.reads:
                readers.setdefault(name, []).append(node)
        ends = {each.name for each in graph.outputs}
        for node in inside:
            if is_mask(node, readers, ends, states, self.meter):
                self.masks.add(node)


def in_order(graph: Graph, known: Mapping[str, State]) -> list[Node]:
    """The nodes so that each follows the nodes that it reads. Raises Fault for a cycle or a value that nothing makes."""
    makers = {name: node for node in graph.nodes for name in node.outputs if name}
    waiting: dict[Node, int] = {}
    readers: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        needs = {makers[name] for name in node.reads if name in makers}
        waiting[node] = len(needs)
        for each in needs:
            readers.setdefault(each, []).append(node)
        for name in node.reads:
            if name not in makers and name not in known:
                raise malformed(f"{node.label} reads {name}, which nothing computes")
    ready = [node for node in graph.nodes if not waiting[node]]
    for node in ready:
        for reader in readers.get(node, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    if len(ready) != len(graph.nodes):
        raise malformed("a graph with a cycle")
    return ready


def is_learned(weight: Weight) -> bool:
    """Whether a constant looks like trained weights: not a selection, a permutation, or the same number everywhere."""
    values = weight.values()
    if values is None:
        return True
    if values.size < 2 or values.ndim < 2 or (values == values.flat[0]).all():
        return False
    return bool(np.count_nonzero(values) > max(values.shape[:2]))


def _constant(node: Node, sources: Sources) -> tuple[Weight, bool] | None:
    """The constant that a node yields, and whether it is transposed; None for other nodes."""
    if not node.outputs:
        return None
    if node.op == "Constant" and "value" in node.weights:
        return node.weights["value"], False
    if node.op in ("Identity", "Cast", "DequantizeLinear", "Transpose") and node.inputs and node.inputs[0] in sources:
        weight, turned = sources[node.inputs[0]]
        return weight, turned != (node.op == "Transpose" and len(weight.shape) == 2)
    return None


def _multiplies(node: Node, entering: list[State]) -> bool:
    """Whether a node multiplies two values that depend on the input, or divides by one."""
    if node.op == "Div":
        return len(entering) > 1 and entering[1].depends
    return node.op == "Mul" and sum(each.depends for each in entering) > 1


def _counts(values: np.ndarray) -> bool:
    """Whether a constant is 0, 1, 2, ..., with which one-hot vectors are made."""
    return bool(np.array_equal(values.reshape(-1), np.arange(values.size)))


def _by_columns(node: Node, at: int) -> bool:
    """Whether the units are the columns of the weight, before transposition."""
    if node.op in ("Gemm", "FusedGemm"):
        turned = bool(next(iter(node.numbers.get("transB" if at else "transA", ())), 0))
        return (at == 1) != turned
    return ("Conv" not in node.op and at != 0) or node.op == "ConvTranspose"


def _units(weight: Weight, columns: bool, op: str) -> int:
    if len(weight.shape) < 2:
        return 1
    return weight.shape[(1 if op == "ConvTranspose" else -1) if columns else 0]


def _exponent(node: Node, sources: Sources) -> float:
    """The exponent of a Pow; infinite if it is not a constant that can be read."""
    found = sources.get(node.inputs[1]) if len(node.inputs) > 1 else None
    values = found[0].values() if found else None
    return float(np.abs(values).max()) if values is not None and values.size else float("inf")


def _entering_body(node: Node, body: Graph, carried: list[State]) -> dict[str, State]:
    names = [each.name for each in body.inputs]
    if node.op == "Loop":  # the number of the round and the condition come first
        names = names[2:]
    found = dict.fromkeys((each.name for each in body.inputs), merged(carried) if node.op == "Scan" else CONSTANT)
    if node.op != "Scan":
        found |= dict(zip(names, carried, strict=False))
    return found
