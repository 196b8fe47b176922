"""Columns of a matrix shared among plain threads: a second OpenMP runtime beside torch's slows both down."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

import numpy as np
import torch

_ALONE = 1 << 18  # numbers below which a second thread does not pay


def shared(x: np.ndarray, work: Callable[[int, int], Any]) -> list[Any]:
    """What `work(begin, end)` returns for each thread's columns; the first are the caller's."""
    columns = x.shape[1]
    threads = min(torch.get_num_threads(), max(1, x.size // _ALONE))
    cuts = [columns * i // threads for i in range(threads + 1)]
    own, *others = itertools.pairwise(cuts)
    if not others:
        return [work(*own)]
    started = [_pool(os.getpid(), len(others)).submit(work, *span) for span in others]
    try:
        return [work(*own), *(each.result() for each in started)]
    finally:
        wait(started)  # they write into the caller's memory


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Kept, for starting threads costs a tenth of a small median; a forked process makes its own."""
    return ThreadPoolExecutor(threads)
