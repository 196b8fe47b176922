"""The processor that we compile for: numba's functions and LLVM code of our own must agree on it.

numba's variables NUMBA_CPU_NAME and NUMBA_CPU_FEATURES choose another one than the host, "generic" for the plainest.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numba

_config: Any = numba.config  # sets its attributes from the environment
NAME: str = _config.CPU_NAME or llvm.get_host_cpu_name()
FEATURES: str = llvm.get_host_cpu_features().flatten() if _config.CPU_FEATURES is None else _config.CPU_FEATURES

_HAS = FEATURES.split(",")
WIDE = "+avx512f" in _HAS  # 32 registers of 64 bytes, else 16 or more shorter ones
REGISTER = 64 if WIDE else 32 if "+avx" in _HAS else 16  # bytes of a vector register
