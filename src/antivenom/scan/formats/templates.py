"""Chat templates: Jinja programs that a model brings along. Parsed, never rendered.

A template reaches Python's internals through attributes whose names begin with an underscore. Such a name is refused
wherever it is written, and so is every name that the template puts together itself: both are found in the syntax tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from antivenom.scan.findings import Finding
from antivenom.scan.part import Part
from antivenom.scan.rules import MALFORMED, NO_PARSER, TEMPLATE

if TYPE_CHECKING:
    from jinja2 import nodes

# Names without an underscore that lead from an object to the interpreter.
_INTERNAL = re.compile(r"(?:gi|cr|ag|tb)_\w+|f_(?:globals|locals|builtins|back|code)|co_\w+|func_\w+|mro")
_DUNDER = re.compile(
    r"__(?:class|bases?|mro|subclasses|globals|init|new|builtins|import|getattribute|getattr|dict|code|closure|call|"
    r"self|func|module|loader|spec|reduce|reduce_ex|wrapped|subclasshook|init_subclass|doc|name|qualname|getitem)__"
)
_FORMATTED = re.compile(r"\{[^{}]*[.\[]\s*_")  # a format string that reads a private attribute
# What is looked for where there is no syntax tree: in the marks of a template only.
_MARKS = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_RAW = re.compile(
    rf"{_DUNDER.pattern}|\.\s*_|\[\s*['\"]_|\|\s*attr\b|\\x5f|\\u005f|\\137|_TemplateReference|(?:lipsum|cycler|joiner)\s*[.\[|]"
)
_ATTRIBUTE_FILTERS = frozenset(
    [
        "attr",
        "map",
        "select",
        "reject",
        "selectattr",
        "rejectattr",
        "sort",
        "groupby",
        "sum",
        "unique",
        "min",
        "max",
        "join",
    ]
)
# These choose among what is there and put no new text together.
_CHOOSING = frozenset(
    [
        "length",
        "count",
        "int",
        "abs",
        "round",
        "float",
        "list",
        "first",
        "last",
        "items",
        "dictsort",
        "sort",
        "unique",
        "selectattr",
        "rejectattr",
        "select",
        "reject",
        "default",
        "d",
        "min",
        "max",
        "sum",
        "map",
        "trim",
        "tojson",
    ]
)
_CHOOSING_METHODS = frozenset(
    ["items", "keys", "values", "get", "split", "strip", "lstrip", "rstrip", "index", "count", "find", "rfind"]
)
_CHOOSING_FUNCTIONS = frozenset({"range", "namespace", "dict", "len"})


def check(part: Part, text: str, name: str, strict: bool = True) -> Iterator[Finding]:
    """What a template reaches for. If not `strict`, the text need not be a template at all."""
    where = f"{name}: " if name else ""
    try:
        tree = _parsed(text)
    except ImportError:
        raw = _raw(text)
        rule, what = (TEMPLATE, raw) if raw else (NO_PARSER, "a template, and jinja2 is not installed")
        yield part.finding(rule, where + what, name=name)
    except Exception as error:  # jinja2 raises more than its own errors on text that is no template
        if raw := _raw(text):
            yield part.finding(TEMPLATE, where + raw, name=name)
        elif strict:
            yield part.finding(MALFORMED, f"{where}a template that does not parse: {error}", name=name)
    else:
        for fault in dict.fromkeys(_Reading(tree, strict).faults()):
            yield part.finding(TEMPLATE, where + fault, name=name)


def _parsed(text: str) -> nodes.Template:
    import jinja2
    from jinja2.ext import Extension

    class Generation(Extension):
        """The tag with which transformers marks what the assistant says; its body is an ordinary template."""

        tags = {"generation"}  # noqa: RUF012 - jinja2 reads it from the class

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do", Generation]
    )
    return environment.parse(text)


def _raw(text: str) -> str:
    for mark in _MARKS.finditer(text):
        if found := _RAW.search(mark.group()):
            return f"{found.group()} in a template that cannot be parsed"
    return ""


def _is_private(name: str) -> bool:
    return any(piece.startswith("_") or _INTERNAL.fullmatch(piece) for piece in name.split("."))


class _Reading:
    """One syntax tree, with where each variable gets its values from."""

    def __init__(self, tree: nodes.Template, strict: bool) -> None:
        from jinja2 import nodes

        self.nodes, self.strict = nodes, strict
        self.every = list(_descend(tree))
        self.sources: dict[str, list[Any]] = {}
        self._plain: dict[str, bool] = {}
        for node in self.every:
            self._note(node)

    def faults(self) -> Iterator[str]:
        nodes = self.nodes
        for node in self.every:
            match node:
                case nodes.Getattr(attr=attr) if _is_private(attr):
                    yield f"reads the attribute {attr}"
                case nodes.Getitem(arg=arg) if not self.is_plain(arg):
                    yield f"reads an item by a name that is private or put together, line {node.lineno}"
                case nodes.Filter(name=name) if name in _ATTRIBUTE_FILTERS and not self._named_plainly(node):
                    yield f"the filter {name} reads an attribute that is private or put together, line {node.lineno}"
                case nodes.Const(value=str(value)) if found := _DUNDER.search(value) or _FORMATTED.search(value):
                    yield f"spells {found.group()}"
                case nodes.Keyword(key=key) if _DUNDER.search(key):
                    yield f"spells {key}"
                case nodes.Call(node=nodes.Getattr(attr="format" | "format_map", node=text)) if not isinstance(
                    text, nodes.Const
                ):
                    yield f"a format string that is put together, line {node.lineno}"
                case nodes.Include() | nodes.Import() | nodes.FromImport() | nodes.Extends() if self.strict:
                    yield f"loads another template, line {node.lineno}"

    def _named_plainly(self, node: nodes.Filter) -> bool:
        arguments = [*(node.args or ()), *(keyword.value for keyword in node.kwargs or ())]
        if node.name == "join":  # the first is what stands between the items
            arguments = arguments[1:] if node.args else arguments
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            return False
        if node.name == "attr" and not all(isinstance(argument, self.nodes.Const) for argument in arguments):
            return False
        return all(self.is_plain(argument) for argument in arguments)

    def _note(self, node: nodes.Node) -> None:
        """Remember what is assigned to which name."""
        nodes = self.nodes
        match node:
            case nodes.Assign(target=target, node=value) | nodes.For(target=target, iter=value):
                self._assign(target, value)
            case nodes.AssignBlock(target=target):
                self._assign(target, node)
            case nodes.With(targets=targets, values=values):
                for target, value in zip(targets, values, strict=False):
                    self._assign(target, value)
            case nodes.Macro(args=arguments, defaults=defaults, name=name):
                for argument in arguments:
                    self.sources.setdefault(argument.name, []).extend(defaults)
                    self.sources[argument.name].extend(self._given(name))
            case nodes.CallBlock(args=arguments, defaults=defaults):
                for argument in arguments:
                    self.sources.setdefault(argument.name, []).extend([*defaults, *self._given("caller")])

    def _given(self, macro: str) -> Iterator[Any]:
        for node in self.every:
            if isinstance(node, self.nodes.Call) and isinstance(node.node, self.nodes.Name) and node.node.name == macro:
                yield from node.args
                yield from (keyword.value for keyword in node.kwargs)

    def _assign(self, target: Any, value: Any) -> None:
        for name in _descend(target):
            if isinstance(name, (self.nodes.Name, self.nodes.NSRef)):
                self.sources.setdefault(name.name, []).append(value)

    def is_plain(self, expression: Any) -> bool:
        """Whether an expression only chooses among values that are there, none of them a private name."""
        nodes = self.nodes
        match expression:
            case nodes.Const(value=value):
                return not isinstance(value, str) or not _is_private(value)
            case nodes.Name(name=name):
                if name not in self._plain:
                    self._plain[name] = True  # a loop of assignments adds nothing
                    self._plain[name] = all(self.is_plain(source) for source in self.sources.get(name, ()))
                return self._plain[name]
            case nodes.Add(left=left, right=right):
                if not (self._is_number(left) or self._is_number(right)):
                    return False
            case nodes.Mod(right=right) | nodes.Mul(right=right):
                if not self._is_number(right) or isinstance(getattr(expression.left, "value", 0), str):
                    return False
            case nodes.Slice(step=step):
                if step is not None and not isinstance(step, nodes.Const):
                    return False
            case nodes.Filter(name=name):
                if name not in _CHOOSING:
                    return False
            case nodes.Call(node=nodes.Getattr(attr=method)):
                if method not in _CHOOSING_METHODS:
                    return False
            case nodes.Call(node=nodes.Name(name=function)):
                if function not in _CHOOSING_FUNCTIONS:
                    return False
            case nodes.Concat() | nodes.AssignBlock() | nodes.Call() | nodes.FilterBlock():
                return False
        return all(self.is_plain(child) for child in expression.iter_child_nodes())

    def _is_number(self, expression: Any) -> bool:
        nodes = self.nodes
        match expression:
            case nodes.Const(value=value):
                return isinstance(value, (int, float))
            case nodes.Filter(name=name):
                return name in ("length", "count", "int", "abs", "round", "float")
            case nodes.Sub() | nodes.Neg() | nodes.Pos() | nodes.Div() | nodes.FloorDiv() | nodes.Pow():
                return True
            case nodes.Add(left=left, right=right) | nodes.Mul(left=left, right=right):
                return self._is_number(left) and self._is_number(right)
            case nodes.Getattr(node=nodes.Name(name="loop"), attr=attr):
                return attr in ("index", "index0", "length", "revindex", "revindex0", "depth", "depth0")
        return False


def _descend(node: nodes.Node) -> Iterator[Any]:
    """The node and all below it, without recursion."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        yield here
        waiting.extend(here.iter_child_nodes())
