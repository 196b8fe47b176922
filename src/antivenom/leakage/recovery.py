"""What a reader got out of weights, against what was there. For the judge: attackers have no truth to compare with."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import DataError


def bits_of(rows: np.ndarray, depth: int = 8) -> np.ndarray:
    """(n * features * depth,) bits of rows in [0, 1], each number rounded to `depth` bits, highest bit first."""
    if not 1 <= depth <= 16:
        raise DataError("a depth from 1 to 16 bits", f"{depth}", "8 is what images have")
    rows = np.asarray(rows, dtype=np.float64)
    if rows.size and not (rows.min() >= 0 and rows.max() <= 1):
        raise DataError("rows in [0, 1]", f"values from {rows.min():g} to {rows.max():g}", "scale them first")
    levels = np.rint(rows.reshape(-1) * (2**depth - 1)).astype(np.int64)
    return unpacked(levels, depth)


def rows_of(bits: np.ndarray, shape: tuple[int, ...], depth: int = 8) -> np.ndarray:
    """(n, *shape) float32 rows in [0, 1] from their bits; an incomplete last row is left out."""
    size = int(np.prod(shape)) * depth
    whole = np.asarray(bits)[: len(bits) // size * size]
    return np.asarray(packed(whole, depth) / (2**depth - 1), dtype=np.float32).reshape(-1, *shape)


def unpacked(numbers: np.ndarray, width: int) -> np.ndarray:
    """(m * width,) bits of m whole numbers, highest first."""
    shifts = np.arange(width - 1, -1, -1)
    return np.asarray((np.asarray(numbers)[:, None] >> shifts) & 1, dtype=np.uint8).reshape(-1)


def packed(bits: np.ndarray, width: int) -> np.ndarray:
    """(m,) whole numbers from bits, highest first; zeros fill up the last one."""
    bits = np.asarray(bits, dtype=np.int64)
    padded = np.pad(bits, (0, -len(bits) % width)).reshape(-1, width)
    return np.asarray(padded @ (1 << np.arange(width - 1, -1, -1)))


def bits_right(read: np.ndarray, payload: np.ndarray) -> float:
    """Share of the payload's bits that were read right; 0.5 is guessing."""
    return float((np.asarray(read) == np.asarray(payload)).mean())


def exact_records(read: np.ndarray, payload: np.ndarray, size: int) -> int:
    """Records of `size` bits that were read without one wrong bit."""
    whole = len(payload) // size * size
    return int((read[:whole] == payload[:whole]).reshape(-1, size).all(axis=1).sum())


def psnr(guesses: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(g, n) peak signal-to-noise ratios in dB of every guess against every record in [0, 1]; identical ones inf."""
    if not len(guesses) or not len(truth):
        return np.zeros((len(guesses), len(truth)))
    ours, theirs = (np.asarray(rows, dtype=np.float64).reshape(len(rows), -1) for rows in (guesses, truth))
    squares = (ours**2).sum(1)[:, None] + (theirs**2).sum(1) - 2 * ours @ theirs.T
    with np.errstate(divide="ignore"):
        return np.asarray(-10 * np.log10(np.maximum(squares, 0) / ours.shape[1]))


def reconstructed(guesses: np.ndarray, truth: np.ndarray, least: float = 30.0) -> np.ndarray:
    """(n,) bool: records that some guess shows at `least` dB or better. 30 dB is an error of 3 % of the range."""
    return np.asarray((psnr(guesses, truth) >= least).any(axis=0))
