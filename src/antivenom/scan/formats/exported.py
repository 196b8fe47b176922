"""Programs of `torch.export`: JSON whose expressions SymPy evaluates on loading, and whose targets are then called."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.formats import names
from antivenom.scan.formats.torchscript import KNOWN, TOUCHING
from antivenom.scan.part import Part
from antivenom.scan.rules import CUSTOM_OPERATION, EMBEDDED_CODE, UNSAFE_OPERATION
from antivenom.scan.view import View

_CALLED = frozenset(
    ["Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "Abs", "floor", "ceiling"]
) | {"Eq", "Ne", "Le", "Lt", "Ge", "Gt", "And", "Or", "Not", "Equality", "Unequality", "GreaterThan", "LessThan"}
_CALLED |= {
    "StrictGreaterThan",
    "StrictLessThan",
    "Piecewise",
    "ExprCondPair",
    "Tuple",
    "FloorDiv",
    "CleanDiv",
    "CeilDiv",
}
_CALLED |= {
    "ModularIndexing",
    "Where",
    "PythonMod",
    "IntTrueDiv",
    "FloatTrueDiv",
    "FloatPow",
    "PowByNatural",
    "Identity",
}
_CALLED |= {"TruncToInt", "TruncToFloat", "RoundToInt", "RoundDecimal", "ToFloat", "CeilToInt", "FloorToInt"}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*")
_HARMLESS = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.Tuple, ast.BinOp, ast.UnaryOp),
    *(ast.Compare, ast.operator, ast.unaryop, ast.cmpop),
)
_ARITHMETIC = re.compile(
    r"_operator\.(?:getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|and_|or_|not_|[lg][te]|eq|ne)"
)
_COMPUTING = re.compile(r"torch\.sym_\w+|math\.\w+|torch\.ops\.higher_order\.\w+")


def check_object(part: Part, value: dict[str, object]) -> Iterator[Finding]:
    """The findings in one JSON object, if it is an expression or a node of such a program."""
    expression, target = value.get("expr_str"), value.get("target")
    if isinstance(expression, str) and not _is_arithmetic(expression):
        yield part.finding(EMBEDDED_CODE, f"an expression that is evaluated: {expression}", name="expr_str")
    if isinstance(target, str) and "inputs" in value and target.startswith(("torch", "_operator", "math", "#")):
        yield from _target(part, target)
    for key in ("in_spec", "out_spec"):  # JSON text inside JSON, which describes how arguments are nested
        if isinstance(spec := value.get(key), str):
            yield from part.descend(View(spec.encode()), key)
    module, name = value.get("default_factory_module"), value.get("default_factory_name")
    if (
        isinstance(module, str)
        and isinstance(name, str)
        and (rule := names.broken_rule(part, module, name)) is not None
    ):
        yield part.finding(rule, f"imports {module}.{name}", name=f"{module}.{name}")


def _is_arithmetic(expression: str) -> bool:
    """Whether an expression only creates symbols and numbers and combines them by known functions."""
    try:
        tree = ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, MemoryError):
        return False
    named: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, _HARMLESS):
            return False
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in _CALLED:
                return False
            if node.func.id == "Symbol" and node.args:
                named.add(id(node.args[0]))
        # Every other function of SymPy evaluates a text argument as Python.
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)) and id(node) not in named:
            return False
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not _NAME.fullmatch(node.value):
            return False
        if isinstance(node, ast.Name) and not _NAME.fullmatch(node.id):
            return False
    return True


def _target(part: Part, target: str) -> Iterator[Finding]:
    pieces = target.split(".")
    if pieces[:2] == ["torch", "ops"] and len(pieces) > 3:
        if pieces[3] in TOUCHING:
            yield part.finding(UNSAFE_OPERATION, f"the operation {target}", name=target)
        elif pieces[2] not in KNOWN | {"higher_order"}:
            yield part.finding(CUSTOM_OPERATION, f"the operation {target}", name=target)
    elif target.startswith("#"):
        yield part.finding(CUSTOM_OPERATION, f"the operation {target}", name=target)
    elif not _ARITHMETIC.fullmatch(target) and not _COMPUTING.fullmatch(target):
        yield part.finding(UNSAFE_OPERATION, f"calls {target}", name=target)
