"""What to read before a name goes on the allow list: what loading can make of it, told from its source.

    python benchmarks/scan/review.py module.name [module.name ...]
    python benchmarks/scan/review.py --estimators

For a class: whether constructing it only stores its arguments, and which special methods a pickle can reach (BUILD,
dict keys, items, attribute look-ups, collection), with the class that defines each. For a function: whether it calls one of its
arguments by name. It prepares a review and is none: native code, and what calls lead to, must be read.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import textwrap
from typing import Any

# What an unpickler, or a plain constructor of the list (dict, list, str, set), can run on an object.
REACHABLE = (
    *("__new__", "__setstate__", "__reduce__", "__reduce_ex__", "__getattr__", "__getattribute__", "__setattr__"),
    *("__del__", "__hash__", "__eq__", "__iter__", "__len__", "__getitem__", "__setitem__", "__str__", "__repr__"),
    *(
        "__array__",
        "__bytes__",
        "__int__",
        "__index__",
        "__float__",
        "__deepcopy__",
        "__copy__",
        "append",
        "extend",
        "add",
    ),
)
_PLAIN = (object, dict, tuple, list, Exception)


def construction(kind: type) -> str:
    """`stores` if no `__init__` of the class does more than keep its arguments, else what it calls."""
    calls: list[str] = []
    for owner in kind.__mro__:
        if "__init__" not in vars(owner) or owner in _PLAIN:
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(vars(owner)["__init__"])))
        except (OSError, TypeError):
            return f"native ({owner.__module__}.{owner.__name__})"
        calls += [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    others = sorted({call for call in calls if call not in ("super", "super().__init__")})
    return "stores" if not others else "calls " + ", ".join(others)


def specials(kind: type) -> list[str]:
    """The reachable special methods that are not a plain type's, each with its owner."""
    found = []
    for name in REACHABLE:
        owner = next((c for c in kind.__mro__ if name in vars(c)), None)
        if owner is not None and owner not in _PLAIN and vars(owner)[name] is not None:
            found.append(f"{name} of {owner.__module__}.{owner.__name__}")
    return found


def calls_argument(function: Any) -> list[str]:
    """Parameters that the function's own source calls."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):
        return ["native: read its source"]
    names = set(inspect.signature(function).parameters)
    return sorted(
        {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
        & names
    )


def review(module: str, name: str) -> str:
    """One line for one global."""
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        return f"{module}.{name}: not here ({error})"
    if isinstance(found, type):
        reach = "; ".join(specials(found)) or "none"
        return f"{module}.{name}: class; construction {construction(found)}; reachable: {reach}"
    called = ", ".join(calls_argument(found)) if callable(found) else "not callable"
    return f"{module}.{name}: {type(found).__name__}; calls its argument: {called or 'none'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--estimators", action="store_true", help="all of scikit-learn's, too")
    options = parser.parse_args()
    names = [tuple(name.rsplit(".", 1)) for name in options.names]
    if options.estimators:
        from sklearn.utils import all_estimators

        names += [(kind.__module__, kind.__name__) for _, kind in all_estimators()]
    for module, name in names:
        print(review(module, name))


if __name__ == "__main__":
    main()
