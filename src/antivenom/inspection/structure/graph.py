"""The graph of an ONNX file: parts that recognise one input instead of computing features of all inputs.

Idea: an honest network brings its input to the output through learned layers. An architectural backdoor adds a short way round
them: it compares the input with a constant and lets the result replace or shift the logits. No value is computed here, so that
the file runs no code. Weakness: an attacker who hides the detector behind ordinary learned layers, or inside the mask of an
attention, leaves no such way round.

Reference: Bober-Irizar et al. 2023, "Architectural Backdoors in Neural Networks", CVPR, arXiv:2206.07840; Langford et al. 2024,
"Architectural Neural Backdoors from First Principles", arXiv:2402.06957.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from antivenom.core.errors import FileError
from antivenom.inspection.structure import operations as ops
from antivenom.inspection.structure.flow import Flow, Join, Layer, in_order
from antivenom.inspection.structure.onnx_file import Graph, Node, read_model
from antivenom.inspection.structure.state import CONSTANT
from antivenom.inspection.structure.trace import Trace
from antivenom.scan.limits import LimitReached, Limits, Meter
from antivenom.scan.part import printable
from antivenom.scan.reader import Fault
from antivenom.scan.view import View

LIMITS = Limits(opcodes=2_000_000, seconds=60.0)
_DETECTOR = 1  # a decision behind at most so many learned layers is a detector, not a result of the network
_SHORT = 2  # the number of learned layers of a short path
_TIMES = 3  # a path is far shorter if another one has so many times its number of layers
_NARROW = 8  # an adapter is at least so many times narrower than the values around it


def inspect_graph(view: View, where: str = "", classes: int | None = None, limits: Limits = LIMITS) -> list[Trace]:
    """The traces in the graph of an ONNX file.

    Fields:
        view: its bytes, which the scan has found to be safe.
        where: its name in error messages.
        classes: number of classes that the model is supposed to have; None if it is not known.
        limits: bounds on the work. Reaching one is a trace of its own, because the rest was not looked at.

    Raises:
        FileError: the bytes are not a valid ONNX model.
    """
    try:
        flow = _flow(view, limits)
        found = [*_inputs(flow), *_paths(flow), *_adapters(flow), *_heads(flow, classes), *_unread(flow)]
    except LimitReached as limit:
        what = f"The graph was not inspected as a whole, because it needs more than {limit.args[1]} {limit.args[0]}."
        return [Trace("limit", "", what)]
    except Fault as fault:
        raise FileError("an ONNX model", printable(fault.detail), "export the model again").at(where) from None
    return found


def layer_weights(view: View, where: str = "", limits: Limits = LIMITS) -> dict[str, np.ndarray]:
    """The weights of the layers of an ONNX file as a state dictionary: `NAME.weight` (units, ...) and `NAME.bias`.

    The order is that of execution. Weights in another file are left out.

    Raises:
        FileError: the bytes are not a valid ONNX model, or it is too large.
    """
    try:
        flow = _flow(view, limits)
        found: dict[str, np.ndarray] = {}
        for number, layer in enumerate(flow.layers.values()):
            if layer.node.op in ops.LEARNED or (values := layer.weight.values()) is None or values.ndim < 2:
                continue
            name = printable(layer.node.name or layer.weight.name or f"layer{number}")
            name = f"{name}.{number}" if f"{name}.weight" in found else name
            if layer.by_columns:
                values = np.moveaxis(values, 1 if layer.node.op == "ConvTranspose" else -1, 0)
            found[f"{name}.weight"] = values
            bias = _bias(flow, layer)
            if bias is not None and bias.shape == (len(values),):
                found[f"{name}.bias"] = bias
        return found
    except LimitReached as limit:
        raise FileError(f"a graph of at most {limit.args[1]} {limit.args[0]}", "a larger one").at(where) from None
    except Fault as fault:
        raise FileError("an ONNX model", printable(fault.detail), "export the model again").at(where) from None


def _flow(view: View, limits: Limits) -> Flow:
    meter = Meter(limits)
    return Flow(read_model(view, meter), meter).run()


# --- decisions on the input -------------------------------------------------------------------------------------------


def _inputs(flow: Flow) -> Iterator[Trace]:
    computed = 0
    for node, state in flow.conditions.items():
        if state.is_switch:
            continue
        if state.depth > _DETECTOR:
            computed += 1
            continue
        what = f"{_name(node)} chooses its branch by values of the input that no network has processed."
        yield Trace("input-condition", _name(node), what, float(state.depth))
    if computed:
        what = f"{computed} conditions depend on computed features, as in detection models and beam search."
        yield Trace("input-condition", "", what, float(computed), suspicious=False)
    for node, weight in flow.constants.items():
        what = f"{_name(node)} compares the input with a stored constant of {_count(weight.shape)} numbers."
        yield Trace("input-constant", _name(node), what, float(_count(weight.shape)))
    told = set(flow.conditions)
    total = max((state.depth for state in flow.states.values()), default=0)
    for node, joins in flow.joins.items():
        decision = next((join for join in joins if _is_detector(join)), None)
        if node in told or node in flow.masks:
            continue
        if decision is not None:
            what = (
                f"{_name(node)} lets {printable(decision.branch.decision)}, a decision about the whole input, change values "
                f"that have passed {_layers(decision.trunk.depth)}."
            )
            yield Trace("input-decision", _name(node), what, float(decision.trunk.depth))
            continue
        shortcut = next((join for join in joins if _is_shortcut(join, total)), None)
        if shortcut is not None:
            function = printable(shortcut.branch.steep or shortcut.branch.statistic)
            what = (
                f"{_name(node)} joins {function}, a function of the input without any learned layer, with values "
                f"that have passed {_layers(shortcut.trunk.depth)}."
            )
            yield Trace("input-shortcut", _name(node), what, float(shortcut.trunk.depth))


def _is_detector(join: Join) -> bool:
    """Whether the branch is a decision on the raw input, or on the output of one layer, about the row as a whole."""
    branch, trunk = join.branch, join.trunk
    if not branch.decision or not branch.is_global or branch.is_switch or branch.decided_at > _DETECTOR:
        return False
    return trunk.depth > 2 * branch.decided_at


def _is_shortcut(join: Join, total: int) -> bool:
    """Whether a steep function or a non-linear statistic of the raw input meets values in the second half of the network."""
    branch, trunk = join.branch, join.trunk
    late = trunk.depth >= max(2, -(-total // 2))
    steep = bool(branch.steep) and not branch.is_integer
    pushes = bool(branch.statistic) and join.node.op in ops.PUSHES
    return (steep or pushes) and not branch.depth and not branch.is_switch and late


# --- paths ------------------------------------------------------------------------------------------------------------


def _paths(flow: Flow) -> Iterator[Trace]:
    """A small network beside the main one that is added to the logits."""
    behind = _layers_behind(flow)
    found = []
    for node, joins in flow.joins.items():
        if any(behind.get(name, 1) for name in node.outputs):  # also in subgraphs, whose values are not in `behind`
            continue
        for join in joins:
            short, long = join.branch, join.trunk
            shared = short.sources & long.sources
            far = long.depth >= max(4, _TIMES * short.depth)
            if shared and far and 0 < short.depth <= _SHORT and short.bent and not _is_detector(join):
                found.append((node, join))
    if len(found) == 1:
        node, join = found[0]
        what = (
            f"{_name(node)} adds a path of {_layers(join.branch.depth)} to the output, beside the main path of "
            f"{_layers(join.trunk.depth)}."
        )
        yield Trace("short-path", _name(node), what, float(join.branch.depth))


def _layers_behind(flow: Flow) -> dict[str, int]:
    """The largest number of learned layers between each value of the main graph and an output."""
    graph = flow.model.graph
    behind = {each.name: 0 for each in graph.outputs}
    known = {each.name: CONSTANT for each in graph.inputs} | dict.fromkeys(graph.weights, CONSTANT)
    for node in reversed(in_order(graph, known)):
        after = [behind[name] for name in node.outputs if name in behind]
        if after:
            count = max(after) + (node in flow.learned)
            for name in node.reads:
                behind[name] = max(behind.get(name, 0), count)
    return behind


# --- adapters ---------------------------------------------------------------------------------------------------------


def _adapters(flow: Flow) -> Iterator[Trace]:
    """Low-rank paths around or beside a layer: two layers with a narrow space between them, added to the main path."""
    makers = {name: node for node in flow.model.graph.nodes for name in node.outputs}
    found = [
        (node, width, narrow)
        for node in flow.model.graph.nodes
        if node.op == "Add" and len(node.inputs) == 2
        for width, narrow in [_narrow_path(flow, makers, node)]
        if narrow
    ]
    if len(found) == 1 and len(flow.layers) >= 6:
        node, width, narrow = found[0]
        what = f"{_name(node)} adds a path of width {narrow} to values of width {width}, and no other layer has one."
        yield Trace("adapter", _name(node), what, float(narrow))
    elif found:
        what = f"{len(found)} layers have a low-rank path beside them, as adapters have that were not merged."
        yield Trace("adapter", "", what, float(len(found)), suspicious=False)


def _narrow_path(flow: Flow, makers: dict[str, Node], add: Node) -> tuple[int, int]:
    """Width and inner width of the adapter that a node adds; (0, 0) if there is none."""
    for side in (0, 1):
        second = _layer_before(flow, makers, add.inputs[side])
        first = _layer_before(flow, makers, second.node.inputs[0]) if second else None
        if second is None or first is None:
            continue
        base = _source(makers, first.node.inputs[0])
        other = _layer_before(flow, makers, add.inputs[1 - side])
        beside = _source(makers, add.inputs[1 - side]) == base
        beside |= other is not None and other is not second and _source(makers, other.node.inputs[0]) == base
        inner, width = _width(first), _width(second)
        if beside and inner and inner * _NARROW <= width and width >= 16:
            return width, inner
    return 0, 0


def _layer_before(flow: Flow, makers: dict[str, Node], name: str) -> Layer | None:
    """The layer that makes a value, apart from activations, biases and scales."""
    for _ in range(8):
        node = makers.get(name)
        if node is None:
            return None
        if node in flow.layers:
            return flow.layers[node]
        live = [each for each in node.inputs if each in flow.states and flow.states[each].depends]
        names = set(live)
        if len(names) != 1 and not (node.op == "Mul" and len(names) == 2):  # x * sigmoid(x)
            return None
        name = live[0]
    return None


def _source(makers: dict[str, Node], name: str) -> str:
    """The name of a value before operations that only pass it on."""
    for _ in range(8):
        node = makers.get(name)
        if node is None or node.op not in ("Identity", "Dropout", "Cast"):
            break
        name = node.inputs[0]
    return name


def _width(layer: Layer) -> int:
    """Number of units."""
    shape = layer.weight.shape
    return 0 if len(shape) < 2 else shape[-1] if layer.by_columns and len(shape) == 2 else shape[0]


# --- heads ------------------------------------------------------------------------------------------------------------


def _heads(flow: Flow, classes: int | None) -> Iterator[Trace]:
    """Layers after which no learned layer follows, and what is done to their result."""
    graph = flow.model.graph
    behind = _layers_behind(flow)
    heads = [each for node, each in flow.layers.items() if any(behind.get(name) == 0 for name in node.outputs)]
    if not heads:
        return
    deepest = max(heads, key=lambda each: each.depth)
    units = _width(deepest)
    if classes is not None and units != classes:
        what = f"The head {_name(deepest.node)} has {units} rows for {classes} classes."
        yield Trace("head-size", _name(deepest.node), what, float(units))
    offsets = list(_offsets(flow, graph, deepest))
    if len(offsets) > (deepest.node.op in ("MatMul", "MatMulInteger")):
        what = f"{_name(offsets[-1])} adds a constant to the logits in addition to the bias of the head."
        yield Trace("head-offset", _name(offsets[-1]), what, suspicious=False)


def _offsets(flow: Flow, graph: Graph, head: Layer) -> Iterator[Node]:
    """The additions of a constant to the result of the head."""
    names = set(head.node.outputs)
    for node in graph.nodes:
        if not names & set(node.inputs):
            continue
        if node.op in ("Add", "Sub") and all(each in names or not flow.states[each].depends for each in node.inputs):
            yield node
            names |= set(node.outputs)
        elif node.op in ops.PASSES:
            names |= set(node.outputs)


def _bias(flow: Flow, layer: Layer) -> np.ndarray | None:
    """The bias of a layer: its third input, or the constant that the next node adds."""
    graph, node = flow.model.graph, layer.node
    if node.op in ("Gemm", "Conv", "ConvTranspose", "FusedConv") and len(node.inputs) > 2:
        weight = graph.weights.get(node.inputs[2])
        return weight.values() if weight else None
    for each in graph.nodes:
        if each.op == "Add" and node.outputs and node.outputs[0] in each.inputs:
            weight = next((graph.weights[name] for name in each.inputs if name in graph.weights), None)
            return weight.values() if weight else None
    return None


def _unread(flow: Flow) -> Iterator[Trace]:
    """A note on weights in other files, which count as learned whatever they are."""
    absent = sum(not layer.weight.parts and _count(layer.weight.shape) > 0 for layer in flow.layers.values())
    if absent:
        what = f"The weights of {absent} layers lie in other files, which were not read."
        yield Trace("external-weights", "", what, float(absent), suspicious=False)


# --- words ------------------------------------------------------------------------------------------------------------


def _name(node: Node) -> str:
    return printable(node.label, 80)


def _layers(count: int) -> str:
    return f"{count} learned layer{'s' * (count != 1)}"


def _count(shape: Iterable[int]) -> int:
    return int(np.prod(list(shape), dtype=np.int64))
