"""Sizes of array items, read from numpy's descriptions of dtypes."""

from __future__ import annotations

import math
import re

from antivenom.scan.stubs import Global, Instance, Mapping

OBJECTS = -1  # the items are pickled objects, whose size is not fixed
_PLAIN = re.compile(r"[<>|=]?([?biufcSUVmMO])(\d*)(\[\w+\])?")


def of_description(description: object) -> int | None:
    """Bytes per item of a header's `descr`; OBJECTS for a dtype with objects; None if it cannot be read."""
    match description:
        case str():
            return _of_code(description)
        case [*fields] | (*fields,) if fields:
            return _of_fields(fields)
    return None


def _of_fields(fields: list[object]) -> int | None:
    """The size of a record, whose fields are tuples (name, description) or (name, description, shape)."""
    sizes: list[int | None] = []
    counts: list[int | None] = []
    for field in fields:
        if not isinstance(field, tuple) or len(field) not in (2, 3) or isinstance(field[1], tuple):
            return None
        sizes.append(of_description(field[1]))
        counts.append(_count(field[2]) if len(field) == 3 else 1)
    if OBJECTS in sizes:
        return OBJECTS
    if None in sizes or None in counts:
        return None
    return sum(
        size * count for size, count in zip(sizes, counts, strict=True) if size is not None and count is not None
    )


def _count(shape: object) -> int | None:
    """How many items a shape has; None if it is neither a number nor a tuple of numbers."""
    shape = (shape,) if isinstance(shape, int) else shape
    if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
        return math.prod(shape)
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


def of_stub(dtype: object) -> int | None:
    """Bytes per item of a pickled `numpy.dtype`; OBJECTS for a dtype with objects; None if it cannot be read."""
    match dtype:
        case Instance(maker=Global(module="numpy", name="dtype"), arguments=(str() as code, *_), state=None):
            return _of_code(code)
        case Instance(maker=Global(module="numpy", name="dtype")):
            return dtype.size
    return None


def measure(dtype: Instance) -> bool:
    """Set the size of a pickled dtype that has just received its state; returns whether the state is consistent.

    The state is (version, byte order, subtype, names, fields, item size, alignment, flags). numpy does not verify it: a
    field that ends behind its record reads foreign memory, and objects without their flag are pointers taken from the
    file. So an inconsistent state is refused, and so is one that contains a dtype without its own state.
    """
    if dtype.rebuilt:  # arrays that were read with the first state would change
        dtype.size = None
        return False
    match dtype.arguments, dtype.state:
        case (str() as code, *_), (_, _, None, None, None, int(width), _, int(flags), *_):
            size = _of_code(code)
            fits = width in (-1, size) and (size == OBJECTS) == bool(flags & 1)
            dtype.size = size if fits else None
            return fits and (size is not None or code == "V0")
        case (str() as code, *_), (_, _, (base, tuple(shape)), None, None, int(width), _, int(flags), *_):
            if width == _of_code(code) == _of_array(base, shape) and not flags & 1:
                dtype.size = width
        case (str() as code, *_), (_, _, None, tuple(names), Mapping() as fields, int(width), _, int(flags), *_):
            if width == _of_code(code):
                dtype.size = _of_record(names, fields, width, flags)
    return dtype.size is not None


def _of_array(base: object, shape: tuple[object, ...]) -> int | None:
    if not isinstance(base, Instance) or base.state is None or base.size in (None, OBJECTS):
        return None
    count = _count(shape)
    return None if count is None or any(isinstance(n, int) and n < 0 for n in shape) else base.size * count


def _of_record(names: tuple[object, ...], fields: Mapping, width: int, flags: int) -> int | None:
    sizes = []
    for name in names:
        match fields.items.get(name) if isinstance(name, str) else None:
            case (Instance(size=int(size)) as inner, int(offset), *_) if inner.state is not None:
                sizes.append(size)
                if not 0 <= offset <= width - (8 if size == OBJECTS else size):
                    return None
            case _:
                return None
    if len(fields.items) != len(names) or (OBJECTS in sizes) != bool(flags & 1):
        return None
    return OBJECTS if OBJECTS in sizes else width
