"""numba's decorator as we use it: without the interpreter's lock, and kept on disk so that users compile once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba

EXACT = {"reassoc", "nsz", "contract", "arcp"}  # everything of fast arithmetic that keeps NaN and infinity


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit`, with a cache on disk or, where no folder can be written or the disk is full, without."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            dispatcher = numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:
            return numba.njit(nogil=True, **options)(function)
        dispatcher._cache.save_overload = _if_there_is_room(dispatcher._cache.save_overload)
        return dispatcher

    return decorate


def _if_there_is_room(save: Callable[..., None]) -> Callable[..., None]:
    def attempt(*compiled: Any) -> None:
        with suppress(OSError):
            save(*compiled)

    return attempt
