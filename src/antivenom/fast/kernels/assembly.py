"""Kernels as LLVM code, for what no vectoriser writes: many values held in vector registers at once.

The code says which vector operations there are, so there is little to optimise but the choice of registers: compiling takes
10 to 600 milliseconds, once per process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import reduce
from typing import Any

import llvmlite.binding as llvm

from antivenom.fast.processor import FEATURES, NAME, REGISTER

AHEAD = 512  # bytes to fetch ahead in a row: by themselves, processors look ahead along some 30 rows only
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
  %zero = fmul {vector} {seen}, zeroinitializer
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


class Vectors:
    """Types of LLVM for vectors as long as a register.

    Args:
        kind: numpy's letter for the numbers, f or d.
    """

    def __init__(self, kind: str) -> None:
        self.number, self.size = {"f": ("float", 4), "d": ("double", 8)}[kind]
        self.lanes = REGISTER // self.size
        self.vector = f"<{self.lanes} x {self.number}>"
        self.suffix = f"v{self.lanes}f{8 * self.size}"
        self.returned = ctypes.c_float if kind == "f" else ctypes.c_double


class Columns(Vectors):
    """What a kernel does to each vector of columns, in one straight line. Operations take and give names of values.

    Minima and maxima take it that nothing is NaN, which makes each one instruction: see what `kernel` returns.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.lines: list[str] = []

    def _let(self, operation: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"{name} = {operation}")
        return name

    def load(self, row: int) -> str:
        place = self._let(f"getelementptr inbounds ptr, ptr %rows, i64 {row}")
        address = self._let(f"load ptr, ptr {place}, align 8")
        start = self._let(f"getelementptr inbounds {self.number}, ptr {address}, i64 %t")
        ahead = self._let(f"getelementptr i8, ptr {start}, i64 {AHEAD}")
        self.lines.append(f"call void @llvm.prefetch.p0(ptr {ahead}, i32 0, i32 2, i32 1)")
        return self._let(f"load {self.vector}, ptr {start}, align {self.size}")

    def add(self, a: str, b: str) -> str:
        return self._let(f"fadd {self.vector} {a}, {b}")

    def subtract(self, a: str, b: str) -> str:
        return self._let(f"fsub {self.vector} {a}, {b}")

    def divide(self, a: str, by: int) -> str:
        return self._let(f"fdiv {self.vector} {a}, {self._all(self.number, float(by))}")

    def sum(self, values: Sequence[str]) -> str:
        return reduce(self.add, values)

    def minimum(self, a: str, b: str) -> str:
        return self._extreme("minnum", a, b)

    def maximum(self, a: str, b: str) -> str:
        return self._extreme("maxnum", a, b)

    def _extreme(self, name: str, a: str, b: str) -> str:
        return self._let(
            f"call nnan nsz {self.vector} @llvm.{name}.{self.suffix}({self.vector} {a}, {self.vector} {b})"
        )

    def first_least(self, values: Sequence[str]) -> str:
        """Which of the values is the least, in each column; whole numbers."""
        least, first = values[0], "zeroinitializer"
        for k, value in enumerate(values[1:], 1):
            lower = self._let(f"fcmp olt {self.vector} {value}, {least}")
            first = self._choice(lower, self._whole, self._all(self._integer, k), first)
            least = self.minimum(value, least)
        return first

    def within(self, value: str, k: int, first: str, length: int) -> str:
        """The value where first <= k < first + length, else 0."""
        after = self._let(f"sub {self._whole} {self._all(self._integer, k)}, {first}")
        inside = self._let(f"icmp ult {self._whole} {after}, {self._all(self._integer, length)}")
        return self._choice(inside, self.vector, value, "zeroinitializer")

    def _choice(self, where: str, kind: str, a: str, b: str) -> str:
        return self._let(f"select <{self.lanes} x i1> {where}, {kind} {a}, {kind} {b}")

    @property
    def _integer(self) -> str:
        return f"i{8 * self.size}"

    @property
    def _whole(self) -> str:
        return f"<{self.lanes} x {self._integer}>"

    def _all(self, kind: str, value: float) -> str:
        return f"<{', '.join([f'{kind} {value}'] * self.lanes)}>"

    def kernel(self, result: str, seen: str) -> Kernel:
        """run(rows, begin, end, out): writes `result`, and returns 0 if all of `seen` was finite, else NaN.

        Rows are an array of their addresses; results go to `out[begin:end]`.
        """
        source = _LOOP.format(**vars(self) | {"lines": "\n  ".join(self.lines)}, result=result, seen=seen)
        return Kernel(
            source, self.lanes, self.returned, (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
        )


class Kernel:
    """A compiled function `run`, which takes numbers and addresses and holds no lock while it runs.

    Where columns do not fill the last vectors, these begin earlier and repeat what was done before: a matrix must have at
    least `width` columns, though those from `begin` to `end` may be fewer.
    """

    def __init__(self, source: str, width: int, returns: Any, takes: tuple[Any, ...]) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(NAME, FEATURES, opt=3)
        self.width = width
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(source), machine)  # holds the code
        self._engine.finalize_object()
        self._run = ctypes.CFUNCTYPE(returns, *takes)(self._engine.get_function_address("run"))

    def __call__(self, *arguments: int) -> Any:
        return self._run(*arguments)
