"""Screens weights for structures that honest training does not produce: payloads, imprints, traps, damage.

It detects structure, not intent. An encrypted payload in low mantissa bits looks like trained bits. An attacker who knows
the limits can stay below them, but then recovers less (`benchmarks/leakage/RESULTS-weights.md`). It needs only numpy.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from antivenom.core.errors import ModelError

WIDTHS = (1, 2, 4, 8, 16)  # numbers of low mantissa bits that a payload can use
FEWEST = 8  # with fewer rows or columns, a layer is too small for outlier statistics
WINDOW = 1 << 16  # values compressed together, small enough to detect a payload in a part of a large tensor


@runtime_checkable
class _Tensor(Protocol):
    """The methods of a torch tensor that are used here, so that torch is not imported."""

    dtype: object

    def detach(self) -> _Tensor: ...
    def cpu(self) -> _Tensor: ...
    def float(self) -> _Tensor: ...


@dataclass(frozen=True)
class Remark:
    """A structure in the weights that honest training is unlikely to produce.

    Fields:
        name: name of the tensor.
        kind: non-finite, payload, repeats, untrained, one-direction, twin-rows, trap-bias, trap-outgoing, drift,
            row-drift or low-bits.
        why: one line of explanation.
        value: the measured value.
        threshold: the limit that the value exceeds.
    """

    name: str
    kind: str
    why: str
    value: float
    threshold: float


@dataclass(frozen=True)
class Limits:
    """Limits beyond which `screen` makes a remark. They were derived from honest networks only, except for `ratio`.

    The extreme values in brackets come from 37 networks of the reference architectures, trained on digits, Adult and
    MNIST, and from the same networks after further training (`benchmarks/leakage/weights.py`). An unbounded quantity got
    1.3 times its extreme value, the share of one direction the midpoint between its extreme and 1. The ratio got the next
    round number, which was chosen after the ratios of some payloads were known.

    Fields:
        ratio: lower limit of compressed size / size of the low mantissa bits (0.998; 0.957 in an untrained orthogonal
            layer).
        direction: upper limit of the share of the energy of the normalised rows in one direction (0.51).
        twins: upper limit of the share of rows that have a twin with |cosine| > 0.98 (0.0).
        bias: upper limit of the robust z-score of a unit's bias divided by the length of its weights (5.1).
        outgoing: upper limit of the robust z-score of the log length of a unit's outgoing weights (7.4).
        drift: upper limit of the length of a tensor's change divided by its length in the reference (3.6).
        row_drift: upper limit of the robust z-score of the log length of a row's change (12.4).
    """

    ratio: float = 0.95
    direction: float = 0.76
    twins: float = 0.1
    bias: float = 6.6
    outgoing: float = 9.6
    drift: float = 4.6
    row_drift: float = 16.0


def screen(
    state: Mapping[str, object], reference: Mapping[str, object] | None = None, limits: Limits = Limits()
) -> tuple[Remark, ...]:
    """Remarks on a state dictionary of arrays or tensors, compared with a trusted `reference` of the same model if given.

    The absence of remarks does not prove that a model is clean. The default limits hold for small dense and convolutional
    networks; for other architectures, measure honest models first.

    >>> rng = np.random.default_rng(0)
    >>> weights = rng.standard_normal((64, 100)).astype(np.float32)
    >>> screen({"layer.weight": weights})
    ()
    >>> weights[:] = weights[:1] * rng.random((64, 1))
    >>> [remark.kind for remark in screen({"layer.weight": weights})]
    ['one-direction', 'twin-rows']

    Raises:
        ModelError: a value that is not an array of numbers, or a reference with other names or shapes.
    """
    arrays = {name: as_array(name, value) for name, value in state.items()}
    floats = {name: a for name, a in arrays.items() if a.dtype.kind == "f" and a.size}
    finite = {name: a for name, a in floats.items() if np.isfinite(a).all()}
    remarks = [*_non_finite(floats), *_payload(finite, limits), *_imprint(finite, limits), *_traps(finite, limits)]
    if reference is not None:
        remarks += against(arrays, reference, limits)
    return tuple(remarks)


def as_array(name: str, value: object) -> np.ndarray:
    """The tensor or array called `name` as an array of real numbers.

    Raises:
        ModelError: another value.
    """
    if isinstance(value, _Tensor):  # numpy lacks the types whose values float32 can represent
        value = value.detach().cpu()
        value = value.float() if any(kind in str(value.dtype) for kind in ("bfloat16", "float8")) else value
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError("an array or a tensor", f"{type(value).__name__}", "pass a state dictionary").at(
            name
        ) from error
    if array.dtype.kind not in "biuf":
        raise ModelError("an array of numbers", f"{array.dtype}", "pass a state dictionary").at(name)
    return array


def _non_finite(arrays: Mapping[str, np.ndarray]) -> Iterator[Remark]:
    for name, a in arrays.items():
        share = float(1 - np.isfinite(a).mean())
        if share:
            yield Remark(name, "non-finite", "NaN or infinity, on which every prediction can depend", share, 0.0)


# --- payload ----------------------------------------------------------------------------------------------------------


def compressed(a: np.ndarray) -> tuple[float, int]:
    """Smallest compression ratio of low mantissa bits, and the number of bits that has it. Trained bits are noise: 1.

    The minimum is taken over windows of the tensor and over the widths that a payload can have. The result is (nan, 0) if
    low bits cannot be judged: another type than float32, fewer than 4,096 numbers, or low bytes that are all zero, as
    after a conversion from half precision.
    """
    words = np.ascontiguousarray(a).reshape(-1)
    if words.dtype != np.float32:
        return float("nan"), 0
    words = words.view(np.uint32)
    words = words[words << 1 != 0]  # honest pruning sets weights to zero
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
            why = f"the low {width} mantissa bits can be compressed, unlike trained ones: {cause}"
            yield Remark(name, kind, why, ratio, limits.ratio)


def _cause(a: np.ndarray) -> tuple[str, str]:
    """Kind and cause of structure in the low bits. Harmless causes are tried first, but do not rule out a payload."""
    values = np.sort(a, axis=None).astype(np.float64)
    if (np.diff(values) == 0).mean() > 0.1:
        return "repeats", "the numbers were quantised, or a payload was written into them"
    uniform = np.linspace(values[0], values[-1], len(values))
    if np.abs(values - uniform).max() < 0.03 * (
        values[-1] - values[0]
    ):  # similar to the Kolmogorov-Smirnov distance, but between quantiles
        return "untrained", "uniform initial weights that were never trained, or a payload was written into them"
    return "payload", "a payload was probably written into them"


# --- imprint and traps ------------------------------------------------------------------------------------------------


def _imprint(arrays: Mapping[str, np.ndarray], limits: Limits) -> Iterator[Remark]:
    for name, rows in _matrices(arrays):
        if min(rows.shape) < FEWEST:
            continue
        share, twins = one_direction(rows), twin_rows(rows)
        if share > limits.direction:
            yield Remark(name, "one-direction", "all its units measure the same direction", share, limits.direction)
        if twins > limits.twins:
            yield Remark(name, "twin-rows", "rows that are scaled copies of other rows", twins, limits.twins)


def one_direction(rows: np.ndarray, steps: int = 50) -> float:
    """Share of the energy of the normalised rows in their first singular direction; 1 for a matrix of rank one."""
    unit = _unit(rows)
    v: np.ndarray = np.random.default_rng(0).standard_normal((rows.shape[1],))
    for _ in range(steps):  # power iteration
        v = np.asarray(unit.T @ (unit @ v))
        v = np.asarray(v / max(float(np.linalg.norm(v)), 1e-30))
    return float(np.square(unit @ v).sum() / max(float(np.square(unit).sum()), 1e-30))


def twin_rows(rows: np.ndarray, most: int = 4096) -> float:
    """Share of rows that have |cosine| > 0.98 with another row, among `most` evenly spaced rows."""
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
                why = f"the bias of unit {height.argmax()} is an outlier, which keeps the unit inactive or active"
                yield Remark(name, "trap-bias", why, float(height.max()), limits.bias)
        inputs = arrays[name].shape[1]
        if inputs == previous and inputs >= FEWEST:  # the preceding layer in the dictionary is its input
            columns = np.moveaxis(arrays[name], 1, 0).reshape(inputs, -1)
            height = outliers(np.log(_lengths(columns) + 1e-12))
            if height.max() > limits.outgoing:
                why = f"the outgoing weights of unit {height.argmax()} of the layer before are far longer than those of others"
                yield Remark(name, "trap-outgoing", why, float(height.max()), limits.outgoing)
        previous = len(rows)


def outliers(values: np.ndarray) -> np.ndarray:
    """Robust z-scores: distance from the median, divided by the scaled median absolute deviation."""
    values = np.asarray(values, dtype=np.float64)
    centred = values - np.median(values)
    spread = 1.4826 * float(np.median(np.abs(centred)))
    return np.asarray(centred / max(spread, 0.05))  # avoids alarms in layers whose rows agree to 5 %


def _matrices(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Weights with two or more dimensions, flattened to one row per unit."""
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


def against(
    state: Mapping[str, object], reference: Mapping[str, object], limits: Limits = Limits()
) -> tuple[Remark, ...]:
    """The part of `screen` that needs a reference: changes that are larger than those of training, and changed low bits.

    Raises:
        ModelError: a value that is not an array of numbers, or a reference with other names or shapes.
    """
    arrays = {name: as_array(name, value) for name, value in state.items()}
    others = {name: as_array(name, value) for name, value in reference.items()}
    return tuple(_drift(arrays, others, limits))


def _drift(arrays: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], limits: Limits) -> Iterator[Remark]:
    finite = {name: a for name, a in arrays.items() if a.dtype.kind == "f" and a.size and np.isfinite(a).all()}
    shapes = {name: a.shape for name, a in arrays.items()}
    if shapes != {name: a.shape for name, a in reference.items()}:
        other = sorted(set(shapes.items()) ^ {(name, a.shape) for name, a in reference.items()})[0]
        raise ModelError(
            "a reference with the same names and shapes", f"{other}", "pass the same model from a trusted source"
        )
    for name, a in finite.items():
        change = a.astype(np.float64) - reference[name]
        drift = float(np.linalg.norm(change) / max(float(np.linalg.norm(reference[name])), 1e-12))
        if drift > limits.drift and a.ndim > 1:
            yield Remark(
                name,
                "drift",
                "the tensor differs from the reference by more than training would cause",
                drift,
                limits.drift,
            )
        if a.ndim > 1 and len(a) >= FEWEST and change.any():
            moved = outliers(np.log(_lengths(change.reshape(len(a), -1)) + 1e-12))
            if moved.max() > limits.row_drift:
                why = f"unit {moved.argmax()} was changed far more than others"
                yield Remark(name, "row-drift", why, float(moved.max()), limits.row_drift)
        share = low_bits_changed(a, reference[name])
        if share > 0.01:
            why = "only low mantissa bits differ from the reference, which training would not cause"
            yield Remark(name, "low-bits", why, share, 0.01)


def low_bits_changed(a: np.ndarray, reference: np.ndarray) -> float:
    """Share of float32 numbers that differ from the reference, if all differences are in the low 16 bits; otherwise 0.

    It is also 0 for numbers that were rounded, whose low bits are zero.
    """
    if a.dtype != np.float32 or reference.dtype != np.float32:
        return 0.0
    words, others = (np.ascontiguousarray(x).view(np.uint32) for x in (a, reference))
    differ = words != others
    if not differ.any() or (words ^ others).max() >= 1 << 16 or not (words & 0xFF).any():
        return 0.0
    return float(differ.mean())
