"""Checks of a plugin's fields on construction, so that Python code gets the same errors as a scenario file."""

from __future__ import annotations

import dataclasses
import enum
import functools
import numbers
import types
import typing
from collections.abc import Mapping
from typing import TypeVar

from antivenom.core.errors import PluginError, similar

C = TypeVar("C", bound=type)
_NUMBERS = {int: (numbers.Integral, "a whole number"), float: (numbers.Real, "a number")}


def check_fields(value: object) -> None:
    """Compare a dataclass with its annotations: numbers, strings, bools, enumerations and plugins are checked.

    Tuples, mappings and nested dataclasses are not checked here; the code that uses them does it.

    Raises:
        PluginError: the first field of a wrong type.
    """
    kind: typing.Any = type(value)  # Any, because mypy takes no class for hashable, which functools.cache requires
    for name, hint in _hints(kind).items():
        given = vars(value).get(name)
        if name in vars(value) and not _fits(given, hint):
            parts = _parts(hint)
            what = " or ".join(_words(part) for part in parts)
            choices = [str(word) for part in parts if _is_choice(part) for word in part]
            remedy = similar(str(given), choices) if choices else ""
            raise PluginError(f"{type(value).__name__}.{name}: {what}", repr(given), remedy)


def with_checked_fields(cls: C) -> C:
    """The same class, with a constructor that checks the fields after `__init__` and `__post_init__`."""
    if "__checked__" in vars(cls) or not dataclasses.is_dataclass(cls):
        return cls
    made = cls.__init__

    @functools.wraps(made)
    def construct(self: object, *args: object, **fields: object) -> None:
        try:
            made(self, *args, **fields)
        except TypeError:
            # The plugin's own checks may compare a string with a number, which raises before ours are reached. Ours name
            # the field, so they come first; if they find nothing, the error has another cause.
            check_fields(self)
            raise
        check_fields(self)
        _refuse_nan(self)

    cls.__init__ = construct  # type: ignore[method-assign]
    cls.__checked__ = True  # type: ignore[attr-defined]
    return cls


def _refuse_nan(value: object) -> None:
    """Refuse NaN in a field of numbers: every comparison with it is false, so that it passes most checks of a range."""
    for name, hint in _hints(type(value)).items():  # type: ignore[arg-type]
        given = vars(value).get(name)
        if float in _parts(hint) and isinstance(given, numbers.Real) and given != given:
            raise PluginError(f"{type(value).__name__}.{name}: a number", "nan")


def require_range(plugin: object, least: float, most: float, *fields: str) -> None:
    """Refuse fields with a value outside `least` to `most`. NaN is refused, None is accepted.

    Raises:
        PluginError: names the first such field with its range and value.
    """
    for field in fields:
        value = getattr(plugin, field)
        if value is None:
            continue
        check_fields(plugin)  # a string could not be compared with a number
        if not least <= value <= most:
            limits = f">= {least:g}" if most == float("inf") else f"from {least:g} to {most:g}"
            limits = "as a number" if least == -most == float("-inf") else limits
            raise PluginError(f"{type(plugin).__name__}.{field} {limits}", f"{value}")


@functools.cache
def _hints(cls: type) -> Mapping[str, object]:
    """The annotations that are checked, by field name; empty if they cannot be evaluated."""
    try:
        found = typing.get_type_hints(cls)
    except NameError:  # an annotation uses a name that is imported under TYPE_CHECKING
        return {}
    names = [field.name for field in dataclasses.fields(cls)]
    return {name: found[name] for name in names if all(map(_is_checked, _parts(found[name])))}


def _parts(hint: object) -> tuple[typing.Any, ...]:
    """The members of a union; any other annotation alone."""
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def _is_choice(part: object) -> bool:
    return isinstance(part, type) and issubclass(part, enum.Enum)


def _is_signature(part: object) -> bool:
    """Whether an annotation is a protocol, so that the field holds a plugin."""
    return bool(getattr(part, "_is_protocol", False))


def _is_checked(part: object) -> bool:
    return part in (int, float, bool, str, type(None)) or _is_choice(part) or _is_signature(part)


def _fits(value: object, hint: object) -> bool:
    return any(_fits_part(value, part) for part in _parts(hint))


def _fits_part(value: object, part: typing.Any) -> bool:
    if part in _NUMBERS:
        return isinstance(value, _NUMBERS[part][0]) and not isinstance(value, bool)
    if _is_choice(part):
        return value in [word.value for word in part] if isinstance(value, str) else isinstance(value, part)
    if _is_signature(part):
        return value is not None and not isinstance(value, (str, numbers.Number))
    return isinstance(value, part)


def _words(part: typing.Any) -> str:
    if part in _NUMBERS:
        return _NUMBERS[part][1]
    if part is type(None):
        return "None"
    if _is_signature(part):
        return f"a plugin ({part.__name__})"
    named = {bool: "True or False", str: "a word"}
    return named[part] if part in named else "one of " + ", ".join(str(word.value) for word in part)
