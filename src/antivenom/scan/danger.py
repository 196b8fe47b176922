"""Names that are known to run code, open files or reach the network. No allow list can permit them."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

_LISTS = resources.files("antivenom.scan") / "lists"


@cache
def standard_modules() -> frozenset[str]:
    """The top modules of the standard library of every supported Python, whichever runs the scan."""
    text = (_LISTS / "standard.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


@cache
def _entries() -> tuple[dict[str, str], dict[str, str], frozenset[str]]:
    """Reason by module, reason by function, and the standard modules that hold values only."""
    content = tomllib.loads((_LISTS / "dangerous.toml").read_text("utf-8"))
    modules = {module: entry["why"] for entry in content["dangerous"] for module in entry.get("modules", ())}
    functions = {name: entry["why"] for entry in content["dangerous"] for name in entry.get("functions", ())}
    return modules, functions, frozenset(content["values"])


def danger(module: str, name: str) -> str:
    """Why `module.name` is known to be dangerous; empty if nobody has said so.

    A module stands for its submodules and for everything in it. A function stands for every function of that name, in
    whatever module, because a module also gives out what it has imported.

    >>> danger("os", "system")
    'it starts programs, or acts on files and processes'
    >>> danger("ourteam.nets", "Encoder")
    ''
    """
    modules, functions, values = _entries()
    parts = [*module.split("."), *name.split(".")]
    for count in range(1, len(parts) + 1):
        if why := modules.get(".".join(parts[:count])):
            return why
    names = name.split(".")
    for part in names:
        if why := functions.get(part):
            return why
        if part.startswith("__") and part.endswith("__"):
            return "it reaches Python's internals"
    plain = module in values and len(names) == 1 and not name.startswith("_")
    if parts[0] in standard_modules() and not plain:
        return "it belongs to a part of Python's standard library that can run code, open files or reach the network"
    return ""
