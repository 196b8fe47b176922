"""Reasons for the suspects of a table: the labels of the nearest rows, and cells that are unusual in the row's class."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from antivenom.core.verdict import Verdict
from antivenom.data import Dataset

if TYPE_CHECKING:
    import pandas as pd

CATEGORIES, NEIGHBOURS = 30, 10
UNUSUAL = 3.0  # standard deviations from the class's mean that are worth a word


@dataclass(frozen=True, eq=False)
class Cells:
    """One column of the table, as numbers.

    Fields:
        name: as in the header.
        text: its cells.
        numbers: (n,) NaN where missing; None for words.
        encoded: (n, width) what a sanitizer sees.
    """

    name: str
    text: list[str]
    numbers: np.ndarray | None
    encoded: np.ndarray


def ranked(verdict: Verdict) -> np.ndarray:
    """Numbers of the flagged rows, the most suspicious first."""
    order = np.argsort(-verdict.scores, kind="stable")
    return np.asarray(order[verdict.flags[order]])


def reasons_for(columns: list[Cells], data: Dataset, table: pd.DataFrame, suspects: np.ndarray) -> list[str]:
    """Per suspect what its neighbours and its class say about it, in words."""
    from sklearn.neighbors import NearestNeighbors

    k = min(NEIGHBOURS, len(data) - 1)
    nearest = np.zeros((0, 0), dtype=int)
    if k > 0 and len(suspects):
        index = NearestNeighbors(n_neighbors=k + 1).fit(data.flat)
        nearest = index.kneighbors(data.flat[suspects], return_distance=False)
    unusual = [_unusual(column, data.y, suspects) for column in columns]
    found = []
    for s, row in enumerate(suspects):
        own = data.classes[data.y[row]]
        said = []
        if len(nearest):
            said.append(_neighbours(data, table, own, nearest[s][nearest[s] != row][:k]))
        surprise, place = max((unusual[j][0][s], -j) for j in range(len(columns)))
        if surprise >= UNUSUAL:
            said.append(f"{unusual[-place][1][s]} {own!r}")
        found.append("; ".join(said) or "the only row")
    return found


def _neighbours(data: Dataset, table: pd.DataFrame, own: str, nearest: np.ndarray) -> str:
    counts = np.bincount(data.y[nearest], minlength=data.num_classes)
    other = int(np.argmax(counts))
    lines = ", ".join(str(table.index[i]) for i in nearest[data.y[nearest] == other][:3])
    if data.classes[other] == own:
        return f"labelled {own!r} as {counts[other]} of its {len(nearest)} nearest rows are (lines {lines})"
    return f"labelled {own!r}, but {counts[other]} of its {len(nearest)} nearest rows are {data.classes[other]!r} (lines {lines})"


def _unusual(column: Cells, y: np.ndarray, suspects: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Per suspect, how unusual its cell is in its class (in standard deviations), and the words for it."""
    cells, own = [column.text[row] for row in suspects], y[suspects]
    if column.numbers is None and len(set(column.text)) > CATEGORIES:  # names and free text: all are rare
        return np.zeros(len(suspects)), [""] * len(suspects)
    if column.numbers is None:
        peers, same = Counter(y.tolist()), Counter(zip(y.tolist(), column.text, strict=False))
        shares = [(same[c, cell], peers[c]) for c, cell in zip(own.tolist(), cells, strict=True)]
        words = [
            f"{column.name} is {cell!r} in {few} of {all_} rows of"
            for cell, (few, all_) in zip(cells, shares, strict=True)
        ]
        return np.array([math.sqrt(all_ / few - 1) for few, all_ in shares]), words  # z of an indicator
    stats = np.array([centre(column.numbers[: len(y)][y == c]) for c in range(int(y.max()) + 1)])
    z = np.divide(column.numbers[suspects] - stats[own, 0], stats[own, 1], where=stats[own, 1] > 0, out=0.0 * own)
    z = np.nan_to_num(z)
    side = np.where(z > 0, "above", "below")
    return np.abs(z), [
        f"{column.name} = {cell} is {abs(far):.1f} standard deviations {where} the mean of"
        for cell, far, where in zip(cells, z, side, strict=True)
    ]


def centre(numbers: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of what is not missing."""
    there = numbers[~np.isnan(numbers)]
    return (float(there.mean()), float(there.std())) if len(there) else (0.0, 0.0)
