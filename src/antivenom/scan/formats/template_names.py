"""The names with which a Jinja template reads attributes and items, taken from its syntax tree.

A template accesses Python's internals through attributes whose names begin with an underscore. Such names are refused
everywhere, and so are names that the template computes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from antivenom.scan.limits import Meter

if TYPE_CHECKING:
    from jinja2 import nodes

DUNDER = re.compile(
    r"__(?:class|bases?|mro|subclasses|globals|init|new|builtins|import|getattribute|getattr|dict|code|closure|call|"
    r"self|func|module|loader|spec|reduce|reduce_ex|wrapped|subclasshook|init_subclass|doc|name|qualname|getitem)__"
)
# Names without a leading underscore that also lead from an object to the interpreter.
_INTERNAL = re.compile(r"(?:gi|cr|ag|tb)_\w+|f_(?:globals|locals|builtins|back|code)|co_\w+|func_\w+|mro")
_FORMATTED = re.compile(r"\{[^{}]*[.\[]\s*_")  # a format string that reads a private attribute
_BY_ATTRIBUTE = frozenset(
    ["attr", "map", "select", "reject", "selectattr", "rejectattr", "sort", "groupby", "sum", "unique", "min", "max"]
)
_NUMBERS = frozenset(["length", "count", "int", "abs", "round", "float"])
# Filters that choose among existing values and produce no new text.
_CHOOSING = _NUMBERS | {"list", "first", "last", "items", "dictsort", "sort", "unique", "selectattr", "rejectattr"}
_CHOOSING |= {"select", "reject", "default", "d", "min", "max", "sum", "map", "trim", "tojson"}
_CHOOSING_METHODS = frozenset(["items", "keys", "values", "get", "split", "strip", "lstrip", "rstrip", "index", "find"])
_CHOOSING_FUNCTIONS = frozenset(["range", "namespace", "dict"])
_CHANGING = frozenset(["append", "insert", "extend", "update", "setdefault", "add"])
_LOOP = frozenset(["index", "index0", "length", "revindex", "revindex0", "depth", "depth0"])


class Reading:
    """The syntax tree of a template, with the expressions that are assigned to each of its variables."""

    def __init__(self, tree: nodes.Template, meter: Meter) -> None:
        from jinja2 import nodes

        self._nodes, self._meter = nodes, meter
        self._every = list(_descend(tree))
        meter.spend("opcodes", len(self._every))
        self._calls: dict[str, list[Any]] = {}  # calls of the template's own macros, by name
        self._sources: dict[
            str, list[Any]
        ] = {}  # expressions of a variable, or of the field `variable.name` of a namespace
        self._spaces: dict[str, bool] = {}  # whether a variable is always a namespace
        self._built: set[str] = set()  # variables with computed text
        for node in self._every:
            if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
                self._calls.setdefault(node.node.name, []).extend(_arguments(node))
        for node in self._every:
            self._note(node)
        self._spread()

    def faults(self, strict: bool) -> Iterator[str]:
        """Descriptions of all private or computed names and, if `strict`, of other templates that it loads."""
        nodes = self._nodes
        for node in self._every:
            match node:
                case nodes.Getattr(attr=attr) if _is_private(attr):
                    yield f"reads the attribute {attr}"
                case nodes.Getitem(arg=arg) if not isinstance(arg, nodes.Slice) and not self._is_plain(arg):
                    yield f"reads an item by a private or computed name, line {node.lineno}"
                case nodes.Filter(name=name) if name in _BY_ATTRIBUTE and not self._names_plainly(node):
                    yield f"the filter {name} reads a private or computed attribute, line {node.lineno}"
                case nodes.Const(value=str(value)) if found := DUNDER.search(value) or _FORMATTED.search(value):
                    yield f"contains the text {found.group()}"
                case nodes.Keyword(key=key) if DUNDER.search(key):
                    yield f"contains the text {key}"
                case nodes.Call(node=nodes.Getattr(attr="format" | "format_map", node=text)) if not isinstance(
                    text, nodes.Const
                ):
                    yield f"a computed format string, line {node.lineno}"
                case nodes.Include() | nodes.Import() | nodes.FromImport() | nodes.Extends() if strict:
                    yield f"loads another template, line {node.lineno}"

    def _names_plainly(self, node: nodes.Filter) -> bool:
        arguments = _arguments(node)
        constant = all(isinstance(argument, self._nodes.Const) for argument in arguments)
        return (
            not node.dyn_args
            and not node.dyn_kwargs
            and (constant or node.name != "attr")
            and all(map(self._is_plain, arguments))
        )

    def _note(self, node: nodes.Node) -> None:
        """Record the assignments of a node."""
        nodes = self._nodes
        match node:
            case nodes.Assign(target=target, node=value) | nodes.For(target=target, iter=value):
                self._assign(target, value)
            case nodes.AssignBlock(target=target):
                self._assign(target, node)
            case nodes.With(targets=targets, values=values):
                for target, value in zip(targets, values, strict=True):
                    self._assign(target, value)
            case nodes.Macro(args=targets, defaults=defaults) | nodes.CallBlock(args=targets, defaults=defaults):
                self._sources.setdefault(
                    getattr(node, "name", ""), []
                )  # an assigned name no longer has Jinja's own meaning
                called = self._calls.get(node.name if isinstance(node, nodes.Macro) else "caller", [])
                for target in targets:
                    for value in (*defaults, *called):
                        self._assign(target, value)
            case nodes.Call(node=nodes.Getattr(node=changed, attr=method)) if method in _CHANGING:
                for name in _descend(changed):
                    if isinstance(name, nodes.Name):
                        self._sources.setdefault(name.name, []).extend(_arguments(node))
                    elif isinstance(name, nodes.Getattr) and isinstance(name.node, nodes.Name):
                        self._sources.setdefault(f"{name.node.name}.{name.attr}", []).extend(_arguments(node))

    def _assign(self, target: Any, value: Any) -> None:
        nodes = self._nodes
        for name in _descend(target):
            if isinstance(name, nodes.NSRef):
                self._sources.setdefault(f"{name.name}.{name.attr}", []).append(value)
            elif isinstance(name, nodes.Name):
                is_space = (
                    isinstance(value, nodes.Call)
                    and isinstance(value.node, nodes.Name)
                    and (value.node.name, value.args, value.dyn_args, value.dyn_kwargs) == ("namespace", [], None, None)
                )
                self._spaces[name.name] = is_space and self._spaces.get(name.name, True)
                for keyword in value.kwargs if is_space else ():
                    self._sources.setdefault(f"{name.name}.{keyword.key}", []).append(keyword.value)
            if isinstance(name, (nodes.Name, nodes.NSRef)):
                self._sources.setdefault(name.name, []).append(value)

    def _spread(self) -> None:
        """Propagates: a variable that gets its value from a computed one is computed as well."""
        grown = True
        while grown:
            self._meter.spend("opcodes", sum(map(len, self._sources.values())))
            found = {name for name, values in self._sources.items() if not all(map(self._is_plain, values))}
            grown, self._built = found != self._built, found

    def _is_plain(self, expression: Any) -> bool:
        """Whether an expression only chooses among existing values, none of which is a private name."""
        nodes = self._nodes
        if self._is_number(expression):
            return True
        match expression:
            case nodes.Const(value=value):
                return not isinstance(value, str) or not _is_private(value)
            case nodes.Name(name=name):
                return name not in self._built
            case nodes.Getattr(node=nodes.Name(name=owner), attr=name) if self._spaces.get(owner):
                return f"{owner}.{name}" not in self._built
            case nodes.Add(left=left, right=right):
                if not any(self._is_number(side) or isinstance(side, nodes.List) for side in (left, right)):
                    return False
            case nodes.Mod(left=left, right=right) | nodes.Mul(left=left, right=right):
                if not self._is_number(right) or isinstance(left, (nodes.Const, nodes.List, nodes.Tuple)):
                    return False
            case nodes.Slice(step=step):
                if step is not None:
                    return False
            case nodes.Filter(name=name, args=arguments):
                applied = arguments[0] if name == "map" and arguments else None
                if name not in _CHOOSING or (applied and getattr(applied, "value", "") not in _CHOOSING):
                    return False
            case nodes.Call(node=nodes.Getattr(attr=method)):
                if method not in _CHOOSING_METHODS:
                    return False
            case nodes.Call(node=nodes.Name(name=function)):
                if function not in _CHOOSING_FUNCTIONS or function in self._sources:
                    return False
            case nodes.Concat() | nodes.AssignBlock() | nodes.Call():
                return False
        return all(map(self._is_plain, expression.iter_child_nodes()))

    def _is_number(self, expression: object) -> bool:
        nodes = self._nodes
        match expression:
            case nodes.Const(value=value):
                return isinstance(value, (int, float))
            case nodes.Filter(name=name):
                return name in _NUMBERS
            case nodes.Call(node=nodes.Name(name="range")):
                return "range" not in self._sources
            case nodes.Sub() | nodes.Neg() | nodes.Pos() | nodes.Div() | nodes.FloorDiv() | nodes.Pow():
                return True
            case nodes.Add(left=left, right=right) | nodes.Mul(left=left, right=right):
                return self._is_number(left) and self._is_number(right)
            case nodes.Getattr(node=nodes.Name(name="loop"), attr=attr):
                return attr in _LOOP and "loop" not in self._sources
        return False


def _is_private(name: str) -> bool:
    return any(piece.startswith("_") or _INTERNAL.fullmatch(piece) for piece in name.split("."))


def _arguments(node: Any) -> list[Any]:
    return [*(node.args or ()), *(keyword.value for keyword in node.kwargs or ())]


def _descend(node: nodes.Node) -> Iterator[Any]:
    """The node and all its descendants, without recursion."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        yield here
        waiting.extend(here.iter_child_nodes())
