"""numba's decorator as we use it: without the interpreter's lock, and kept on disk so that users compile once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any

import numba

EXACT = {"reassoc", "nsz", "contract", "arcp"}  # everything of fast arithmetic that keeps NaN and infinity
_ROOM = 1 << 23  # bytes that must be free: everything that is compiled here takes about half as much


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit`, with a cache on disk or, where no folder can be written or the disk is full, without.

    numba raises in the middle of a call if it cannot write its cache, so the room is looked at beforehand.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            dispatcher = numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # numba found no folder that it can write to
            return numba.njit(nogil=True, **options)(function)
        if _has_room(dispatcher.stats.cache_path):
            return dispatcher
        return numba.njit(nogil=True, **options)(function)

    return decorate


@cache
def _has_room(folder: str) -> bool:
    """Whether the files of the cache fit into the folder, as the disk, a quota or a limit on file sizes has it."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM))
    except OSError:
        return False
    return True
