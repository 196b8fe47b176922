"""The size of an array's items, from the descriptions that numpy writes."""

from __future__ import annotations

import math
import re
from typing import Any

from antivenom.scan.stubs import Global, Instance, Mapping

OBJECTS = -1  # items are pickled objects, of no fixed size
_PLAIN = re.compile(r"[<>|=]?([?biufcSUVmMO])(\d*)(\[\w+\])?")


def of_description(description: Any) -> int | None:
    """Bytes per item of a header's `descr`; OBJECTS if it holds objects; None if it is not understood."""
    match description:
        case str():
            return _of_code(description)
        case [*fields] | (*fields,) if fields and all(isinstance(f, tuple) and len(f) in (2, 3) for f in fields):
            if any(isinstance(field[1], tuple) for field in fields):
                return None
            sizes = [of_description(field[1]) for field in fields]
            if OBJECTS in sizes:
                return OBJECTS
            if None in sizes:
                return None
            shapes = [field[2] if len(field) == 3 else () for field in fields]
            shapes = [(shape,) if isinstance(shape, int) else shape for shape in shapes]
            if not all(isinstance(shape, tuple) and all(isinstance(n, int) for n in shape) for shape in shapes):
                return None
            return sum(size * math.prod(shape) for size, shape in zip(sizes, shapes, strict=True) if size is not None)
    return None


def _of_code(code: str) -> int | None:
    match = _PLAIN.fullmatch(code)
    if not match:
        return None
    kind, width = match[1], match[2]
    if kind == "O":
        return OBJECTS
    if kind == "?":
        return 1
    if not width:
        return None
    return int(width) * (4 if kind == "U" else 1)


def of_stub(dtype: Any) -> int | None:
    """Bytes per item of a pickled `numpy.dtype`: called with its code, then given its state by BUILD.

    The state is (version, byte order, subtype, names, fields, item size, alignment, flags).
    """
    match dtype:
        case Instance(maker=Global(module="numpy", name="dtype"), arguments=(str() as code, *_), state=state):
            size = _of_code(code)
            match state:
                case None:
                    return size
                # The state overrides the code: a width or flags that say otherwise change what is read.
                case (_, _, None, None, None, int(width), _, int(flags), *_) if size is not None:
                    return (
                        size if (flags & 1) == (size == OBJECTS) and (width in (-1, size) or size == OBJECTS) else None
                    )
                case (_, _, None, tuple(names), Mapping(items=fields), int(width), _, int(flags), *_) if width == size:
                    parts = [_of_field(fields.get(name)) for name in names]
                    if None in parts or (OBJECTS in parts) != bool(flags & 1):
                        return None
                    return OBJECTS if OBJECTS in parts else size
    return None


def _of_field(field: Any) -> int | None:
    match field:
        case (Instance(state=(_, _, (base, tuple()), *_)), int()):  # an array as a field
            return of_stub(base)
        case (dtype, int()):
            return of_stub(dtype)
    return None
