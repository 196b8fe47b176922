"""Products of a small matrix and a wide one. A tile of results stays in registers while the loop runs over the rows."""

from __future__ import annotations

import ctypes
from functools import lru_cache

import numpy as np

from antivenom.fast.kernels.assembly import AHEAD, Kernel, VectorTypes
from antivenom.fast.kernels.threads import over_columns
from antivenom.fast.processor import WIDE

_RESULTS, _VECTORS = (5, 5) if WIDE else (6, 2)  # a tile, a row's vectors and one coefficient fill the registers

# Loops over stretches of columns, groups of results, and rows. The templates below are repeated for result i and vector j
# of a tile. A product and its sum are rounded once where the processor has fused multiply-add, and twice elsewhere.
# Sums start at -0.0, because x + -0.0 is x for every x including -0.0. So a coefficient vector that selects one row
# reproduces it bit by bit.
_LOOPS = """
define {number} @run(ptr noalias %rows, i64 %n, ptr noalias %c, ptr noalias %results, i64 %m, i64 %begin, i64 %end) {{
entry:
  %full = sub i64 %end, {width}
  %last = call i64 @llvm.smax.i64(i64 %full, i64 0)
  br label %stretch
stretch:
  %at = phi i64 [%begin, %entry], [%at.next, %stretched]
  %at.bad = phi {vector} [zeroinitializer, %entry], [%bad.{tile}, %stretched]
  %t = call i64 @llvm.smin.i64(i64 %at, i64 %last)
  br label %group
group:
  %g = phi i64 [0, %stretch], [%g.next, %written]
  %bad.0 = phi {vector} [%at.bad, %stretch], [%bad.{tile}, %written]
  %g.offset = mul i64 %g, %n
  %g.factors = getelementptr {number}, ptr %c, i64 %g.offset
  br label %row
row:
  %k = phi i64 [0, %group], [%k.next, %row]
{sums}
  %k.place = getelementptr ptr, ptr %rows, i64 %k
  %k.address = load ptr, ptr %k.place, align 8
  %start = getelementptr {number}, ptr %k.address, i64 %t
{loads}
  %k.offset = mul i64 %k, {results}
  %factors = getelementptr {number}, ptr %g.factors, i64 %k.offset
{products}
  %k.next = add i64 %k, 1
  %k.more = icmp slt i64 %k.next, %n
  br i1 %k.more, label %row, label %written
written:
  %to = getelementptr ptr, ptr %results, i64 %g
{stores}
  %g.next = add i64 %g, {results}
  %g.more = icmp slt i64 %g.next, %m
  br i1 %g.more, label %group, label %stretched
stretched:
  %at.next = add i64 %at, {width}
  %at.more = icmp slt i64 %at.next, %end
  br i1 %at.more, label %stretch, label %done
done:
  %sum = call reassoc {number} @llvm.vector.reduce.fadd.{suffix}({number} 0.0, {vector} %bad.{tile})
  ret {number} %sum
}}
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare {number} @llvm.vector.reduce.fadd.{suffix}({number}, {vector})
declare {vector} @llvm.fmuladd.{suffix}({vector}, {vector}, {vector})
"""
_SUM = "  %sum.{i}.{j} = phi {vector} [splat ({number} -0.0), %group], [%new.{i}.{j}, %row]"
_LOAD = """\
  %x.{j}.place = getelementptr {vector}, ptr %start, i64 {j}
  %x.{j}.ahead = getelementptr i8, ptr %x.{j}.place, i64 {ahead}
  call void @llvm.prefetch.p0(ptr %x.{j}.ahead, i32 0, i32 2, i32 1)
  %x.{j} = load {vector}, ptr %x.{j}.place, align {size}"""
_FACTOR = """\
  %c.{i}.place = getelementptr {number}, ptr %factors, i64 {i}
  %c.{i}.value = load {number}, ptr %c.{i}.place, align {size}
  %c.{i}.one = insertelement {vector} poison, {number} %c.{i}.value, i64 0
  %c.{i} = shufflevector {vector} %c.{i}.one, {vector} poison, <{lanes} x i32> zeroinitializer"""
_PRODUCT = (
    "  %new.{i}.{j} = call {vector} @llvm.fmuladd.{suffix}({vector} %x.{j}, {vector} %c.{i}, {vector} %sum.{i}.{j})"
)
_RESULT = """\
  %to.{i}.place = getelementptr ptr, ptr %to, i64 {i}
  %to.{i}.address = load ptr, ptr %to.{i}.place, align 8
  %to.{i} = getelementptr {number}, ptr %to.{i}.address, i64 %t"""
_STORE = """\
  %to.{i}.{j} = getelementptr {vector}, ptr %to.{i}, i64 {j}
  store {vector} %new.{i}.{j}, ptr %to.{i}.{j}, align {size}
  %bad.{after} = call {vector} @llvm.fmuladd.{suffix}({vector} %new.{i}.{j}, {vector} zeroinitializer, {vector} %bad.{before})"""


def mix(c: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, bool]:
    """c @ x (m, d) for coefficients c (m, n) and rows x (n, d), m > 0; and whether the result is finite."""
    (m, n), d = c.shape, x.shape[1]
    results = min(m, _RESULTS)
    kernel = _product(x.dtype.char, results)
    if d < kernel.width:
        x = np.pad(x, ((0, 0), (0, kernel.width - d)))
    places = np.minimum(np.arange(-(-m // results) * results), m - 1)  # the last group is filled by repeating row m - 1
    factors = np.ascontiguousarray(c[places].reshape(-1, results, n).transpose(0, 2, 1), x.dtype)
    out = np.empty((m, x.shape[1]), x.dtype)  # by numpy, which requests huge pages; torch does not
    rows = x.ctypes.data + x.strides[0] * np.arange(n)
    to = out.ctypes.data + out.strides[0] * places
    fixed = (rows.ctypes.data, n, factors.ctypes.data, to.ctypes.data, len(places))
    seen = over_columns(x, lambda begin, end: kernel(*fixed, begin, end))
    return np.ascontiguousarray(out[:, :d]), all(each == 0 for each in seen)


@lru_cache
def _product(kind: str, results: int) -> Kernel:
    v = VectorTypes(kind)
    width = _VECTORS * v.lanes
    words = vars(v) | {"results": results, "width": width, "ahead": AHEAD, "tile": results * _VECTORS}

    def lines(per_result: str, per_vector: str) -> str:
        text = []
        for i in range(results):
            text.append(per_result.format(**words, i=i))
            for j in range(_VECTORS):
                before = i * _VECTORS + j
                text.append(per_vector.format(**words, i=i, j=j, before=before, after=before + 1))
        return "\n".join(text)

    source = _LOOPS.format(
        **words,
        sums=lines("", _SUM),
        loads="\n".join(_LOAD.format(**words, j=j) for j in range(_VECTORS)),
        products=lines(_FACTOR, _PRODUCT),
        stores=lines(_RESULT, _STORE),
    )
    address, whole = ctypes.c_void_p, ctypes.c_int64
    return Kernel(source, width, v.returned, (address, whole, address, address, whole, whole, whole))
