"""Checks of a plugin's fields when it is constructed, in Python as in a scenario file."""

from __future__ import annotations

import dataclasses
import enum
import functools
import numbers
import types
import typing
from collections.abc import Mapping
from typing import TypeVar

from antivenom.core.errors import PluginError, did_you_mean

C = TypeVar("C", bound=type)
_NUMBERS = {int: (numbers.Integral, "a whole number"), float: (numbers.Real, "a number")}


def check_fields(value: object) -> None:
    """Refuse a dataclass whose numbers, words, flags, choices or plugins are of another type than its annotations say.

    Tuples, mappings and nested dataclasses are left to whoever uses them.

    Raises:
        PluginError: the first such field.
    """
    kind: typing.Any = type(value)  # which mypy does not take for hashable
    for name, hint in _hints(kind).items():
        given = vars(value).get(name)
        if name in vars(value) and not _fits(given, hint):
            parts = _parts(hint)
            what = " or ".join(_words(part) for part in parts)
            choices = [str(word) for part in parts if _is_choice(part) for word in part]
            remedy = did_you_mean(str(given), choices) if choices else ""
            raise PluginError(f"{type(value).__name__}.{name}: {what}", repr(given), remedy)


def with_checked_fields(cls: C) -> C:
    """The plugin class, whose constructor checks the fields."""
    if "__checked__" in vars(cls) or not dataclasses.is_dataclass(cls):
        return cls
    made = cls.__init__

    @functools.wraps(made)
    def construct(self: object, *args: object, **fields: object) -> None:
        try:
            made(self, *args, **fields)
        except TypeError:
            check_fields(self)  # its own checks compare numbers, and fail on a word before ours are reached
            raise
        check_fields(self)

    cls.__init__ = construct  # type: ignore[method-assign]
    cls.__checked__ = True  # type: ignore[attr-defined]
    return cls


def require_range(plugin: object, least: float, most: float, *fields: str) -> None:
    """Refuse a field that is not from `least` to `most`; NaN never is, None always.

    Raises:
        PluginError: the field, its range and its value.
    """
    for field in fields:
        value = getattr(plugin, field)
        if value is None:
            continue
        check_fields(plugin)  # a word cannot be compared
        if not least <= value <= most:
            limits = f">= {least:g}" if most == float("inf") else f"from {least:g} to {most:g}"
            raise PluginError(f"{type(plugin).__name__}.{field} {limits}", f"{value}")


@functools.cache
def _hints(cls: type) -> Mapping[str, object]:
    """The annotations that are checked, by field; none if they cannot be looked up."""
    try:
        found = typing.get_type_hints(cls)
    except NameError:  # a name that only a type checker imports
        return {}
    names = [field.name for field in dataclasses.fields(cls)]
    return {name: found[name] for name in names if all(map(_is_checked, _parts(found[name])))}


def _parts(hint: object) -> tuple[typing.Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def _is_choice(part: object) -> bool:
    return isinstance(part, type) and issubclass(part, enum.Enum)


def _is_shape(part: object) -> bool:
    return bool(getattr(part, "_is_protocol", False))


def _is_checked(part: object) -> bool:
    return part in (int, float, bool, str, type(None)) or _is_choice(part) or _is_shape(part)


def _fits(value: object, hint: object) -> bool:
    return any(_fits_part(value, part) for part in _parts(hint))


def _fits_part(value: object, part: typing.Any) -> bool:
    if part in _NUMBERS:
        return isinstance(value, _NUMBERS[part][0]) and not isinstance(value, bool)
    if _is_choice(part):
        return value in [word.value for word in part] if isinstance(value, str) else isinstance(value, part)
    if _is_shape(part):
        return value is not None and not isinstance(value, (str, numbers.Number))
    return isinstance(value, part)


def _words(part: typing.Any) -> str:
    if part in _NUMBERS:
        return _NUMBERS[part][1]
    if part is type(None):
        return "None"
    if _is_shape(part):
        return f"a plugin ({part.__name__})"
    named = {bool: "True or False", str: "a word"}
    return named[part] if part in named else "one of " + ", ".join(str(word.value) for word in part)
