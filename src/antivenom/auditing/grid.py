"""Expands a scenario file's mappings into values. A list where a field holds a single value is an axis of a grid."""

from __future__ import annotations

import dataclasses
import itertools
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from antivenom.auditing.yaml_lines import Located, Path
from antivenom.core.errors import AntivenomError, PluginError, ScenarioError, did_you_mean
from antivenom.core.registry import (
    RESERVED,
    Kind,
    build,
    coerce,
    describe,
    fields_of,
    find,
    holds_plugin,
    kinds_of,
    registered,
    split_fields,
)

Axes = tuple[str, ...]  # such as ("poisoned_rate=0.1", "seed=3")
Choice = tuple[Any, Axes]  # a value, and where on the grid's axes it lies
MOST_CELLS = 100_000  # in one entry of `scenarios`


def variants(cls: type, mapping: object, document: Located, path: Path, reserved: Sequence[str] = ()) -> list[Choice]:
    """Every instance of a dataclass that the mapping describes, with its "field=value" texts on the grid's axes.

    Args:
        cls: the dataclass.
        mapping: fields and their values; with n values for one field and m for another there are n m instances.
        document: the file, for the place in an error's message.
        path: where in the file the mapping is.
        reserved: keys of the mapping that are not fields. If `fields` is one of them, its value holds the fields whose
            names are reserved.

    Raises:
        AntivenomError: an unknown field or an invalid value; the message begins with the line and field.
    """
    with document.at(path):
        if not isinstance(mapping, Mapping):
            raise PluginError(f"the fields of {cls.__name__}", repr(mapping), "write `field: value` lines")
    below = "fields" in reserved and "fields" in mapping
    with document.at((*path, "fields") if below else path):
        nodes = split_fields(mapping, reserved) if reserved else mapping
    hints = fields_of(cls)
    choices: dict[str, list[Choice]] = {}
    for key, node in nodes.items():
        here = (*path, key) if key in mapping and key not in reserved else (*path, "fields", key)
        with document.at(here):
            if key not in hints:
                raise PluginError(f"a field of {cls.__name__}", repr(key), did_you_mean(str(key), hints))
            choices[key] = _options(hints[key], node, document, here, f"{cls.__name__}.{key}")
    require_few(math.prod(map(len, choices.values())), document, path)
    found = []
    for combination in itertools.product(*([(key, *choice) for choice in choices[key]] for key in choices)):
        axes: list[str] = []
        for key, value, inner in combination:
            axes += inner
            if len(choices[key]) > 1 and not inner:
                axes.append(f"{key}={label(value)}")
        with document.at(path):
            found.append((_made(cls, {key: value for key, value, _ in combination}), tuple(axes)))
    return found


def _made(cls: type, values: Mapping[str, Any]) -> Any:
    """The instance with these fields, of which a record must be able to hold all."""
    required = [f for f in dataclasses.fields(cls) if f.init and f.default is f.default_factory is dataclasses.MISSING]
    absent = next((field.name for field in required if field.name not in values), None)
    if absent is not None:
        raise PluginError(f"a value for {cls.__name__}.{absent}", "none", "it has no default: add it")
    try:
        value = cls(**values)
        describe(value)
    except AntivenomError:
        raise
    except Exception as error:  # the `__post_init__` of a third party may raise anything
        raise PluginError(f"valid fields for {cls.__name__}", f"{type(error).__name__}: {error}") from error
    return value


def require_few(number: int, document: Located, path: Path) -> None:
    """Refuse a grid of more than `MOST_CELLS` combinations, before they are made."""
    if number > MOST_CELLS:
        with document.at(path):
            raise ScenarioError(f"at most {MOST_CELLS} combinations in a grid", f"{number}", "write shorter lists")


def plugins(node: object, document: Located, path: Path, *kinds: Kind) -> list[Choice]:
    """Every plugin that a name, a mapping with `name`, or a list of these describes; arguments as in `variants`."""
    if isinstance(node, list):
        _require_values(node, document, path)
        return [choice for i, item in enumerate(node) for choice in plugins(item, document, (*path, i), *kinds)]
    with document.at(path):
        if not isinstance(node, Mapping) or not isinstance(node.get("name"), str):
            return [(build(node, *kinds), ())]
        entry = find(node["name"], *kinds)
    return variants(entry.cls, node, document, path, RESERVED)


def _options(hint: Any, node: Any, document: Located, path: Path, where: str) -> list[Choice]:
    """The values of one field. A list is an axis, unless the field is a tuple; then a list of lists is one."""
    if isinstance(node, list) and not _holds_sequence(hint):
        _require_values(node, document, path)
    if holds_plugin(hint):
        if isinstance(node, list):
            parts = (_options(hint, item, document, (*path, i), where) for i, item in enumerate(node))
            return list(itertools.chain.from_iterable(parts))
        if node is None and type(None) in typing.get_args(hint):
            return [(None, ())]
        return plugins(node, document, path, *kinds_of(hint))
    if dataclasses.is_dataclass(hint) and isinstance(node, Mapping):
        return variants(typing.cast(type, hint), node, document, path)
    is_axis = isinstance(node, list) and (not _holds_sequence(hint) or any(isinstance(item, list) for item in node))
    return [(coerce(item, hint, where), ()) for item in (node if is_axis else [node])]


def _require_values(node: Sequence[object], document: Located, path: Path) -> None:
    """Refuse an empty axis, which would remove every combination without a word."""
    if not node:
        with document.at(path):
            raise PluginError(
                "at least one value in a list of values to try", "none", "add a value or remove the field"
            )


def _holds_sequence(hint: object) -> bool:
    return any(typing.get_origin(part) is tuple for part in (hint, *typing.get_args(hint)))


def label(value: object) -> str:
    """A value as tables show it: a plugin as its name and the fields that differ from their defaults, None as "none".

    >>> from antivenom.core.wanted import AllToOne
    >>> label(AllToOne()), label(AllToOne(3)), label(None)
    ('AllToOne', 'AllToOne(target=3)', 'none')
    """
    if value is None:
        return "none"
    if isinstance(value, tuple) and any(dataclasses.is_dataclass(item) for item in value):
        return " + ".join(label(item) for item in value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return str(value)
    if hasattr(value, "described"):
        short = value.described()
        if isinstance(short, str) or "name" not in short:
            return str(value)
        return f"{short['name']}({short.get('data', short.get('path', ''))})"
    parts = []
    for field in dataclasses.fields(value):
        own = getattr(value, field.name)
        if field.default is dataclasses.MISSING or own != field.default:
            nested = dataclasses.is_dataclass(own) or (
                isinstance(own, tuple) and any(map(dataclasses.is_dataclass, own))
            )
            parts.append(label(own) if nested else f"{field.name}={label(own)}")
    entry = registered(type(value))
    name = entry.name if entry is not None and entry.cls is type(value) else type(value).__name__
    return name + (f"({', '.join(parts)})" if parts else "")
