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

    The state is (version, byte order, subtype, names, fields, item size, alignment, flags). numpy believes it: a field
    that ends behind its record reads foreign memory, and objects that the flags deny are pointers from the file. So a
    state that contradicts itself is not understood.
    """
    match dtype:
        case Instance(
            maker=Global(module="numpy", name="dtype"), arguments=(str() as code, *_), state=state, rebuilt=False
        ):
            size = _of_code(code)
            match state:
                case None:
                    return size
                case (_, _, None, None, None, int(width), _, int(flags), *_) if width in (-1, size):
                    return size if (size == OBJECTS) == bool(flags & 1) else None
                case (_, _, None, tuple(names), Mapping(items=fields), int(width), _, int(flags), *_) if width == size:
                    parts = [_of_field(fields.get(name), width) for name in names]
                    if None in parts or len(fields) != len(names) or (OBJECTS in parts) != bool(flags & 1):
                        return None
                    return OBJECTS if OBJECTS in parts else size
    return None


def is_sound(dtype: Instance) -> bool:
    """Whether numpy may believe the state of a pickled type."""
    return of_stub(dtype) is not None or of_array(dtype) is not None or dtype.arguments == ("V0", False, True)


def _of_field(field: Any, width: int) -> int | None:
    """Bytes of one field; None if it is not understood or does not lie within a record of `width` bytes."""
    match field:
        case (dtype, int(offset), *_):
            size = of_stub(dtype) if (array := of_array(dtype)) is None else array
            within = size is not None and 0 <= offset <= width - (8 if size == OBJECTS else size)
            return size if within else None
    return None


def of_array(dtype: Any) -> int | None:
    """Bytes of a pickled type that is an array of another; None if it is none or holds objects."""
    match dtype:
        case Instance(
            maker=Global(module="numpy", name="dtype"),
            arguments=(str() as code, *_),
            state=(_, _, (base, tuple(shape)), None, None, int(width), _, int(flags), *_),
        ) if all(isinstance(n, int) and n >= 0 for n in shape):
            size = of_stub(base)
            if size not in (None, OBJECTS) and size * math.prod(shape) == width == _of_code(code) and not flags & 1:
                return width
    return None
