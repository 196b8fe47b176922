"""Products of matrices that are too thin for a library, compiled: sums stay in registers, operands in a core's cache.

A batch of a few dozen rows keeps a library's kernels at two thirds of what a core can do, and the library must be kept
from starting threads. Here four rows by two vectors of columns are summed at a time. Rows are padded to ROWS and columns
to COLUMNS, so that no tile is cut; what is computed for padding is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from antivenom.fast.compiled import EXACT, compiled
from antivenom.fast.processor import REGISTER

if TYPE_CHECKING:
    import numpy as np
    from numba.core.base import BaseContext
    from numba.core.typing.templates import Signature

ROWS, COLUMNS = 4, 16


def _tile(vectors: int) -> Callable[..., None]:
    """tile(c, scale, a, b, i, j): c += scale * a b in the rows from i and the columns from j on, `vectors` wide."""

    @intrinsic
    def tile(
        context: BaseContext,
        c: types.Array,
        scale: types.Float,
        a: types.Array,
        b: types.Array,
        i: types.Integer,
        j: types.Integer,
    ) -> tuple[Signature, Callable[..., ir.Value]]:
        return types.void(c, c.dtype, a, b, types.intp, types.intp), _emit

    def _emit(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
    ) -> ir.Value:
        c, a, b = (context.make_array(signature.args[k])(context, builder, arguments[k]) for k in (0, 2, 3))
        scale, i, j = arguments[1], arguments[4], arguments[5]
        number, index = context.get_value_type(signature.args[0].dtype), i.type
        size = context.get_abi_sizeof(number)
        vector = ir.VectorType(number, REGISTER // size)
        rows = [builder.add(i, index(r)) for r in range(ROWS)]
        columns = [builder.add(j, index(v * vector.count)) for v in range(vectors)]

        def place(array: Any, row: ir.Value, column: ir.Value, kind: ir.Type) -> ir.Value:
            strides = cgutils.unpack_tuple(builder, array.strides)
            offset = builder.add(builder.mul(row, strides[0]), builder.mul(column, strides[1]))
            return cgutils.pointer_add(builder, array.data, offset, kind.as_pointer())

        def spread(value: ir.Value) -> ir.Value:
            one = builder.insert_element(vector(ir.Undefined), value, ir.IntType(32)(0))
            return builder.shuffle_vector(one, one, ir.VectorType(ir.IntType(32), vector.count)(None))

        def fused(value: ir.Value, factor: ir.Value, other: ir.Value) -> ir.Value:
            return builder.fadd(value, builder.fmul(factor, other, ("contract",)), ("contract",))

        sums = [[cgutils.alloca_once_value(builder, vector(None)) for _ in columns] for _ in rows]
        with cgutils.for_range(builder, cgutils.unpack_tuple(builder, b.shape)[0], intp=index) as loop:
            right = [builder.load(place(b, loop.index, column, vector), align=size) for column in columns]
            for row, own in zip(rows, sums, strict=True):
                left = spread(builder.load(place(a, row, loop.index, number)))
                for total, values in zip(own, right, strict=True):
                    builder.store(fused(builder.load(total), left, values), total)
        for row, own in zip(rows, sums, strict=True):
            for column, total in zip(columns, own, strict=True):
                target = place(c, row, column, vector)
                changed = fused(builder.load(target, align=size), spread(scale), builder.load(total))
                builder.store(changed, target, align=size)
        return context.get_dummy_value()

    return tile


_wide, _narrow = _tile(2), _tile(1)


@compiled(fastmath=EXACT)
def add_product(c: np.ndarray, scale: float, a: np.ndarray, b: np.ndarray) -> None:  # pragma: no cover - compiled
    """c (m, n) += scale * a (m, k) b (k, n), with m a multiple of ROWS and n of COLUMNS; c and b have rows without gaps."""
    lanes = REGISTER // c.itemsize
    j = 0
    while j + 2 * lanes <= c.shape[1]:
        for i in range(0, c.shape[0], ROWS):
            _wide(c, scale, a, b, i, j)
        j += 2 * lanes
    if j < c.shape[1]:
        for i in range(0, c.shape[0], ROWS):
            _narrow(c, scale, a, b, i, j)
