"""Columns that are inferred from the values of a dense table."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from antivenom.data.schema import Column, ColumnKind


def columns_of(x: np.ndarray) -> tuple[Column, ...]:
    """The columns of a table (n, features); see `Schema.of`."""
    return _blocks(_kinds(x))


def _kinds(x: np.ndarray) -> list[tuple[ColumnKind, float, float]]:
    """Kind and range of each column of a dense table."""
    if not len(x):
        return [(ColumnKind.REAL, -math.inf, math.inf)] * x.shape[1]
    lowest, highest = x.min(axis=0), x.max(axis=0)
    whole = (x == np.floor(x)).all(axis=0)
    binary = ((x == 0) | (x == 1)).all(axis=0)
    varies = highest > lowest
    kinds = np.where(binary, ColumnKind.BINARY, np.where(whole, ColumnKind.WHOLE, ColumnKind.REAL)).astype(object)
    seen = {*kinds[varies].tolist()}
    kinds[~varies] = seen.pop() if len(seen) == 1 else ColumnKind.REAL
    ranges = {
        ColumnKind.BINARY: lambda low, high: (0.0, 1.0),
        ColumnKind.WHOLE: lambda low, high: (0.0 if low >= 0 else -math.inf, math.inf),
        ColumnKind.REAL: lambda low, high: (0.0, 1.0) if low >= 0 and high <= 1 else (-math.inf, math.inf),
    }
    return [
        (ColumnKind(kind), *ranges[ColumnKind(kind)](low, high))
        for kind, low, high in zip(kinds, lowest.tolist(), highest.tolist(), strict=True)
    ]


def _blocks(kinds: list[tuple[ColumnKind, float, float]]) -> tuple[Column, ...]:
    """Merge adjacent columns of equal kind and range into blocks, so that the schema of a wide table stays small."""
    found: list[Column] = []
    for number, (kind, low, high) in enumerate(kinds):
        last = found[-1] if found else None
        if last is not None and (last.kind, last.low, last.high) == (kind, low, high):
            found[-1] = replace(last, width=last.width + 1)
        else:
            found.append(Column(f"x{number}", kind, low, high))
    return tuple(found)
