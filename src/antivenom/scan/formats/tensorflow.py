"""Operations of TensorFlow graphs, in SavedModels and frozen. A graph is a program that can read and write files."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from antivenom.scan.findings import Finding
from antivenom.scan.formats.protobuf import BYTES, VARINT, fields, first, shape, text
from antivenom.scan.part import Part
from antivenom.scan.reader import Fault
from antivenom.scan.rules import CUSTOM_OPERATION, UNSAFE_OPERATION
from antivenom.scan.view import View

_SAVED = {1: VARINT, 2: BYTES}
_GRAPH = {1: BYTES, 2: BYTES, 3: VARINT, 4: BYTES, 5: BYTES}
_CHECKPOINT = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"})
_NAME = re.compile(r"[A-Za-z0-9_.][\w.\\/>-]*")
_PATH = re.compile(r"(?:/|[A-Za-z]:[\\/]|\w+://|\.\./|.*/\.\./)\S*")  # a path that leads out of the model's folder


@dataclass
class _Node:
    """An operation and the properties that matter for this check."""

    operation: str
    inputs: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


@cache
def operations() -> tuple[frozenset[str], frozenset[str]]:
    """The operations of TensorFlow that only compute, and those that access files, the network or Python."""
    content = resources.files("antivenom.scan").joinpath("lists/tensorflow.toml").read_text("utf-8")
    lists = tomllib.loads(content)
    return frozenset(lists["computing"]["names"]), frozenset(lists["reaching"]["names"])


def is_saved_model(view: View) -> bool:
    """Whether the content is a message with schema version 1 and graphs."""
    if view.read(0, 1) not in (b"\x08", b"\x12"):
        return False
    return shape(view) == _SAVED


def is_graph(view: View) -> bool:
    """Whether the content is a message of nodes, each with a name and an operation."""
    if view.read(0, 1) not in (b"\x0a", b"\x12", b"\x18", b"\x22"):
        return False
    node = first(view, 1)
    try:
        if shape(node).get(2) != BYTES or not _NAME.fullmatch(text(first(node, 2))):
            return False
    except Fault:
        return False
    return all(_GRAPH.get(number) == wire for number, wire in (shape(view) or {0: 0}).items())


def check_saved_model(part: Part) -> Iterator[Finding]:
    """The findings in all graphs of a SavedModel and in its descriptions of Keras objects."""
    for number, _, value in fields(part.view, part.meter, _SAVED):
        if number == 2 and isinstance(value, View):
            for inner, _, content in fields(value, part.meter, {2: BYTES, 7: BYTES}):
                if inner == 2 and isinstance(content, View):
                    yield from _graph(part, content)
                elif inner == 7 and isinstance(content, View):
                    yield from _objects(part, content)


def check_graph(part: Part) -> Iterator[Finding]:
    yield from _graph(part, part.view)


def _graph(part: Part, view: View) -> Iterator[Finding]:
    """The findings in one graph and its library of functions."""
    graphs: dict[str, dict[str, _Node]] = {"": {}}
    for number, _, value in fields(view, part.meter, _GRAPH):
        if number == 1 and isinstance(value, View):
            _add(part, graphs[""], value)
        elif number == 2 and isinstance(value, View):
            for inner, _, function in fields(value, part.meter, {1: BYTES}):
                if inner == 1 and isinstance(function, View):
                    _function(part, graphs, function)
    computing, reaching = operations()
    found = {node.operation: None for nodes in graphs.values() for node in nodes.values()}
    for operation in found:
        if operation in reaching:
            yield part.finding(UNSAFE_OPERATION, f"the operation {operation}", name=operation)
        elif operation not in computing and operation not in _CHECKPOINT and operation not in graphs:
            yield part.finding(CUSTOM_OPERATION, f"the operation {operation}, which is not known", name=operation)
    yield from _paths(part, graphs)


def _function(part: Part, graphs: dict[str, dict[str, _Node]], view: View) -> None:
    name, nodes = "", dict[str, _Node]()
    for number, _, value in fields(view, part.meter, {1: BYTES, 3: BYTES}):
        if isinstance(value, View) and number == 1:
            name = next((text(each) for inner, _, each in fields(value, part.meter, {1: BYTES}) if inner == 1), "")
        elif isinstance(value, View) and number == 3:
            _add(part, nodes, value)
    graphs.setdefault(name, {}).update(nodes)


def _add(part: Part, nodes: dict[str, _Node], view: View) -> None:
    name, node = "", _Node("")
    for number, _, value in fields(view, part.meter, {1: BYTES, 2: BYTES, 3: BYTES, 5: BYTES}):
        match number:
            case 1:
                name = text(value)
            case 2:
                node.operation = text(value)
            case 3:
                node.inputs.append(text(value).lstrip("^").partition(":")[0])
            case 5 if isinstance(value, View):
                _attribute(part, node, value)
    part.meter.spend("opcodes", 1)
    while name in nodes:  # of two nodes with one name, both are checked
        name += "'"
    nodes[name] = node


def _attribute(part: Part, node: _Node, view: View) -> None:
    """Record the functions and the text in an attribute of a node."""
    entry = dict.fromkeys((1, 2), View(b""))
    for number, _, value in fields(view, part.meter, {1: BYTES, 2: BYTES}):
        if number in entry and isinstance(value, View):
            entry[number] = value
    for number, _, value in fields(entry[2], part.meter):
        if number == 10 and isinstance(value, View):  # a function by its name
            node.calls += [text(each) for inner, _, each in fields(value, part.meter) if inner == 1]
        elif number == 8 and isinstance(value, View):  # a constant, whose type can follow
            node.texts += list(_strings(part, value))
        elif number == 2 and node.operation == "PrintV2" and isinstance(value, View) and value.read(0, 5) == b"file:":
            node.operation = "PrintV2 to a file"
    if node.texts[1:]:
        node.texts = []  # a table of texts is not a path


def _strings(part: Part, tensor: View) -> Iterator[str]:
    for number, wire, value in fields(tensor, part.meter):
        if number == 8 and wire == BYTES and isinstance(value, View) and len(value) < 4096:
            yield value.read().decode("utf-8", "replace")


def _paths(part: Part, graphs: dict[str, dict[str, _Node]]) -> Iterator[Finding]:
    """Findings for checkpoint paths in the graph. TensorFlow's own graphs get these paths from the caller."""
    saving = {name for name, nodes in graphs.items() if any(node.operation in _CHECKPOINT for node in nodes.values())}
    grown = True
    while grown:
        part.meter.tick()
        more = {name for name, nodes in graphs.items() if any(_calls(node, saving) for node in nodes.values())} - saving
        grown, saving = bool(more), saving | more
    for name in saving:
        nodes = graphs[name]
        waiting = [
            each
            for node in nodes.values()
            if node.operation in _CHECKPOINT or _calls(node, saving)
            for each in node.inputs
        ]
        seen: set[str] = set()
        while waiting:
            here = waiting.pop()
            if here in seen or here not in nodes:
                continue
            seen.add(here)
            waiting += nodes[here].inputs
            for path in nodes[here].texts:
                if _PATH.fullmatch(path):
                    yield part.finding(UNSAFE_OPERATION, f"a checkpoint at {path}", name=path)


def _calls(node: _Node, functions: set[str]) -> bool:
    return node.operation in functions or any(call in functions for call in node.calls)


def _objects(part: Part, view: View) -> Iterator[Finding]:
    """The findings in a SavedModel's Keras layers, whose configurations are JSON."""
    for number, _, node in fields(view, part.meter, {1: BYTES}):
        if number == 1 and isinstance(node, View):
            for inner, _, kind in fields(node, part.meter, {4: BYTES}):
                if inner == 4 and isinstance(kind, View):
                    yield from _described(part, kind, {1: BYTES, 3: BYTES}, 3)


def is_keras_metadata(view: View) -> bool:
    """Whether the content is the list of Keras objects that accompanies a SavedModel."""
    if view.read(0, 1) != b"\x0a":
        return False
    found = shape(first(view, 1))
    described = found.get(4) == BYTES and found.get(5) == BYTES and found.get(2, VARINT) == VARINT
    return described and shape(view) == {1: BYTES}


def check_keras_metadata(part: Part) -> Iterator[Finding]:
    for _, _, node in fields(part.view, part.meter, {1: BYTES}):
        if isinstance(node, View):
            yield from _described(part, node, {3: BYTES, 4: BYTES, 5: BYTES}, 5)


def _described(part: Part, view: View, kinds: dict[int, int], metadata: int) -> Iterator[Finding]:
    for number, _, value in fields(view, part.meter, kinds):
        if number == metadata and isinstance(value, View) and len(value) > 2:
            yield from part.descend(value, "<keras metadata>")
