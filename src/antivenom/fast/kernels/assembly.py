"""Kernels written as LLVM code. They hold many values in vector registers at once, which compilers' vectorisers do not do.

The code names every vector operation, so LLVM does little beyond allocating registers. Compiling takes 10 to 600
milliseconds, once per process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import reduce
from typing import Any

import llvmlite.binding as llvm

from antivenom.fast.processor import FEATURES, NAME, REGISTER

AHEAD = 512  # bytes to prefetch in each row, since hardware prefetchers follow about 30 streams only
_LOOP = """
define {number} @run(ptr noalias %rows, i64 %begin, i64 %end, ptr noalias %out) {{
entry:
  %full = sub i64 %end, {lanes}
  %last = call i64 @llvm.smax.i64(i64 %full, i64 0)
  br label %loop
loop:
  %at = phi i64 [%begin, %entry], [%next, %loop]
  %bad = phi {vector} [zeroinitializer, %entry], [%worse, %loop]
  %t = call i64 @llvm.smin.i64(i64 %at, i64 %last)
  {lines}
  %zero = fmul {vector} {checked}, zeroinitializer
  %worse = fadd {vector} %bad, %zero
  %to = getelementptr inbounds {number}, ptr %out, i64 %t
  store {vector} {result}, ptr %to, align {size}
  %next = add i64 %at, {lanes}
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  %sum = call reassoc {number} @llvm.vector.reduce.fadd.{suffix}({number} 0.0, {vector} %worse)
  ret {number} %sum
}}
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare {number} @llvm.vector.reduce.fadd.{suffix}({number}, {vector})
declare {vector} @llvm.minnum.{suffix}({vector}, {vector})
declare {vector} @llvm.maxnum.{suffix}({vector}, {vector})
"""


class VectorTypes:
    """LLVM types of vectors that fill one register.

    Args:
        kind: numpy's character code of the numbers, "f" or "d".
    """

    def __init__(self, kind: str) -> None:
        self.number, self.size = {"f": ("float", 4), "d": ("double", 8)}[kind]
        self.lanes = REGISTER // self.size
        self.vector = f"<{self.lanes} x {self.number}>"
        self.suffix = f"v{self.lanes}f{8 * self.size}"
        self.returned = ctypes.c_float if kind == "f" else ctypes.c_double


class ColumnCode(VectorTypes):
    """Builds straight-line code that a kernel runs on each vector of columns. Operations take and return names of values.

    `minimum` and `maximum` assume that no value is NaN, which makes each a single instruction. The caller finds NaN by the
    return value of the kernel (see `kernel`).
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.lines: list[str] = []

    def _assign(self, operation: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"{name} = {operation}")
        return name

    def load(self, row: int) -> str:
        place = self._assign(f"getelementptr inbounds ptr, ptr %rows, i64 {row}")
        address = self._assign(f"load ptr, ptr {place}, align 8")
        start = self._assign(f"getelementptr inbounds {self.number}, ptr {address}, i64 %t")
        ahead = self._assign(f"getelementptr i8, ptr {start}, i64 {AHEAD}")
        self.lines.append(f"call void @llvm.prefetch.p0(ptr {ahead}, i32 0, i32 2, i32 1)")
        return self._assign(f"load {self.vector}, ptr {start}, align {self.size}")

    def add(self, a: str, b: str) -> str:
        return self._assign(f"fadd {self.vector} {a}, {b}")

    def subtract(self, a: str, b: str) -> str:
        return self._assign(f"fsub {self.vector} {a}, {b}")

    def divide(self, a: str, by: int) -> str:
        return self._assign(f"fdiv {self.vector} {a}, {self._constant(self.number, float(by))}")

    def sum(self, values: Sequence[str]) -> str:
        return reduce(self.add, values)

    def minimum(self, a: str, b: str) -> str:
        return self._extreme("minnum", a, b)

    def maximum(self, a: str, b: str) -> str:
        return self._extreme("maxnum", a, b)

    def _extreme(self, name: str, a: str, b: str) -> str:
        return self._assign(
            f"call nnan nsz {self.vector} @llvm.{name}.{self.suffix}({self.vector} {a}, {self.vector} {b})"
        )

    def first_least(self, values: Sequence[str]) -> str:
        """Index of the least value in each column, as integers; the first one on ties."""
        least, first = values[0], "zeroinitializer"
        for k, value in enumerate(values[1:], 1):
            lower = self._assign(f"fcmp olt {self.vector} {value}, {least}")
            first = self._select(lower, self._integers, self._constant(self._integer, k), first)
            least = self.minimum(value, least)
        return first

    def in_window(self, value: str, k: int, first: str, length: int) -> str:
        """The value in columns where first <= k < first + length, and 0 in others."""
        after = self._assign(f"sub {self._integers} {self._constant(self._integer, k)}, {first}")
        inside = self._assign(f"icmp ult {self._integers} {after}, {self._constant(self._integer, length)}")
        return self._select(inside, self.vector, value, "zeroinitializer")

    def _select(self, where: str, kind: str, a: str, b: str) -> str:
        return self._assign(f"select <{self.lanes} x i1> {where}, {kind} {a}, {kind} {b}")

    @property
    def _integer(self) -> str:
        return f"i{8 * self.size}"

    @property
    def _integers(self) -> str:
        return f"<{self.lanes} x {self._integer}>"

    def _constant(self, kind: str, value: float) -> str:
        return f"<{', '.join([f'{kind} {value}'] * self.lanes)}>"

    def kernel(self, result: str, checked: str) -> Kernel:
        """Compile run(rows, begin, end, out), which writes `result` into out[begin:end].

        `rows` is an array of the addresses of the rows. The call returns 0 if `checked` was finite in every column, else
        NaN: 0 times infinity or NaN is NaN.
        """
        source = _LOOP.format(**vars(self) | {"lines": "\n  ".join(self.lines)}, result=result, checked=checked)
        return Kernel(
            source, self.lanes, self.returned, (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
        )


class Kernel:
    """A compiled function `run` that takes integers and addresses; calls release the GIL.

    If the last vector of a span would pass the span's end, it starts earlier and repeats some columns. So a matrix must
    have at least `width` columns; a span from `begin` to `end` may have fewer.
    """

    def __init__(self, source: str, width: int, returns: Any, takes: tuple[Any, ...]) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(NAME, FEATURES, opt=3)
        self.width = width
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(source), machine)  # owns the code's memory
        self._engine.finalize_object()
        self._run = ctypes.CFUNCTYPE(returns, *takes)(self._engine.get_function_address("run"))

    def __call__(self, *arguments: int) -> Any:
        return self._run(*arguments)
