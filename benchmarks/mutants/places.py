"""Where a source file can be mutated, and how: the operators of cosmic-ray, one mutant drawn for each place."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

# Of cosmic-ray's 130 operators: the ones whose mutants are programs that somebody might write. A sum of floats that becomes
# a bit shift fails in any test that runs the line, and would only flatter the tests. Decorators register plugins and make
# dataclasses, so that removing one breaks the import.
PAIRS = {
    "BinaryOperator": "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_FloorDiv Pow_Mul BitAnd_BitOr BitOr_BitAnd BitXor_BitOr",
    "ComparisonOperator": "Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Eq_NotEq NotEq_Eq Is_IsNot IsNot_Is",
    "UnaryOperator": "USub_UAdd UAdd_USub Delete_USub Delete_Not Delete_Invert",
}
OTHERS = (
    "AddNot ReplaceTrueWithFalse ReplaceFalseWithTrue ReplaceAndWithOr ReplaceOrWithAnd ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak ExceptionReplacer NumberReplacer ZeroIterationForLoop",
)
OPERATORS = [f"core/Replace{kind}_{pair}" for kind, pairs in PAIRS.items() for pair in pairs.split()]
OPERATORS += [f"core/{name}" for line in OTHERS for name in line.split()]

# Nothing within these nodes of parso's tree is mutated: hints, messages of errors, metadata of plugins, imports.
LEFT_OUT = ("annassign", "param", "raise_stmt", "decorator", "import_name", "import_from")


@dataclass(frozen=True, order=True)
class Mutant:
    """One mutant: `operator` applied to the `occurrence`-th of its places in `file`, which begins at `line` and `column`."""

    file: str
    line: int
    column: int
    operator: str
    occurrence: int


def mutants(root: Path, file: str, seed: int) -> list[Mutant]:
    """One mutant, drawn at random, for every place in the file that can be mutated, in the order of the file."""
    tree = get_ast((root / file).read_text())
    places: dict[tuple[int, int], list[Mutant]] = {}
    for name in OPERATORS:
        for mutant in _applied(tree, file, name):
            places.setdefault((mutant.line, mutant.column), []).append(mutant)
    return [random.Random(f"{seed} {file} {place}").choice(found) for place, found in sorted(places.items())]


def mutants_of(root: Path, file: str, operator: str) -> list[Mutant]:
    """All mutants that one operator makes of the file."""
    return list(_applied(get_ast((root / file).read_text()), file, operator))


def _applied(tree: parso.tree.BaseNode, file: str, name: str) -> Iterator[Mutant]:
    """The mutants of an operator, without those in the places that are left out."""
    hints, operator, occurrence = set(_hints(tree)), get_operator(name)(), 0
    for node in ast_nodes(tree):
        for start, *_ in operator.mutation_positions(node):
            if start not in hints:
                yield Mutant(file, *start, name, occurrence)
            occurrence += 1


def mutated(root: Path, mutant: Mutant) -> str | None:
    """The text of the mutated file; None if it is no Python, or the same program."""
    source = (root / mutant.file).read_text()
    text = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
    try:
        return None if text is None or ast.dump(ast.parse(text)) == ast.dump(ast.parse(source)) else text
    except SyntaxError:
        return None


def _hints(tree: parso.tree.BaseNode) -> Iterator[tuple[int, int]]:
    """The positions that are left out: see LEFT_OUT; of parameters and annotated assignments, the default remains."""
    for node in ast_nodes(tree):
        if node.type not in LEFT_OUT and not _is_return_hint(node):
            continue
        kept = _default(node)
        kept_positions = set() if kept is None else {inner.start_pos for inner in ast_nodes(kept)}
        yield from ({inner.start_pos for inner in ast_nodes(node)} - kept_positions)


def _default(node: parso.tree.NodeOrLeaf) -> parso.tree.NodeOrLeaf | None:
    """The value of a parameter or of an annotated assignment, if it has one."""
    if node.type == "param":
        return node.default
    if node.type == "annassign" and len(node.children) == 4:
        return node.children[3]
    return None


def _is_return_hint(node: parso.tree.NodeOrLeaf) -> bool:
    return node.parent is not None and node.parent.type == "funcdef" and node is node.parent.annotation


def statement_lines(source: str, line: int) -> tuple[range, bool]:
    """The lines of the innermost statement around `line`, without the body of a compound one; and if it is in a function."""
    found, inside = range(line, line + 1), False
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt) or not node.lineno <= line <= (node.end_lineno or node.lineno):
            continue
        body = getattr(node, "body", None)
        end = body[0].lineno - 1 if isinstance(body, list) and body else node.end_lineno or node.lineno
        if isinstance(node, ast.FunctionDef) and line > end:
            inside = True
        if line <= max(end, node.lineno):
            found = range(node.lineno, max(end, node.lineno) + 1)
    return found, inside
