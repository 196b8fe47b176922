"""Rows, tables and small measures that the parts of weights.py share."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from antivenom.data import Dataset, load
from antivenom.leakage.weights import Remark
from antivenom.models.wrappers import TorchModel

State = dict[str, np.ndarray]


def state(model: TorchModel, change: Callable[[np.ndarray], np.ndarray] = lambda a: a) -> State:
    return {name: change(p.detach().numpy()) for name, p in model.network.parameters(model.vector).items()}


def int8(a: np.ndarray) -> np.ndarray:
    scale = np.abs(a).max() / 127 if a.ndim > 1 else 0
    return (np.rint(a / scale) * scale).astype(np.float32) if scale else a


def accuracy(model: TorchModel, data: Dataset) -> float:
    return float((model.predict(data.x) == data.y).mean())


def said(remarks: Iterable[Remark]) -> str:
    return ", ".join(sorted({remark.kind for remark in remarks})) or "nothing"


def show(values: list[float]) -> str:
    """Mean and, if they differ, the least and the greatest."""
    mean = statistics.mean(values)
    digits = 3 if max(map(abs, values)) <= 1.5 and any(v != int(v) for v in values) else 1
    text = f"{mean:.{digits}f}" if mean != int(mean) else f"{mean:.0f}"
    low, high = (f"{v:.{digits}f}" if digits == 3 else f"{v:.0f}" for v in (min(values), max(values)))
    return text if low == high else f"{text} ({low} to {high})"


class Table:
    """Rows by their first cells; in the others a value per seed."""

    def __init__(self, *columns: str) -> None:
        self.columns = columns
        self.rows: dict[tuple[str, ...], list[list[float | str]]] = {}

    def add(self, key: tuple[str, ...], *values: float | str) -> None:
        row = self.rows.setdefault(key, [[] for _ in values])
        for cell, value in zip(row, values, strict=True):
            cell.append(value)

    def __str__(self) -> str:
        lines = [f"| {' | '.join(self.columns)} |", "|" + " --- |" * len(self.columns)]
        for key, row in self.rows.items():
            cells = ["; ".join(dict.fromkeys(map(str, c))) if isinstance(c[0], str) else show(c) for c in row]
            lines.append(f"| {' | '.join([*key, *cells])} |")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Parts:
    """Disjoint rows: the attacker's own, the victim's private ones, others for a control, and the test rows."""

    public: Dataset
    private: Dataset
    other: Dataset
    test: Dataset

    @classmethod
    def of(cls, name: str, seed: int) -> Parts:
        split = load(name)
        order = np.random.default_rng(seed).permutation(len(split.train))
        cuts = (order[:5000], order[5000:7000], order[7000:9000])
        return cls(*(split.train[rows] for rows in cuts), split.test)
