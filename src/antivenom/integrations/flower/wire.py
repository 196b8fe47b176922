"""Arrays as Flower sends them: what a reply may contain, read into one row without trusting a header, and back.

Flower sends each array as the bytes of an .npy file beside a type and a shape. A client writes all three. Here the bytes are
compared with the shape that was sent to the client before anything is parsed, and the header must be one that numpy writes.
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from antivenom.core.errors import ModelError
from antivenom.models.layout import Layout, Role

Floats = NDArray[Any]

_FLOATS = {"float16": 2, "float32": 4, "float64": 8, "bfloat16": 2}
_WHOLE = {"int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8, "bool": 1}
_HALF = frozenset({"float16", "bfloat16"})
_MOST_HEADER = 1024  # bytes; numpy writes 128 for all but very long shapes
_HEADER = re.compile(
    rb"\{'descr': '([<|])([fiubV])(\d)', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\), \} *\n"
)
_STATISTICS = ("running_mean", "running_var")  # of torch's batch norm; no rule may average them with the weights


class Unusable(Exception):
    """The reason why a reply cannot be used."""


@dataclass(frozen=True)
class Slot:
    """One array of the model, and its place among the numbers of its kind.

    Fields:
        name: its key.
        shape: its shape.
        dtype: its type in the global model, as Flower names it.
        role: trained parameters go through the rule; buffers and counters are aggregated by their median; frozen ones stay.
        at: the place of its first number, in the row of trained parameters or in that of buffers and counters.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: Role
    at: int

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def span(self) -> slice:
        """Its numbers in their row."""
        return slice(self.at, self.at + self.size)


@dataclass(frozen=True)
class Template:
    """What the arrays of every reply must look like: those of the global model.

    Fields:
        slots: the arrays, trained parameters in the order in which a rule sees them.
        d: how many trained parameters there are.
        m: how many numbers there are in buffers and counters.
        precision: the type in which rows are computed: float64 if a trained parameter is, otherwise float32.
        bytes: the bytes of all arrays, without headers.
    """

    slots: tuple[Slot, ...]
    d: int
    m: int
    precision: type[np.floating[Any]]
    bytes: int

    @property
    def names(self) -> frozenset[str]:
        """The keys of the arrays."""
        return frozenset(slot.name for slot in self.slots)

    @property
    def has_half(self) -> bool:
        """Whether an array is float16 or bfloat16."""
        return any(slot.dtype in _HALF for slot in self.slots)

    def read(self, arrays: ArrayRecord, start: Floats, row: Floats, side: Floats | None) -> None:
        """Write a reply's parameters minus `start` (d,) into `row` (d,), and its buffers and counters into `side` (m,).

        Without `side` they are not read.

        Raises:
            Unusable: the reply differs from what it should look like, or contains NaN or infinity.
        """
        if arrays.keys() != self.names:
            raise Unusable(_differing(self.names, frozenset(arrays.keys())))
        for slot in self.slots:  # all of them are compared before any of them is parsed
            _compare(arrays[slot.name], slot)
        with np.errstate(all="ignore"):  # whatever overflows is found by its infinity
            for slot in self.slots:
                if slot.role is Role.FROZEN or (side is None and slot.role is not Role.TRAINED):
                    continue
                numbers = _parsed(arrays[slot.name], slot)
                if slot.role is Role.TRAINED:
                    part = row[slot.span]
                    np.subtract(numbers, start[slot.span], out=part, casting="same_kind")
                elif side is not None:
                    part = side[slot.span]
                    part[...] = numbers
                if not np.isfinite(part).all():
                    raise Unusable(f"NaN or infinity in {slot.name}")
                if slot.name.rpartition(".")[2] == "running_var" and (part < 0).any():
                    raise Unusable(f"a negative variance in {slot.name}")

    def values(self, arrays: ArrayRecord) -> tuple[Floats, Floats]:
        """(d,) the parameters and (m,) the buffers and counters of the server's own model.

        Raises:
            Unusable: it has other keys or shapes, or contains NaN or infinity.
        """
        vector, side = np.empty(self.d, self.precision), np.empty(self.m, np.float64)
        self.read(arrays, np.zeros(self.d, self.precision), vector, side)
        return vector, side

    def record(self, vector: Floats, side: Floats, frozen: ArrayRecord, *, plain: bool = False) -> ArrayRecord:
        """The model with these parameters (d,) and these buffers and counters (m,); frozen arrays are taken from `frozen`.

        Args:
            plain: half precision is written as float32, in which Flower's strategies can compute.

        Raises:
            Unusable: a number does not fit into its type.
        """
        arrays, slots = ArrayRecord(), {slot.name: slot for slot in self.slots}
        for slot in (slots[name] for name in frozen):
            if slot.role is Role.FROZEN:
                arrays[slot.name] = frozen[slot.name]
                continue
            numbers = (vector if slot.role is Role.TRAINED else side)[slot.span].reshape(slot.shape)
            arrays[slot.name] = _array(numbers, "float32" if plain and slot.dtype in _HALF else slot.dtype, slot.name)
        return arrays


def template_of(arrays: ArrayRecord, layout: Layout | None = None) -> Template:
    """What replies to these arrays must look like.

    Without a layout, arrays of whole numbers are counters, those named `running_mean` or `running_var` are buffers, and all
    others are trained.

    Raises:
        ModelError: a type that no rule can average, a layout of another model, or nothing to train.
    """
    for name, array in arrays.items():
        if array.dtype not in _FLOATS and array.dtype not in _WHOLE:
            raise ModelError("arrays of numbers", f"type {array.dtype} in {name}", "send it in another record")
    roles = {name: _role(name, array) for name, array in arrays.items()}
    order = list(arrays)
    if layout is not None:
        known = dict(zip(layout.names, layout.roles, strict=True))
        shapes = dict(zip(layout.names, layout.shapes, strict=True))
        missing = [name for name in layout.named(Role.TRAINED) if name not in arrays]
        other = [name for name in arrays if name in shapes and tuple(shapes[name]) != tuple(arrays[name].shape)]
        if missing or other:
            raise ModelError("the layout of the model that is sent", f"a difference in {(missing or other)[0]}")
        # an array that the layout does not list is another name of a shared parameter: it must not count twice
        roles = {name: known.get(name, Role.BUFFER if layout.tied else roles[name]) for name in arrays}
        order = [name for name in layout.names if name in arrays] + [name for name in arrays if name not in known]
    slots, ends = list[Slot](), {True: 0, False: 0}
    for name in order:
        role, shape = roles[name], tuple(int(n) for n in arrays[name].shape)
        trained = role is Role.TRAINED
        slots.append(Slot(name, shape, arrays[name].dtype, role, ends[trained]))
        ends[trained] += 0 if role is Role.FROZEN else math.prod(shape)
    if not ends[True]:
        raise ModelError("arrays with parameters to train", "none")
    double = any(slot.dtype == "float64" and slot.role is Role.TRAINED for slot in slots)
    size = sum(slot.size * width_of(slot.dtype) for slot in slots)
    return Template(tuple(slots), ends[True], ends[False], np.float64 if double else np.float32, size)


def layout_of(arrays: ArrayRecord) -> Layout:
    """The layout of a model of which only the arrays are known, for rules that need layers: `Server(LASA(), layout=...)`."""
    template = template_of(arrays)
    return Layout(
        tuple(slot.name for slot in template.slots),
        tuple(torch.Size(slot.shape) for slot in template.slots),
        tuple(getattr(torch, slot.dtype) for slot in template.slots),
        tuple(slot.role for slot in template.slots),
    )


def width_of(dtype: str) -> int:
    """The bytes of one number of this type."""
    return _FLOATS.get(dtype) or _WHOLE[dtype]


def _role(name: str, array: Array) -> Role:
    if array.dtype in _WHOLE:
        return Role.COUNTER
    return Role.BUFFER if name.rpartition(".")[2] in _STATISTICS else Role.TRAINED


def _compare(array: Array, slot: Slot) -> None:
    """Compare what a reply says about an array, and the number of its bytes, with what it must be.

    Raises:
        Unusable: the first difference.
    """
    if array.stype != "numpy.ndarray":
        raise Unusable(f"a serialisation other than .npy in {slot.name}")
    if tuple(array.shape) != slot.shape:
        raise Unusable(f"shape {_short(array.shape)}, not {slot.shape}, in {slot.name}")
    width = _FLOATS.get(array.dtype, 0 if slot.role is Role.TRAINED else _WHOLE.get(array.dtype, 0))
    if not width:
        raise Unusable(f"type {_short(array.dtype)} in {slot.name}")
    extra = len(array.data) - width * slot.size
    if not 10 < extra <= _MOST_HEADER:
        raise Unusable(f"{len(array.data)} bytes in {slot.name}, not {width * slot.size} and a header")


def _parsed(array: Array, slot: Slot) -> Floats:
    """(size,) the numbers of an array that `_compare` accepts.

    Raises:
        Unusable: a header that numpy does not write, or that says something else than the array's type and shape.
    """
    data = array.data
    head, end = bytes(data[:10]), 10 + int.from_bytes(data[8:10], "little")
    found = _HEADER.fullmatch(bytes(data[10:end])) if head[:8] == b"\x93NUMPY\x01\x00" else None
    if found is None:
        raise Unusable(f"no .npy header in {slot.name}")
    if array.dtype == "bfloat16":
        kind, native = b"V2", np.dtype(np.uint16)
    else:
        native = np.dtype(array.dtype)
        kind = f"{native.kind}{native.itemsize}".encode()
    shape = tuple(int(n) for n in found[5].replace(b" ", b"").split(b",") if n)
    if found[2] + found[3] != kind or shape != slot.shape or len(data) - end != native.itemsize * slot.size:
        raise Unusable(f"a header that contradicts the type, shape or bytes of {slot.name}")
    numbers = np.frombuffer(data, native, slot.size, end)
    if array.dtype == "bfloat16":
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.reshape(slot.shape, order="F").ravel() if found[4] == b"True" else numbers


def _array(numbers: Floats, dtype: str, name: str) -> Array:
    """The array in this type, as Flower sends it.

    Raises:
        Unusable: a number becomes infinite in this type.
    """
    with np.errstate(over="ignore"):
        if dtype == "bfloat16":
            halves = torch.from_numpy(np.ascontiguousarray(numbers, np.float32)).bfloat16()
            finite, made = bool(halves.isfinite().all()), halves.view(torch.int16).numpy().view("V2")
        else:
            whole = dtype in _WHOLE
            made = np.rint(numbers).astype(dtype) if whole else np.ascontiguousarray(numbers).astype(dtype)
            finite = whole or bool(np.isfinite(made).all())
    if not finite:
        raise Unusable(f"a number in {name} that {dtype} cannot hold")
    buffer = io.BytesIO()
    np.save(buffer, made.reshape(np.shape(numbers)), allow_pickle=False)
    return Array(dtype=dtype, shape=tuple(np.shape(numbers)), stype="numpy.ndarray", data=buffer.getvalue())


def _differing(expected: frozenset[str], got: frozenset[str]) -> str:
    if not got:
        return "no arrays"
    return f"other arrays than the model's: {_short(sorted(expected ^ got)[0])}"


def _short(value: object) -> str:
    """What a client wrote, for a log: short, and on one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
