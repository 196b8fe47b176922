"""Compiled products of thin matrices. Sums stay in registers, and operands stay in the core's cache.

On batches of a few dozen rows, BLAS libraries reach about two thirds of a core's peak, and they must be kept from
starting threads. This product sums tiles of four rows by two vectors of columns. Rows are padded to a multiple of ROWS
and columns to a multiple of COLUMNS, so that every tile is whole. Results in the padding are never read.
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
    """An intrinsic tile(c, scale, a, b, i, j): c += scale * a @ b on one tile whose corner is (i, j).

    The tile has ROWS rows and `vectors` vector registers of columns. The sum runs over all of the inner dimension.
    """

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

        def broadcast(value: ir.Value) -> ir.Value:
            one = builder.insert_element(vector(ir.Undefined), value, ir.IntType(32)(0))
            return builder.shuffle_vector(one, one, ir.VectorType(ir.IntType(32), vector.count)(None))

        def fused(value: ir.Value, factor: ir.Value, other: ir.Value) -> ir.Value:
            return builder.fadd(value, builder.fmul(factor, other, ("contract",)), ("contract",))

        sums = [[cgutils.alloca_once_value(builder, vector(None)) for _ in columns] for _ in rows]
        with cgutils.for_range(builder, cgutils.unpack_tuple(builder, b.shape)[0], intp=index) as loop:
            right = [builder.load(place(b, loop.index, column, vector), align=size) for column in columns]
            for row, own in zip(rows, sums, strict=True):
                left = broadcast(builder.load(place(a, row, loop.index, number)))
                for total, values in zip(own, right, strict=True):
                    builder.store(fused(builder.load(total), left, values), total)
        for row, own in zip(rows, sums, strict=True):
            for column, total in zip(columns, own, strict=True):
                target = place(c, row, column, vector)
                changed = fused(builder.load(target, align=size), broadcast(scale), builder.load(total))
                builder.store(changed, target, align=size)
        return context.get_dummy_value()

    return tile


_wide, _narrow = _tile(2), _tile(1)


@compiled(fastmath=EXACT)
def add_product(c: np.ndarray, scale: float, a: np.ndarray, b: np.ndarray) -> None:  # pragma: no cover - compiled
    """c += scale * a @ b in place, for c (m, n), a (m, k) and b (k, n).

    m must be a multiple of ROWS and n one of COLUMNS. Rows of c and b must be contiguous; a may have any strides.
    """
    lanes = REGISTER // c.itemsize
    j = 0
    while j + 2 * lanes <= c.shape[1]:
        for i in range(0, c.shape[0], ROWS):
            _wide(c, scale, a, b, i, j)
        j += 2 * lanes
    if j < c.shape[1]:
        for i in range(0, c.shape[0], ROWS):
            _narrow(c, scale, a, b, i, j)
