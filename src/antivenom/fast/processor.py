"""The processor that code is compiled for. Numba's functions and this package's own LLVM code must agree on it.

By default it is the host. Numba's variables NUMBA_CPU_NAME and NUMBA_CPU_FEATURES choose another one; "generic" has the
fewest instructions.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numba

_config: Any = numba.config  # its attributes are set at run time, from the environment
NAME: str = _config.CPU_NAME or llvm.get_host_cpu_name()
FEATURES: str = llvm.get_host_cpu_features().flatten() if _config.CPU_FEATURES is None else _config.CPU_FEATURES

_HAS = FEATURES.split(",")
WIDE = "+avx512f" in _HAS  # 32 vector registers of 64 bytes; other processors have 16 or more shorter ones
REGISTER = 64 if WIDE else 32 if "+avx" in _HAS else 16  # bytes of a vector register
