"""The `numba.njit` decorator with the options of this project: it releases the GIL and caches on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any

import numba

EXACT = {"reassoc", "nsz", "contract", "arcp"}  # fast-math flags except nnan and ninf: NaN and infinity propagate
_CACHE_BYTES = 1 << 23  # free space that is required; the cache of all functions takes about half as much


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` with a cache on disk, or without one where no folder can be written or the disk is full.

    If numba cannot write its cache, it raises in the middle of a call. Therefore the free space is checked here first.

    Args:
        options: passed on to `numba.njit`, such as `fastmath`.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            dispatcher = numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # numba found no writable folder for its cache
            return numba.njit(nogil=True, **options)(function)
        if _has_room(dispatcher.stats.cache_path):
            return dispatcher
        return numba.njit(nogil=True, **options)(function)

    return decorate


@cache
def _has_room(folder: str) -> bool:
    """Whether the cache fits into the folder. Writing a file tests the disk, quotas and file size limits together."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_CACHE_BYTES))
    except OSError:
        return False
    return True
