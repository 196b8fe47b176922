"""Conversion between plugins (and other dataclasses) and their form in scenario files: names and mappings."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from antivenom.core.errors import AntivenomError, PluginError, did_you_mean, with_article
from antivenom.core.registry.entry import Kind, entries, find, load_builtin, registered
from antivenom.core.threat import Goal

# A field annotated with a protocol, such as Trigger, holds a plugin of that kind. (Model is a protocol without a kind.)
_SIGNATURES = {kind.title().replace(" ", ""): kind for kind in Kind}

# Keys with a meaning of their own in a plugin's mapping. A plugin's fields of these names are written below `fields`.
RESERVED = ("name", "fields")


def split_fields(mapping: Mapping[str, object], reserved: Sequence[str] = RESERVED) -> dict[str, Any]:
    """The fields in a plugin's mapping: all keys that are not reserved, and everything below `fields`.

    >>> split_fields({"name": "Krum", "f": 1, "fields": {"name": "mine"}})
    {'f': 1, 'name': 'mine'}

    Raises:
        PluginError: `fields` is not a mapping, or a field is both below `fields` and beside it.
    """
    own, below = {key: value for key, value in mapping.items() if key not in reserved}, mapping.get("fields", {})
    if not isinstance(below, Mapping):
        raise PluginError("`fields: {field: value}`", repr(below), "write one `field: value` for each")
    for key in below:
        if key in own:
            raise PluginError("each field once", f"{key!r} beside `fields` and below it", "remove one")
    return own | dict(below)


def join_fields(fields: Mapping[str, object], reserved: Sequence[str] = RESERVED) -> dict[str, Any]:
    """The inverse of `split_fields`: fields with reserved names move below `fields`."""
    below = {key: value for key, value in fields.items() if key in reserved}
    return {key: value for key, value in fields.items() if key not in reserved} | ({"fields": below} if below else {})


Converter = Callable[[Any], Any]
CONVERTERS: dict[Kind, Converter] = {}


def converts(kind: Kind) -> Callable[[Converter], Converter]:
    """Register the function that makes a plugin of this kind from other values, such as a Dataset or a path.

    `build` calls it first. It must return None for a value that it does not convert.
    """

    def decorate(function: Converter) -> Converter:
        CONVERTERS[kind] = function
        return function

    return decorate


def build(spec: object, *kinds: Kind) -> Any:
    """A plugin from its name, from `{name: ..., field: value}`, or from a plugin, which is returned unchanged.

    A field that is itself called `name` or `fields` is written below `fields`: `{name: Krum, fields: {name: ...}}`.
    Some kinds accept further values: a source, for one, is also built from the name of a data set or from a Dataset.

    Args:
        spec: the name, mapping or plugin.
        kinds: the kinds that are allowed; all if none is given.

    Raises:
        PluginError: an unknown name or field, with the most similar known one, or a value of the wrong type.
    """
    for kind in kinds:
        load_builtin()  # this registers the converters
        converted = CONVERTERS[kind](spec) if kind in CONVERTERS else None
        if converted is not None:
            return converted
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping):
        if dataclasses.is_dataclass(spec) and not isinstance(spec, type):
            entry = registered(type(spec))
            if entry:
                find(entry.name, *kinds)
            return spec
        raise PluginError("a plugin's name or a mapping with `name`", repr(spec), "write `name: Krum` and its fields")
    if not isinstance(spec.get("name"), str):
        raise PluginError("`name` in the plugin's mapping", ", ".join(map(str, spec)) or "nothing", "add `name: ...`")
    return fill(find(spec["name"], *kinds).cls, split_fields(spec))


def fill(cls: type, mapping: Mapping[str, object]) -> Any:
    """A dataclass from a mapping of its fields. Nested plugins and dataclasses are built, plain values are checked.

    Raises:
        PluginError: an unknown or missing field, or a value of the wrong type.
    """
    hints = fields_of(cls)
    for key in mapping:
        if key not in hints:
            raise PluginError(f"a field of {cls.__name__}", repr(key), did_you_mean(str(key), hints))
    values = {key: coerce(value, hints[key], f"{cls.__name__}.{key}") for key, value in mapping.items()}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.default is parameter.empty and name not in values:
            raise PluginError(f"a value for {cls.__name__}.{name}", "none", "it has no default: add it")
    try:
        return cls(**values)
    except (
        TypeError,
        ValueError,
    ) as error:  # raised by a third party's __post_init__; antivenom's raise AntivenomErrors
        raise PluginError(f"valid fields for {cls.__name__}", str(error)) from error


def fields_of(cls: type) -> dict[str, Any]:
    """The names and evaluated types of a dataclass's fields.

    Raises:
        PluginError: an annotation uses a name that cannot be looked up at run time.
    """
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        raise PluginError(
            f"annotations of {cls.__name__} that can be evaluated", str(error), "import that name outside TYPE_CHECKING"
        ) from error
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def coerce(value: object, hint: Any, where: str) -> Any:
    """Convert a value from a scenario file to the type of a field.

    Args:
        value: what the file holds.
        hint: the field's evaluated annotation.
        where: the field as errors call it, such as "Krum.f".

    Raises:
        PluginError: the value does not have that type.
    """
    import pydantic

    if hint is Goal:
        return _goal(value, where)
    if holds_plugin(hint):
        if value is None and type(None) in typing.get_args(hint):
            return None
        try:
            return build(value, *kinds_of(hint))
        except AntivenomError as error:
            error.at(where)
            raise
    if isinstance(value, (list, tuple)) and typing.get_origin(hint) is tuple and holds_plugin(typing.get_args(hint)[0]):
        return tuple(coerce(item, typing.get_args(hint)[0], f"{where}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return fill(typing.cast(type, hint), value)
    if hint is np.ndarray:
        return np.asarray(value)
    if isinstance(value, Mapping):  # a field of a frozen plugin is a tuple of pairs, which files write as a mapping
        value = tuple(value.items())
    try:
        return pydantic.TypeAdapter(hint).validate_python(value)
    except pydantic.ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise PluginError(f"a valid {where}", repr(value), reason[0].lower() + reason[1:]) from error


def _goal(value: object, where: str) -> Goal:
    """The goal of that name. Asking the registry loads the plugins of third parties, which may define goals."""
    known = [entry.name for entry in entries(Kind.GOAL)]
    if value not in known:
        raise PluginError(f"a valid {where}", repr(value), did_you_mean(str(value), known))
    return Goal(value)


def holds_plugin(hint: object) -> bool:
    """Whether a field of this type holds a plugin: its annotation is a protocol, or a union of protocols and None."""
    parts = [part for part in typing.get_args(hint) if part is not type(None)] or [hint]
    return all(getattr(part, "_is_protocol", False) for part in parts)


def kinds_of(hint: object) -> tuple[Kind, ...]:
    """The kinds of plugin that a field of this type holds; empty if the annotation names no protocol of a kind."""
    names = [part.__name__ for part in typing.get_args(hint) or (hint,)]
    return tuple(_SIGNATURES[name] for name in names if name in _SIGNATURES)


def describe(value: Any) -> dict[str, Any]:
    """The mapping from which `build` or `fill` makes the value again: every field in plain JSON, plugins by name.

    A value may have a method `described()`, which returns a shorter form, such as the name of a named data set.
    """
    if hasattr(value, "described") and isinstance(short := value.described(), dict):
        return short
    fields = {
        field.name: _plain(getattr(value, field.name), f"{type(value).__name__}.{field.name}")
        for field in dataclasses.fields(value)
    }
    entry = registered(type(value))
    return {"name": entry.name, **join_fields(fields)} if entry is not None and entry.cls is type(value) else fields


def _plain(value: object, where: str) -> object:
    """The value of the field `where` in plain JSON.

    Numbers of numpy become Python's, sets become sorted lists, and infinite numbers the words "inf" and "-inf", from which
    `coerce` makes the numbers again.

    Raises:
        PluginError: a value that JSON cannot hold, such as a function or NaN.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return value.described() if hasattr(value, "described") else describe(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Goal):
        return str(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist(), where)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, where) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item, where) for item in value), key=repr)
    if isinstance(value, (tuple, list)):
        return [_plain(item, where) for item in value]
    if isinstance(value, float) and not math.isfinite(value) and value == value:
        return str(value)
    if value is None or (isinstance(value, (bool, int, float, str)) and value == value):
        return value
    got = "nan" if isinstance(value, float) else with_article(type(value).__name__)
    raise PluginError(
        f"a value of {where} that a record can hold", got, "use numbers, words, tuples of them, arrays or plugins"
    )
