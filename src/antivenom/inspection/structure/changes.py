"""The difference of one tensor to the same tensor of a reference: how much changed, where, and in how many directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from antivenom.leakage.weights import as_array

_SKETCH = 128  # half of it is the largest rank that is determined for a large matrix
_SMALL = 512  # matrices with a smaller side get all singular values


@dataclass(frozen=True, eq=False)
class Change:
    """What differs in one tensor.

    Fields:
        name: name of the tensor.
        shape: its shape as a matrix, with one row for each unit.
        rows, columns: the numbers of the rows and columns with a change.
        share: share of numbers that differ.
        relative: length of the change, divided by the length of the reference.
        rank: number of directions of the change; 0 if it is as large as the matrix allows or was not determined.
    """

    name: str
    shape: tuple[int, int]
    rows: np.ndarray
    columns: np.ndarray
    share: float
    relative: float
    rank: int

    @property
    def in_few_rows(self) -> bool:
        return self.shape[0] >= 8 and len(self.rows) * 4 <= self.shape[0]

    @property
    def in_few_columns(self) -> bool:
        return self.shape[1] >= 8 and len(self.columns) * 4 <= self.shape[1]


def arrays(state: Mapping[str, object]) -> dict[str, np.ndarray]:
    """All tensors of a state dictionary, without the prefix that torch's wrappers give to every name."""
    found = {name: as_array(name, value) for name, value in state.items()}
    for prefix in ("module.", "_orig_mod."):
        if found and all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): array for name, array in found.items()}
    return found


def change(name: str, array: np.ndarray, reference: np.ndarray) -> Change | None:
    """The change of a tensor from a reference of the same shape, or None if all numbers are equal.

    If the data types differ, the more precise one is first rounded to the other.
    """
    array, reference = _same_type(array, reference)
    apart = array != reference
    if array.dtype.kind == "f":
        apart &= ~(np.isnan(array) & np.isnan(reference))
    if not apart.any():
        return None
    flat = apart.reshape(len(array), -1) if array.ndim > 1 else apart.reshape(-1, 1)
    with np.errstate(invalid="ignore", over="ignore"):
        delta = (array.astype(np.float64) - reference.astype(np.float64)).reshape(flat.shape)
        size = float(np.linalg.norm(reference.astype(np.float64)))
    relative = float(np.linalg.norm(delta)) / max(size, 1e-12)
    fine = np.finfo(array.dtype).eps if array.dtype.kind == "f" else 0.0
    noise = float(fine) * float(np.abs(reference).max(initial=0)) * float(np.sqrt(sum(flat.shape)))
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    used = delta[np.ix_(rows, columns)]
    rank = rank_of(used, noise) if min(flat.shape) > 1 and np.isfinite(relative) else 0
    return Change(name, (flat.shape[0], flat.shape[1]), rows, columns, float(apart.mean()), relative, rank)


def _same_type(array: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if array.dtype == reference.dtype or "f" not in (array.dtype.kind, reference.dtype.kind):
        return array, reference
    kind = min((array.dtype, reference.dtype), key=lambda dtype: (dtype.kind != "f", dtype.itemsize))
    with np.errstate(over="ignore"):
        return array.astype(kind), reference.astype(kind)


def rank_of(matrix: np.ndarray, noise: float = 0.0) -> int:
    """Number of singular values above rounding noise; 0 if there are nearly as many as the matrix allows.

    For a large matrix, a random projection is used, which finds ranks up to 64.

    >>> rank_of(np.outer(np.arange(1.0, 20), np.arange(1.0, 30)))
    1
    >>> rank_of(np.random.default_rng(0).standard_normal((20, 30)))
    0
    """
    most = max(1, min(matrix.shape) // 4)
    if min(matrix.shape) > _SMALL:
        most = min(most, _SKETCH // 2)
        draws = np.random.default_rng(0).standard_normal((matrix.shape[1], _SKETCH))
        basis = np.linalg.qr(matrix @ draws)[0]
        matrix = basis.T @ matrix
    values = np.linalg.svd(matrix, compute_uv=False)
    rank = int((values > max(noise, 1e-4 * float(values[0]))).sum())
    return rank if rank <= most and min(matrix.shape) > 1 else 0
