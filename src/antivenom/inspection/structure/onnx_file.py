"""The graph of an ONNX file as values, read with the scan's own parser and within its limits."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from antivenom.scan.formats.protobuf import fields, text
from antivenom.scan.limits import LimitReached, Meter
from antivenom.scan.reader import malformed
from antivenom.scan.view import View

_DEEPEST = 60  # nesting depth of subgraphs
_MOST_BYTES = 1 << 28  # a larger weight is not read
_DTYPES = {1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8", 12: "<u4"}
_DTYPES |= {13: "<u8", 16: "<u2"}
_BFLOAT16 = 16
_INTEGERS = {2, 3, 4, 5, 6, 7, 8, 9, 12, 13}  # also strings and booleans
# Field number of the typed data of a tensor -> numpy type of its fixed-width items; an empty text for varints.
_TYPED = {4: "<f4", 5: "", 7: "", 10: "<f8", 11: ""}


@dataclass(frozen=True, eq=False)
class Weight:
    """A constant of the file.

    Fields:
        name: its name in the graph.
        shape: its dimensions.
        dtype: the number of its data type in ONNX.
        parts: the views with its numbers, each with its field number; empty if they are in another file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: int
    parts: tuple[tuple[int, View], ...] = ()

    def values(self) -> np.ndarray | None:
        """The numbers, or None if they are in another file, of another type, or too large to read."""
        count = math.prod(self.shape)
        if self.dtype not in _DTYPES or not self.parts or count * 8 > _MOST_BYTES:
            return None
        pieces = [_numbers(number, view, self.dtype) for number, view in self.parts]
        flat = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
        if len(flat) != count:
            raise malformed(f"{self.name} has {len(flat)} numbers for the shape {list(self.shape)}")
        if self.dtype == _BFLOAT16:
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        return flat.reshape(self.shape)


def _numbers(number: int, view: View, dtype: int) -> np.ndarray:
    raw = view.read()
    if number == 9:
        if len(raw) % np.dtype(_DTYPES[dtype]).itemsize:
            raise malformed("raw data of a length that does not fit its type")
        return np.frombuffer(raw, _DTYPES[dtype])
    if _TYPED[number]:
        if len(raw) % np.dtype(_TYPED[number]).itemsize:
            raise malformed("data of a length that does not fit its type")
        return np.frombuffer(raw, _TYPED[number])
    found = np.array(varints(raw), dtype=np.uint64).astype(np.int64)
    if dtype == 10:  # half precision is stored as integers
        return found.astype(np.uint16).view(np.float16)
    return found.astype(_DTYPES[dtype])


def varints(raw: bytes) -> list[int]:
    """The numbers of a packed field."""
    found, value, shift = [], 0, 0
    for byte in raw:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            found.append(value & 0xFFFFFFFFFFFFFFFF)
            value = shift = 0
        elif shift > 63:
            raise malformed("a number without its last byte")
    if shift:
        raise malformed("a number without its last byte")
    return found


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Fields:
        op, domain, name: its operation, the domain of that operation, and its own name, which can be empty.
        inputs, outputs: names of values; an optional input that is absent has an empty name.
        numbers: its attributes that are numbers or lists of numbers.
        weights: its attributes that are tensors.
        graphs: its attributes that are subgraphs.
    """

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: dict[str, tuple[float, ...]] = field(default_factory=dict)
    weights: dict[str, Weight] = field(default_factory=dict)
    graphs: dict[str, Graph] = field(default_factory=dict)

    @functools.cached_property
    def reads(self) -> frozenset[str]:
        """The values that it needs: its inputs, and those that its subgraphs take from the graphs around them."""
        return frozenset(self.inputs).union(*(graph.free for graph in self.graphs.values())) - {""}

    @property
    def label(self) -> str:
        """The name for a person."""
        return f"{self.op} {self.name or next((name for name in self.outputs if name), '')}".strip()


@dataclass(frozen=True, eq=False)
class Declared:
    """An input or output of a graph: its name, the number of its data type, and its shape with -1 for an open dimension."""

    name: str
    dtype: int = 0
    shape: tuple[int, ...] | None = None

    @property
    def is_integer(self) -> bool:
        return self.dtype in _INTEGERS


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph or subgraph; `nodes` are in the order of the file."""

    nodes: tuple[Node, ...]
    weights: dict[str, Weight]
    inputs: tuple[Declared, ...]
    outputs: tuple[Declared, ...]

    @functools.cached_property
    def free(self) -> frozenset[str]:
        """The names that it reads and does not define."""
        made = {name for node in self.nodes for name in node.outputs} | set(self.weights)
        made |= {each.name for each in self.inputs}
        read = frozenset(each.name for each in self.outputs).union(*(node.reads for node in self.nodes))
        return read - made


@dataclass(frozen=True, eq=False)
class Model:
    """The main graph and the functions that the file itself defines, by domain and name."""

    graph: Graph
    functions: dict[tuple[str, str], Graph]


def read_model(view: View, meter: Meter) -> Model:
    """The graph of an ONNX file. Raises Fault or LimitReached."""
    graphs, functions = [], {}
    for number, _, value in fields(view, meter):
        if number == 7:
            graphs.append(_view(value))
        elif number == 25:
            key, body = _function(_view(value), meter)
            functions[key] = body
    if len(graphs) != 1:
        raise malformed(f"{len(graphs)} graphs in one model")
    return Model(_graph(graphs[0], meter, 0), functions)


def _view(value: int | View) -> View:
    if isinstance(value, int):
        raise malformed("a number where a message belongs")
    return value


def _graph(view: View, meter: Meter, depth: int) -> Graph:
    if depth > _DEEPEST:
        raise LimitReached("depth", _DEEPEST)
    nodes: list[Node] = []
    weights: dict[str, Weight] = {}
    inputs: list[Declared] = []
    outputs: list[Declared] = []
    for number, _, value in fields(view, meter):
        meter.spend("opcodes", 1)
        if number == 1:
            nodes.append(_node(_view(value), meter, depth))
        elif number == 5:
            weight = _weight(_view(value), meter)
            weights[weight.name] = weight
        elif number == 15:
            for inner, _, sparse in fields(_view(value), meter):
                if inner == 1:
                    weight = _weight(_view(sparse), meter)
                    weights[weight.name] = Weight(weight.name, (), 0)
        elif number == 11:
            inputs.append(_declared(_view(value), meter))
        elif number == 12:
            outputs.append(_declared(_view(value), meter))
    return Graph(tuple(nodes), weights, tuple(inputs), tuple(outputs))


def _function(view: View, meter: Meter) -> tuple[tuple[str, str], Graph]:
    name = domain = ""
    inputs, outputs, nodes = [], [], []
    for number, _, value in fields(view, meter):
        if number == 1:
            name = text(value)
        elif number == 10:
            domain = text(value)
        elif number == 4:
            inputs.append(Declared(text(value)))
        elif number == 5:
            outputs.append(Declared(text(value)))
        elif number == 7:
            nodes.append(_node(_view(value), meter, 0))
    return (domain, name), Graph(tuple(nodes), {}, tuple(inputs), tuple(outputs))


def _node(view: View, meter: Meter, depth: int) -> Node:
    found = {3: "", 4: "", 7: ""}
    inputs, outputs = [], []
    numbers: dict[str, tuple[float, ...]] = {}
    weights: dict[str, Weight] = {}
    graphs: dict[str, Graph] = {}
    for number, _, value in fields(view, meter):
        meter.spend("opcodes", 1)
        if number in found:
            found[number] = text(value)
        elif number == 1:
            inputs.append(text(value))
        elif number == 2:
            outputs.append(text(value))
        elif number == 5:
            for name, what in _attribute(_view(value), meter, depth):
                if isinstance(what, tuple):
                    numbers[name] = numbers.get(name, ()) + what
                elif isinstance(what, Weight):
                    weights[name] = what
                else:
                    graphs[name] = what
    domain = "" if found[7] == "ai.onnx" else found[7]
    return Node(found[4], domain, found[3], tuple(inputs), tuple(outputs), numbers, weights, graphs)


def _attribute(view: View, meter: Meter, depth: int) -> Iterator[tuple[str, tuple[float, ...] | Weight | Graph]]:
    name = ""
    values: list[tuple[float, ...] | Weight | Graph] = []
    for number, wire, value in fields(view, meter):
        if number == 1:
            name = text(value)
        elif number in (2, 7) and isinstance(value, View):
            raw = value.read()
            values.append(struct.unpack(f"<{len(raw) // 4}f", raw[: len(raw) // 4 * 4]))
        elif number in (3, 8):
            whole = [value] if isinstance(value, int) else varints(value.read(0, _MOST_BYTES))
            meter.spend("opcodes", len(whole))
            values.append(tuple(float(_signed(each)) for each in whole))
        elif number in (5, 10):
            values.append(_weight(_view(value), meter))
        elif number in (6, 11):
            values.append(_graph(_view(value), meter, depth + 1))
        elif number in (4, 9) and wire == 0:
            raise malformed("a text that is a number")
    graphs = 0
    for each in values:
        graphs += isinstance(each, Graph)
        yield (f"{name}#{graphs}" if isinstance(each, Graph) and graphs > 1 else name), each


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _weight(view: View, meter: Meter) -> Weight:
    name, dtype, external = "", 0, False
    shape: list[int] = []
    parts: list[tuple[int, View]] = []
    for number, _, value in fields(view, meter):
        if number == 1:
            sizes = [value] if isinstance(value, int) else varints(value.read(0, 1 << 12))
            shape += [_signed(size) for size in sizes]
        elif number == 2 and isinstance(value, int):
            dtype = value
        elif number == 8:
            name = text(value)
        elif number == 9 or number in _TYPED:
            # A single number that is not packed is a field of its own.
            parts.append((number, View(_varint_bytes(value)) if isinstance(value, int) else value))
        elif number == 13 or (number == 14 and value == 1):
            external = True
    if len(shape) > 32 or any(size < 0 for size in shape):
        raise malformed(f"{name} has the shape {shape[:32]}")
    if not parts and not external and math.prod(shape) == 0:
        parts = [(9, View(b""))]
    return Weight(name, tuple(shape), dtype, () if external else tuple(parts))


def _varint_bytes(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _declared(view: View, meter: Meter) -> Declared:
    name, dtype = "", 0
    shape: list[int] | None = None
    for number, _, value in fields(view, meter):
        if number == 1:
            name = text(value)
        elif number == 2:
            for kind, _, inner in fields(_view(value), meter):
                if kind != 1:  # a sequence, a map or an optional value
                    continue
                for part, _, content in fields(_view(inner), meter):
                    if part == 1 and isinstance(content, int):
                        dtype = content
                    elif part == 2:
                        shape = [
                            _size(_view(size), meter) for each, _, size in fields(_view(content), meter) if each == 1
                        ]
    return Declared(name, dtype, None if shape is None else tuple(shape))


def _size(view: View, meter: Meter) -> int:
    for number, _, value in fields(view, meter):
        if number == 1 and isinstance(value, int):
            return _signed(value)
    return -1
