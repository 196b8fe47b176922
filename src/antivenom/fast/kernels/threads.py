"""Work on spans of columns in parallel. Plain threads are used because a second OpenMP runtime beside torch's slows both."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

import numpy as np
import torch

_MIN_PER_THREAD = 1 << 18  # numbers per thread; with fewer, a further thread costs more than it saves


def over_columns(x: np.ndarray, work: Callable[[int, int], Any]) -> list[Any]:
    """Call `work(begin, end)` on disjoint spans that cover the columns of x, one span per thread.

    The caller's thread takes the first span. The results are in the order of the spans.
    """
    columns = x.shape[1]
    threads = min(torch.get_num_threads(), max(1, x.size // _MIN_PER_THREAD))
    cuts = [columns * i // threads for i in range(threads + 1)]
    own, *others = itertools.pairwise(cuts)
    if not others:
        return [work(*own)]
    started = [_pool(os.getpid(), len(others)).submit(work, *span) for span in others]
    try:
        return [work(*own), *(each.result() for each in started)]
    finally:
        wait(started)  # also after an error: the threads write into the caller's memory


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """A cached pool, since starting threads costs a tenth of a small median.

    `process` is the process id and only part of the cache's key: threads do not survive a fork.
    """
    return ThreadPoolExecutor(threads)
