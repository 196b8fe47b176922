"""Compiled kernels and compiled training. Each has a plain form as its oracle, which it must equal to rounding.

Compiling needs numba and llvmlite (extra `fast`). Without them the plain forms run. `available` decides which: modules of
this package that import numba or llvmlite are imported only after it has returned True.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

ABSENT = "numba and llvmlite cannot be imported (pip install 'antivenom[fast]')"


@cache
def available() -> bool:
    """Whether numba and llvmlite can be imported and NUMBA_DISABLE_JIT is not set. The answer is cached for the process."""
    try:
        import_module("llvmlite.binding")
        return not import_module("numba").config.DISABLE_JIT
    except (ImportError, OSError):  # numba rejects some numpy versions; llvmlite without its library raises OSError
        return False


__all__ = ["ABSENT", "available"]
