"""Compiled kernels and compiled training. Each has a plain form beside it, which it must equal.

Compiling takes numba and llvmlite (extra `fast`). Without them the plain forms run, and `available` is where that is decided:
the modules here that import either of the two are imported only where it answers True.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

ABSENT = "numba and llvmlite cannot be imported (pip install 'antivenom[fast]')"


@cache
def available() -> bool:
    """Whether this process can compile: numba and llvmlite can be imported, and NUMBA_DISABLE_JIT is not set."""
    try:
        import_module("llvmlite.binding")
        return not import_module("numba").config.DISABLE_JIT
    except (ImportError, OSError):  # numba refuses versions of numpy, llvmlite raises OSError without its library
        return False


__all__ = ["ABSENT", "available"]
