"""The registry's outline: names, docstrings, fields and types of all plugins as plain JSON.

Importing all plugins takes seconds, reading the outline milliseconds. `written` makes the outline of the loaded registry.
Inside `outlined`, the registry holds stand-ins made from it: frozen dataclasses with the same names, fields, types and
defaults, but without the plugins' code and checks of ranges. A stand-in is enough to validate or show a scenario file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from antivenom.core import protocols, threat
from antivenom.core.errors import DataError, NotApplicable, did_you_mean
from antivenom.core.registry import entry as registry
from antivenom.core.registry.entry import Entry, Kind, Traits
from antivenom.core.registry.fields import CONVERTERS, fields_of
from antivenom.core.threat import Access, Goal, Level

Outline = Mapping[str, Any]
Json = dict[str, Any]
_PLAIN = {"int": int, "float": float, "str": str, "bool": bool, "None": type(None), "Any": Any}


def written() -> Json:
    """The outline of all plugins of antivenom itself: "entries", and the dataclasses ("values") and "enums" they use."""
    own = [entry for entry in registry.entries() if entry.origin == "antivenom"]
    values: Json = {}
    enums: Json = {}
    for entry in own:
        _outline(entry.cls, values, enums)
    return {"entries": [_entry(entry) for entry in own], "values": dict(sorted(values.items())), "enums": enums}


def _entry(entry: Entry) -> Json:
    traits = entry.traits
    return {
        "name": entry.name,
        "kind": str(entry.kind),
        "class": _key(entry.cls),
        "access": [str(level) for level in entry.access],
        "goals": [str(goal) for goal in entry.goals],
        "cite": entry.cite,
        "arrows": [] if traits is None else [str(kind) for kind in traits.arrows],
        "levels": []
        if traits is None
        else [[step.name, step.about, [*map(str, step.access)]] for step in traits.levels],
    }


def _outline(cls: type, values: Json, enums: Json) -> None:
    """Add a dataclass, and recursively the classes of its fields, to `values` and `enums`."""
    if _key(cls) in values:
        return
    hints = fields_of(cls)
    fields: list[Json] = []
    values[_key(cls)] = {"doc": inspect.getdoc(cls) or "", "fields": fields}
    for field in dataclasses.fields(cls):
        one = {"name": field.name, "type": _type(hints[field.name], values, enums)}
        if field.default is not dataclasses.MISSING:
            one["default"] = _default(field.default, values, enums)
        fields.append(one)


def _type(hint: Any, values: Json, enums: Json) -> str | Json:
    """A type annotation as JSON; `_StandIns._hint` is the inverse."""
    parts = [Ellipsis if part is Ellipsis else _type(part, values, enums) for part in typing.get_args(hint)]
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return {"any of": parts}
    if typing.get_origin(hint) is tuple:
        return {"tuple": ["..." if part is Ellipsis else part for part in parts]}
    if hint in _PLAIN.values():
        return next(name for name, plain in _PLAIN.items() if plain is hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum) and hint.__module__ != threat.__name__:
        enums[_key(hint)] = {member.name: member.value for member in hint}
    elif dataclasses.is_dataclass(hint):
        _outline(typing.cast(type, hint), values, enums)
    elif not getattr(hint, "_is_protocol", False) and getattr(hint, "__module__", "") != threat.__name__:
        return {"opaque": hint.__name__} if isinstance(hint, type) else "Any"
    return {"name": _key(hint)}


def _default(value: object, values: Json, enums: Json) -> Any:
    """A field's default as JSON; `_StandIns._value` is the inverse."""
    if isinstance(value, Goal):
        return {"goal": str(value)}
    if isinstance(value, enum.Enum):
        return {"enum": _key(type(value)), "value": value.value}
    if isinstance(value, tuple):
        return {"tuple": [_default(item, values, enums) for item in value]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        _outline(type(value), values, enums)
        fields = {f.name: _default(getattr(value, f.name), values, enums) for f in dataclasses.fields(value)}
        return {"of": _key(type(value)), "fields": fields}
    return value


def _key(cls: type) -> str:
    """The name of a class with its module, because two modules may use the same name."""
    return f"{cls.__module__}.{cls.__name__}"


def spelled(hint: object) -> str:
    """A field's type as source text without module names, such as "tuple[int, ...] | None"."""
    parts = ["..." if part is Ellipsis else spelled(part) for part in typing.get_args(hint)]
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " | ".join(parts)
    name = "None" if hint is type(None) else getattr(hint, "__name__", str(hint))
    return f"{name}[{', '.join(parts)}]" if parts else name


@contextlib.contextmanager
def outlined(outline: Outline, data: typing.Collection[str] = ()) -> Iterator[None]:
    """Inside the block the registry holds stand-ins, unless the plugins themselves have been loaded already.

    Args:
        outline: what `written` returned.
        data: names of the named data sets, which a source may be given by.
    """
    if registry._loaded:
        yield
        return
    entries, converters = dict(registry._ENTRIES), dict(CONVERTERS)
    makers = _StandIns(outline)
    registry._ENTRIES.clear()
    registry._ENTRIES.update({row["name"]: makers.entry(row) for row in outline["entries"]})
    for kind in (Kind.SOURCE, Kind.ARCHITECTURE, Kind.ESTIMATOR):
        CONVERTERS[kind] = _Converter(makers, data if kind is Kind.SOURCE else None)
    CONVERTERS[Kind.WANTED] = makers.wanted
    registry._loaded = True
    try:
        yield
    finally:
        registry._loaded = False
        registry._ENTRIES.clear()
        registry._ENTRIES.update(entries)
        CONVERTERS.clear()
        CONVERTERS.update(converters)


class _StandIns:
    """Makes the stand-in classes of an outline, each when it is first needed, and only once."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._made: Json = {}

    def entry(self, row: Outline) -> Entry:
        levels = tuple(Level(name, about, tuple(map(Access, access))) for name, about, access in row["levels"])
        traits = Traits(tuple(map(Kind, row["arrows"])), levels) if levels else None
        cls = self.cls(row["class"])
        if levels:
            cls.level = property(lambda self: levels[0].name if len(levels) == 1 else str(self.access))
        access, goals = tuple(map(Access, row["access"])), tuple(map(Goal, row["goals"]))
        return Entry(row["name"], Kind(row["kind"]), cls, access, goals, row["cite"], "antivenom", traits)

    def named(self, name: str) -> Any:
        """The stand-in for the plugin of that name."""
        return self.cls(next(row["class"] for row in self._outline["entries"] if row["name"] == name))

    def wanted(self, value: Any) -> Any:
        """The converter of `antivenom.core.wanted`: a whole number stands for AllToOne."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        return self.named("AllToOne")(value) if whole else None

    def cls(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, key: str) -> Any:
        module, _, name = key.rpartition(".")
        if module == threat.__name__:
            return getattr(threat, name)
        if key in self._outline["enums"]:
            return enum.StrEnum(name, self._outline["enums"][key])
        if key not in self._outline["values"]:
            shape = getattr(protocols, name, None)
            return shape or types.new_class(name, (typing.Protocol,))
        row = self._outline["values"][key]
        fields = [
            (field["name"], self._hint(field["type"]), self._value(field["default"]))
            if "default" in field
            else (field["name"], self._hint(field["type"]))
            for field in row["fields"]
        ]
        body: Json = {"__call__": _absent, "__doc__": row["doc"]}
        if name == "Named":  # a named data set is described by its name, as in `antivenom.data`
            body["described"] = lambda self: self.dataset
        made = dataclasses.make_dataclass(name, fields, frozen=True, namespace=body)
        made.__module__ = module
        return made

    def _hint(self, kind: Any) -> Any:
        if isinstance(kind, str):
            return _PLAIN[kind]
        if "tuple" in kind:
            return tuple[tuple(Ellipsis if part == "..." else self._hint(part) for part in kind["tuple"])]  # type: ignore[misc]
        if "opaque" in kind:  # an array, or another type whose values cannot be written in a scenario file
            return type(kind["opaque"], (), {})
        if "any of" in kind:
            return typing.Union[tuple(self._hint(part) for part in kind["any of"])]  # noqa: UP007 - made at run time
        return self.cls(kind["name"])

    def _value(self, value: object) -> Any:
        if not isinstance(value, dict):
            return value
        if "goal" in value:
            return Goal(value["goal"])
        if "enum" in value:
            return self.cls(value["enum"])(value["value"])
        if "tuple" in value:
            return tuple(map(self._value, value["tuple"]))
        fields = {name: self._value(inner) for name, inner in value["fields"].items()}
        return self.cls(value["of"])(**fields)


@dataclasses.dataclass(frozen=True)
class _Converter:
    """The stand-in for converters: takes data sets by name, and the user's functions and objects as `module:name`."""

    makers: _StandIns
    data: typing.Collection[str] | None

    def __call__(self, value: object) -> Any:
        if isinstance(value, str) and ":" in value:
            return Reference(value)
        if self.data is None or not isinstance(value, str):
            return None
        if value in self.data:
            return self.makers.named("Named")(value)
        sources = {entry.name for entry in registry.entries(Kind.SOURCE)}
        if value not in sources:
            raise DataError("the name of a data set", repr(value), did_you_mean(value, {*self.data, *sources}))
        return None


@dataclasses.dataclass(frozen=True)
class Reference:
    """A function or object of the user's, given as `module:name` and not imported."""

    path: str

    def described(self) -> str:
        return self.path


def _absent(self: object, *_: object) -> typing.NoReturn:
    raise NotApplicable(f"the plugin {type(self).__name__}", "its stand-in", "call it outside of `outlined`")
