"""A look at weights for what honest training does not leave: payloads, imprints, traps, damage. numpy is all it needs.

It sees structure, not intent: an encrypted payload in low mantissa bits looks like honest bits, and an attacker who
knows the limits can stay below them at the price of reading less (`benchmarks/leakage/RESULTS-weights.md`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from antivenom.core.errors import ModelError

WIDTHS = (1, 2, 4, 8, 16)  # low mantissa bits that a payload may use
FEWEST = 8  # rows or columns below which a layer has no typical one
WINDOW = 1 << 16  # values compressed together: a payload that fills a part of a large tensor still shows


@dataclass(frozen=True)
class Remark:
    """One thing that an honest training would hardly leave.

    Fields:
        name: the tensor.
        kind: non-finite, payload, repeats, untrained, one-direction, twin-rows, trap-bias, trap-outgoing, drift, row-drift or low-bits.
        why: one line for a reader.
        value: what was measured.
        threshold: the limit it is beyond.
    """

    name: str
    kind: str
    why: str
    value: float
    threshold: float


@dataclass(frozen=True)
class Limits:
    """Where a remark begins: beyond what honest nets reached, by a rule that looks at no attack (but for `ratio`, see below).

    37 nets of the reference architectures, trained on digits, Adult and MNIST, and the same trained further, gave the
    extremes in brackets (`benchmarks/leakage/weights.py`). What has no upper end got 1.3 times the extreme, the share of
    one direction the middle between it and 1, the ratio the next round number; payload ratios had been seen by then.

    Fields:
        ratio: compressed size over size of low mantissa bits, at least (0.998; 0.957 in a never trained orthogonal layer).
        direction: share of the unit rows' energy in one direction, at most (0.51).
        twins: share of rows with a twin of |cosine| > 0.98, at most (0.0).
        bias: robust z-score of a unit's bias over its weights' length, at most (5.1).
        outgoing: robust z-score of the log length of a unit's outgoing weights, at most (7.4).
        drift: length of a tensor's change over its length in the reference, at most (3.6: honest training goes far).
        row_drift: robust z-score of the log length of a row's change, at most (12.4).
    """

    ratio: float = 0.95
    direction: float = 0.76
    twins: float = 0.1
    bias: float = 6.6
    outgoing: float = 9.6
    drift: float = 4.6
    row_drift: float = 16.0


def screen(
    state: Mapping[str, Any], reference: Mapping[str, Any] | None = None, limits: Limits = Limits()
) -> tuple[Remark, ...]:
    """Remarks on a state dictionary of arrays or tensors, against the same model from a trusted source if there is one.

    No remark does not mean clean. Limits are those of small dense and convolutional nets; measure your own kind first.

    Raises:
        ModelError: a value that is no array of numbers, or a reference with other names or shapes.
    """
    arrays = {name: _array(name, value) for name, value in state.items()}
    floats = {name: a for name, a in arrays.items() if a.dtype.kind == "f" and a.size}
    finite = {name: a for name, a in floats.items() if np.isfinite(a).all()}
    remarks = [*_non_finite(floats), *_payload(finite, limits), *_imprint(finite, limits), *_traps(finite, limits)]
    if reference is not None:
        remarks += _against(finite, {name: _array(name, value) for name, value in reference.items()}, arrays, limits)
    return tuple(remarks)


def _array(name: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a torch tensor; numpy has no bfloat16, and float32 holds every one of them
        value = value.detach().cpu()
        value = value.float() if "bfloat16" in str(value.dtype) else value
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError("arrays or tensors", f"{type(value).__name__}", "screen a state dictionary").at(
            name
        ) from error
    if array.dtype.kind not in "biuf":
        raise ModelError("numbers", f"{array.dtype}", "screen a state dictionary").at(name)
    return array


def _non_finite(arrays: Mapping[str, np.ndarray]) -> Iterator[Remark]:
    for name, a in arrays.items():
        share = float(1 - np.isfinite(a).mean())
        if share:
            yield Remark(name, "non-finite", "NaN or infinity: every answer may depend on it", share, 0.0)


# --- payload ----------------------------------------------------------------------------------------------------------


def compressed(a: np.ndarray) -> tuple[float, int]:
    """How far low mantissa bits compress, as a share of their size, and how many of them; trained ones are noise, so 1.

    The least over windows and over the widths that a payload may have. (nan, 0) where low bits say nothing: another type
    than float32, fewer than 4,096 numbers, the low byte always zero (once rounded to half precision).
    """
    words = np.ascontiguousarray(a).reshape(-1)
    if words.dtype != np.float32:
        return float("nan"), 0
    words = words.view(np.uint32)
    words = words[words << 1 != 0]  # pruned weights are zero, honestly
    if len(words) < 4096 or not (words & 0xFF).any():
        return float("nan"), 0
    windows = [words[start : start + WINDOW] for start in range(0, len(words) - 4095, WINDOW)]
    return min((_ratio(window, width), width) for window in windows for width in WIDTHS)


def _ratio(words: np.ndarray, width: int) -> float:
    shifts = np.arange(width - 1, -1, -1, dtype=np.uint32)
    raw = np.packbits(((words[:, None] >> shifts) & 1).astype(np.uint8).reshape(-1)).tobytes()
    return len(zlib.compress(raw, 6)) / len(raw)


def _payload(arrays: Mapping[str, np.ndarray], limits: Limits) -> Iterator[Remark]:
    for name, a in arrays.items():
        ratio, width = compressed(a)
        if ratio < limits.ratio:
            kind, cause = _cause(a)
            why = f"the low {width} mantissa bits compress, which trained ones do not: {cause}"
            yield Remark(name, kind, why, ratio, limits.ratio)


def _cause(a: np.ndarray) -> tuple[str, str]:
    """Honest ways to low bits with structure come first; they do not rule out a payload."""
    values = np.sort(a, axis=None).astype(np.float64)
    if (np.diff(values) == 0).mean() > 0.1:
        return "repeats", "the numbers were quantised, or something was written there"
    uniform = np.linspace(values[0], values[-1], len(values))
    if np.abs(values - uniform).max() < 0.03 * (values[-1] - values[0]):  # Kolmogorov's distance, seen from the side
        return "untrained", "drawn from a range and never trained, or something was written there"
    return "payload", "something was written there"


# --- imprint and traps ------------------------------------------------------------------------------------------------


def _imprint(arrays: Mapping[str, np.ndarray], limits: Limits) -> Iterator[Remark]:
    for name, rows in _matrices(arrays):
        if min(rows.shape) < FEWEST:
            continue
        share, twins = one_direction(rows), twin_rows(rows)
        if share > limits.direction:
            yield Remark(name, "one-direction", "its rows measure one and the same thing", share, limits.direction)
        if twins > limits.twins:
            yield Remark(name, "twin-rows", "rows that are copies of others but for scale", twins, limits.twins)


def one_direction(rows: np.ndarray, steps: int = 50) -> float:
    """Share of the energy of the rows, all of length 1, in their first singular direction; 1 is a rank-one matrix."""
    unit = _unit(rows)
    v: np.ndarray = np.random.default_rng(0).standard_normal((rows.shape[1],))
    for _ in range(steps):  # power iteration
        v = np.asarray(unit.T @ (unit @ v))
        v = np.asarray(v / max(float(np.linalg.norm(v)), 1e-30))
    return float(np.square(unit @ v).sum() / max(float(np.square(unit).sum()), 1e-30))


def twin_rows(rows: np.ndarray, most: int = 4096) -> float:
    """Share of rows (of `most`, evenly spaced) that another row follows or opposes: |cosine| above 0.98."""
    unit = _unit(rows[:: -(-len(rows) // most)])
    cosines = np.abs(unit @ unit.T)
    np.fill_diagonal(cosines, 0)
    return float((cosines.max(axis=1) > 0.98).mean())


def _traps(arrays: Mapping[str, np.ndarray], limits: Limits) -> Iterator[Remark]:
    previous = 0
    for name, rows in _matrices(arrays):
        bias = arrays.get(f"{name.removesuffix('weight')}bias")
        if bias is not None and bias.shape == (len(rows),) and len(rows) >= FEWEST:
            height = np.abs(outliers(bias / np.maximum(_lengths(rows), 1e-12)))
            if height.max() > limits.bias:
                why = f"unit {height.argmax()} is held down or up by its bias as no other"
                yield Remark(name, "trap-bias", why, float(height.max()), limits.bias)
        inputs = arrays[name].shape[1]
        if inputs == previous and inputs >= FEWEST:  # the layer before it in the dictionary feeds it
            columns = np.moveaxis(arrays[name], 1, 0).reshape(inputs, -1)
            height = outliers(np.log(_lengths(columns) + 1e-12))
            if height.max() > limits.outgoing:
                why = f"unit {height.argmax()} of the layer before shouts: its outgoing weights are far longer than others'"
                yield Remark(name, "trap-outgoing", why, float(height.max()), limits.outgoing)
        previous = len(rows)


def outliers(values: np.ndarray) -> np.ndarray:
    """Robust z-scores: distance from the median in standard deviations as the median distance gives them."""
    values = np.asarray(values, dtype=np.float64)
    centred = values - np.median(values)
    spread = 1.4826 * float(np.median(np.abs(centred)))
    return np.asarray(centred / max(spread, 0.05))  # a layer whose rows agree to 5 % is no ground for alarm


def _matrices(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Weights of two dimensions or more, flattened to one row per unit."""
    for name, a in arrays.items():
        if a.ndim > 1:
            yield name, a.reshape(len(a), -1)


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(rows.astype(np.float64), axis=1))


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = _lengths(rows)
    kept = lengths > 0  # a pruned unit has no direction
    return rows[kept] / lengths[kept, None] if kept.any() else np.zeros((1, rows.shape[1]))


# --- against a reference ----------------------------------------------------------------------------------------------


def _against(
    finite: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    arrays: Mapping[str, np.ndarray],
    limits: Limits,
) -> Iterator[Remark]:
    shapes = {name: a.shape for name, a in arrays.items()}
    if shapes != {name: a.shape for name, a in reference.items()}:
        other = sorted(set(shapes.items()) ^ {(name, a.shape) for name, a in reference.items()})[0]
        raise ModelError("a reference with the same names and shapes", f"{other}", "compare one model with itself")
    for name, a in finite.items():
        change = a.astype(np.float64) - reference[name]
        drift = float(np.linalg.norm(change) / max(float(np.linalg.norm(reference[name])), 1e-12))
        if drift > limits.drift and a.ndim > 1:
            yield Remark(name, "drift", "further from the reference than training goes", drift, limits.drift)
        if a.ndim > 1 and len(a) >= FEWEST and change.any():
            moved = outliers(np.log(_lengths(change.reshape(len(a), -1)) + 1e-12))
            if moved.max() > limits.row_drift:
                why = f"unit {moved.argmax()} was changed far more than others"
                yield Remark(name, "row-drift", why, float(moved.max()), limits.row_drift)
        share = low_bits_changed(a, reference[name])
        if share > 0.01:
            why = "equals the reference but for low mantissa bits, which no training does"
            yield Remark(name, "low-bits", why, share, 0.01)


def low_bits_changed(a: np.ndarray, reference: np.ndarray) -> float:
    """Share of float32 numbers that differ from the reference, if all differ in their low 16 bits only; else 0.

    Numbers that were rounded have zeros there, and do not count.
    """
    if a.dtype != np.float32 or reference.dtype != np.float32:
        return 0.0
    words, others = (np.ascontiguousarray(x).view(np.uint32) for x in (a, reference))
    differ = words != others
    if not differ.any() or (words ^ others).max() >= 1 << 16 or not (words & 0xFF).any():
        return 0.0
    return float(differ.mean())
