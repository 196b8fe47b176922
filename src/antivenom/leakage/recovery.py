"""Measures how much of a payload was recovered. Only the judge uses it, because an attacker does not know the truth."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import DataError


def bits_of(rows: np.ndarray, depth: int = 8) -> np.ndarray:
    """Bits (n * features * depth,) of rows in [0, 1], with `depth` bits per number, highest bit first."""
    if not 1 <= depth <= 16:
        raise DataError("a depth from 1 to 16 bits", f"{depth}")
    rows = np.asarray(rows, dtype=np.float64)
    if rows.size and not (rows.min() >= 0 and rows.max() <= 1):
        raise DataError("rows in [0, 1]", f"values from {rows.min():g} to {rows.max():g}", "scale the rows first")
    levels = np.rint(rows.reshape(-1) * (2**depth - 1)).astype(np.int64)
    return unpacked(levels, depth)


def rows_of(bits: np.ndarray, shape: tuple[int, ...], depth: int = 8) -> np.ndarray:
    """Rows (n, *shape) in [0, 1], float32, from their bits; an incomplete last row is dropped."""
    size = int(np.prod(shape)) * depth
    whole = np.asarray(bits)[: len(bits) // size * size]
    return np.asarray(packed(whole, depth) / (2**depth - 1), dtype=np.float32).reshape(-1, *shape)


def unpacked(numbers: np.ndarray, width: int) -> np.ndarray:
    """Bits (m * width,) of m integers, highest bit first."""
    shifts = np.arange(width - 1, -1, -1)
    return np.asarray((np.asarray(numbers)[:, None] >> shifts) & 1, dtype=np.uint8).reshape(-1)


def packed(bits: np.ndarray, width: int) -> np.ndarray:
    """Integers (m,) from bits, highest bit first; the last one is padded with zeros."""
    bits = np.asarray(bits, dtype=np.int64)
    padded = np.pad(bits, (0, -len(bits) % width)).reshape(-1, width)
    return np.asarray(padded @ (1 << np.arange(width - 1, -1, -1)))


def bits_right(read: np.ndarray, payload: np.ndarray) -> float:
    """Share of bits that were recovered correctly; guessing gives 0.5."""
    return float((np.asarray(read) == np.asarray(payload)).mean())


def exact_records(read: np.ndarray, payload: np.ndarray, size: int) -> int:
    """Number of records of `size` bits that were recovered without a wrong bit."""
    whole = len(payload) // size * size
    return int((read[:whole] == payload[:whole]).reshape(-1, size).all(axis=1).sum())


def psnr(guesses: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratios (g, n) in dB between guesses and records in [0, 1]; inf for identical ones."""
    if not len(guesses) or not len(truth):
        return np.zeros((len(guesses), len(truth)))
    ours, theirs = (np.asarray(rows, dtype=np.float64).reshape(len(rows), -1) for rows in (guesses, truth))
    squares = (ours**2).sum(1)[:, None] + (theirs**2).sum(1) - 2 * ours @ theirs.T
    with np.errstate(divide="ignore"):
        return np.asarray(-10 * np.log10(np.maximum(squares, 0) / ours.shape[1]))


def reconstructed(guesses: np.ndarray, truth: np.ndarray, least: float = 30.0) -> np.ndarray:
    """Whether (n,) bool some guess matches a record with at least `least` dB; 30 dB is an error of 3 % of the range."""
    return np.asarray((psnr(guesses, truth) >= least).any(axis=0))
