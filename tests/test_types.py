"""`Any` switches the type checker off, so its use in the sources is counted and limited."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import antivenom

LIMIT = 8.0  # uses of Any per 1,000 lines, imports not counted


def uses_of_any(source: str) -> int:
    """How often the code names `Any` or `typing.Any`. Imports, strings and comments do not count."""
    nodes = ast.walk(ast.parse(source))
    return sum(
        (isinstance(node, ast.Name) and node.id == "Any") or (isinstance(node, ast.Attribute) and node.attr == "Any")
        for node in nodes
    )


def test_uses_are_counted_and_imports_are_not() -> None:
    source = '''
import typing
from typing import Any

def first(value: Any, other: "object") -> dict[str, typing.Any]:
    """Any value."""
    found: Any = value  # Any
    return found
'''
    assert uses_of_any(source) == 3


def test_any_is_rare_in_the_sources() -> None:
    lines, uses = 0, Counter[str]()
    root = Path(antivenom.__file__).parent
    for path in root.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        lines += len(source.splitlines())
        uses[str(path.relative_to(root))] = uses_of_any(source)
    share = 1000 * uses.total() / lines
    most = ", ".join(f"{path}: {count}" for path, count in uses.most_common(5))
    assert share < LIMIT, f"{share:.2f} uses of Any per 1,000 lines; most are in {most}"
