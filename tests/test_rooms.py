"""Every plugin in the sources is found by the registry and exported by its room."""

from __future__ import annotations

import ast
from pathlib import Path

from antivenom.core.registry import Kind, entries

SOURCES = Path(__file__).parents[1] / "src" / "antivenom"
DECORATORS = {str(kind).replace(" ", "_") for kind in Kind} | {"attack"}  # the kind `data attack` is @attack
UNEXPORTED = {"models", "core"}  # their plugins are imported from the module that holds them


def plugins() -> list[tuple[Path, str]]:
    """Every class at the top of a file with a decorator of a kind, read without importing anything."""
    return [
        (path, node.name)
        for path in sorted(SOURCES.rglob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and any(_name(mark) in DECORATORS for mark in node.decorator_list)
    ]


def _name(mark: ast.expr) -> str:
    return ast.unparse(mark.func if isinstance(mark, ast.Call) else mark)


def _exports(folder: Path) -> set[str]:
    for node in ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return {str(item.value) for item in ast.walk(node.value) if isinstance(item, ast.Constant)}
    return set()


def test_the_registry_finds_every_plugin_in_the_sources() -> None:
    assert len(plugins()) > 150
    known = {(entry.cls.__module__, entry.cls.__name__) for entry in entries()}
    for path, name in plugins():
        module = ".".join(path.relative_to(SOURCES.parent).with_suffix("").parts).removesuffix(".__init__")
        assert (module, name) in known, (
            f"{name}: import {module} in its room, or name the room in core/registry/entry.py"
        )


def test_every_room_exports_its_plugins() -> None:
    for path, name in plugins():
        room = path.relative_to(SOURCES).parts[0]
        if room not in UNEXPORTED:
            names = _exports(SOURCES / room) | _exports(SOURCES) | _exports(path.parent)
            assert name in names, f"{name}: add it to __all__ in {room}/__init__.py"


def test_every_public_name_can_be_imported() -> None:
    import antivenom

    for name in antivenom.__all__:
        assert getattr(antivenom, name) is not None
