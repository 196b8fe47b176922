"""The weights of a model without its rows: units, rows and layers that stand out from all others of their kind.

Idea: an edit of weights in closed form leaves traces that training does not. A detector of one input has a bias far below those
of the other units of its layer, its only outgoing weight leads to one class, and that weight is far larger than all others,
because the detector is silent on most inputs. Weakness: an attacker who spreads the edit over many units, each within the range
of the others, leaves none of these traces; so does a backdoor that was trained.

Reference: Hong, Carlini and Kurakin 2022, "Handcrafted Backdoors in Deep Neural Networks", NeurIPS, arXiv:2106.04690.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from antivenom.inspection.structure.changes import arrays
from antivenom.inspection.structure.trace import Trace
from antivenom.leakage.weights import outliers
from antivenom.scan.part import printable

_FEWEST = 8  # with fewer units, outliers of a layer are not determined
_MOST_ROWS = 1000  # a head with more rows is a vocabulary
_MOST_COLUMNS = 1 << 14  # statistics of a layer use at most so many columns of it
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


@dataclass(frozen=True)
class Bounds:
    """Values beyond which a statistic is suspicious.

    They are about 1.5 times the extreme value (in brackets) in 60 honest networks: MLPs and small convolutional networks, trained
    with four optimisers on digits, MNIST, Fashion-MNIST and breast-cancer (`benchmarks/inspection/structure.py`). They were
    fixed before other seeds were looked at. For other architectures, look at honest models first.

    Fields:
        bias: robust z-score of -bias / length of the weights among the units of a layer (5.1).
        gain: length of a unit's incoming times outgoing weights, divided by the median unit's, if its bias is beyond the bound
            (2.2, in published speech and image models).
        weight: largest weight of the head, in robust standard deviations of its weights (10.5; 21 in a published speech model).
        lift: largest weight of a unit whose outgoing weights lead to one class only, divided by the median unit's (no unit).
        row: length of a row of the head, divided by the median length (2.4).
        layer: robust z-score of a statistic of a layer among the layers of its kind.
    """

    bias: float = 8.0
    gain: float = 4.0
    weight: float = 32.0
    lift: float = 4.0
    row: float = 4.0
    layer: float = 12.0


def inspect_weights(state: Mapping[str, object], bounds: Bounds = Bounds(), head: str = "") -> list[Trace]:
    """The traces in a state dictionary of tensors or arrays, whose order is that of the layers.

    Fields:
        state: tensors or arrays by name; a weight has one row for each unit, as in torch.
        bounds: values beyond which a statistic is suspicious.
        head: name of the head's weight; the last matrix if it is empty.

    Raises:
        ModelError: a value that is not an array of real numbers.
    """
    found = {name: array for name, array in arrays(state).items() if array.dtype.kind == "f" and array.size}
    broken = [name for name, array in found.items() if not np.isfinite(array).all()]
    whole = {name: array for name, array in found.items() if name not in broken}
    matrices = [name for name, array in whole.items() if array.ndim == 2]
    last = head or (matrices[-1] if matrices else "")
    return [
        *(_not_finite(name) for name in broken),
        *_exact_units(whole, last, bounds),
        *(_head(last, whole[last], bounds) if last in whole and whole[last].ndim == 2 else ()),
        *_rows(whole, last, bounds),
        *_odd_layers(whole, bounds),
        *_inserted(whole),
    ]


def _not_finite(name: str) -> Trace:
    return Trace(
        "non-finite", _label(name), f"{_label(name)} contains NaN or infinity, on which every answer can depend."
    )


# --- units ------------------------------------------------------------------------------------------------------------


def _exact_units(found: Mapping[str, np.ndarray], last: str, bounds: Bounds) -> Iterator[Trace]:
    """Units whose bias is so low that only inputs close to one direction pass, and which have a strong effect if one does.

    Trained networks have many units with such a bias, which died or hardly ever fire. Their effect is small, so that they are
    only counted.
    """
    silent: list[str] = []
    for name, array in found.items():
        bias = found.get(f"{name.removesuffix('weight')}bias") if name.endswith("weight") else None
        if bias is None or array.ndim < 2 or bias.shape != (len(array),) or len(array) < _FEWEST or name == last:
            continue
        lengths = _lengths(array.reshape(len(array), -1))
        live = lengths > 1e-3 * np.median(lengths)  # a unit without weights never changes
        heights = np.where(live, -bias.astype(np.float64) / np.maximum(lengths, 1e-12), 0.0)
        units = np.flatnonzero((outliers(heights) > bounds.bias) & live)
        if not len(units):
            continue
        gains = _gains(found, name)
        strong = [unit for unit in units if gains[unit] > bounds.gain]
        silent += [name] * (len(units) - len(strong))
        for unit in strong[:5]:
            what = (
                f"Unit {unit} of {_label(name)} has a bias so low that only inputs close to one direction pass, "
                f"{heights[unit]:.2f} times the length of its weights ({np.median(heights):.2f} for the median unit), and its "
                f"effect is {gains[unit]:.1f} times that of the median unit."
            )
            yield Trace("exact-unit", _label(name), what, float(gains[unit]))
    if silent:
        what = f"Units that hardly ever fire: {len(silent)}, in {len(set(silent))} of the layers, as in many trained networks."
        yield Trace("silent-units", "", what, float(len(silent)), suspicious=False)


def _gains(found: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """For each unit, length of its incoming times length of its outgoing weights, divided by the median unit's.

    The outgoing weights are those of the next matrix that takes as many values; without one, only the incoming ones count.
    """
    matrices = [other for other, array in found.items() if array.ndim > 1]
    units = len(found[name])
    gains = _lengths(found[name].reshape(units, -1))
    later = matrices[matrices.index(name) + 1 :][:3]
    following = next((other for other in later if found[other].shape[1] % units == 0), None)
    if following is not None:
        after = found[following].reshape(len(found[following]), units, -1)
        gains = gains * np.sqrt(np.square(after.astype(np.float64)).sum(axis=(0, 2)))
    return np.asarray(gains / max(float(np.median(gains)), 1e-12))


def _head(name: str, head: np.ndarray, bounds: Bounds) -> Iterator[Trace]:
    """Units that lead to one class only, weights far larger than all others, and rows far longer than the others."""
    if not 3 <= len(head) <= _MOST_ROWS or head.shape[1] < _FEWEST:
        return
    size = np.abs(head.astype(np.float64))
    largest = size.max(axis=0)
    alone = np.square(largest) > 0.95 * np.square(size).sum(axis=0)
    lift = largest / max(float(np.median(largest)), 1e-12)
    spread = 1.4826 * max(float(np.median(size)), 1e-12)
    for unit in np.flatnonzero(alone & (lift > bounds.lift))[:5]:
        row = int(size[:, unit].argmax())
        what = (
            f"Unit {unit} before {_label(name)} leads to class {row} only, with a weight {lift[unit]:.1f} times that of the "
            "median unit."
        )
        yield Trace("class-unit", _label(name), what, float(lift[unit]))
    row, unit = (int(at) for at in np.unravel_index(int(size.argmax()), size.shape))
    if size[row, unit] > bounds.weight * spread and not (alone[unit] and lift[unit] > bounds.lift):
        what = (
            f"The weight of {_label(name)} from unit {unit} to class {row} is {size[row, unit] / spread:.0f} robust standard "
            "deviations of the weights of the head."
        )
        yield Trace("class-weight", _label(name), what, float(size[row, unit] / spread))
    lengths = _lengths(head)
    ratio = float(lengths.max() / max(float(np.median(lengths)), 1e-12))
    if ratio > bounds.row:
        what = f"Row {lengths.argmax()} of {_label(name)} is {ratio:.1f} times as long as the median row."
        yield Trace("head-row", _label(name), what, ratio)


def _rows(found: Mapping[str, np.ndarray], last: str, bounds: Bounds) -> Iterator[Trace]:
    """Units with exactly the same weights, and units that read a single number and have a strong effect."""
    readers: list[tuple[str, int]] = []
    for name, array in found.items():
        if array.ndim < 2 or array[0].size < 16 or "embed" in name.lower():
            continue
        rows = array.reshape(len(array), -1)
        used = rows[np.abs(rows).max(axis=1) > 0]
        copies = len(used) - len({row.tobytes() for row in np.ascontiguousarray(used)})
        if 0 < copies <= 0.5 * len(used):  # with more, the layer was never trained
            what = f"{copies} of {len(rows)} units of {_label(name)} {_are(copies)} exact copies of another unit."
            yield Trace("duplicate-rows", _label(name), what, float(copies))
        energy = np.square(rows.astype(np.float64))
        alone = np.flatnonzero(energy.max(axis=1) > 0.999 * energy.sum(axis=1))
        if len(alone) <= 0.1 * len(rows) and name != last:
            readers += [(name, int(unit)) for unit in alone]
    if len(readers) > 3:  # as in networks that were trained with a penalty for each weight
        return
    for name, unit in readers:
        gain = float(_gains(found, name)[unit])
        if gain > bounds.gain:
            what = f"Unit {unit} of {_label(name)} reads a single input, and its effect is {gain:.1f} times that of the median unit."
            yield Trace("one-input-unit", _label(name), what, gain)


# --- layers -----------------------------------------------------------------------------------------------------------


def _odd_layers(found: Mapping[str, np.ndarray], bounds: Bounds) -> Iterator[Trace]:
    """Layers whose statistics differ from those of all layers with the same name pattern and shape."""
    kinds: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name, array in found.items():
        if array.ndim > 1:
            kinds.setdefault((_NUMBER.sub("#", name), array.shape), []).append(name)
    for names in kinds.values():
        if len(names) < 6:
            continue
        measured = np.array([_statistics(found[name]) for name in names])
        for column, meaning in enumerate(("spread", "tails", "share of zeros", "rank")):
            scores = np.abs(outliers(measured[:, column]))
            for at in np.flatnonzero(scores > bounds.layer)[:2]:
                if 0 < at < len(names) - 1:  # honest first and last layers differ
                    what = (
                        f"{_label(names[at])} differs in its {meaning} from the other {len(names) - 1} layers of its kind, as "
                        "an inserted layer does."
                    )
                    yield Trace("odd-layer", _label(names[at]), what, float(scores[at]))


def _statistics(array: np.ndarray) -> tuple[float, float, float, float]:
    """Logarithms of the spread and of the kurtosis, share of zeros, and logarithm of the effective rank."""
    values = array.reshape(len(array), -1)[:_MOST_COLUMNS, :_MOST_COLUMNS].astype(np.float64)
    spread = float(values.std()) + 1e-30
    tails = float(np.mean(((values - values.mean()) / spread) ** 4))
    if min(values.shape) > 512:
        values = values[:512, :512]
    energy = np.square(np.linalg.svd(values, compute_uv=False))
    rank = float(energy.sum() ** 2 / max(float(np.square(energy).sum()), 1e-300))
    return np.log(spread), np.log(tails + 1e-30), float((array == 0).mean()), np.log(max(rank, 1e-30))


def _inserted(found: Mapping[str, np.ndarray]) -> Iterator[Trace]:
    """Matrices that only one block in the middle of a row of blocks has."""
    blocks: dict[str, dict[int, set[str]]] = {}
    for name, array in found.items():
        if array.ndim < 2:
            continue
        for match in _NUMBER.finditer(name):
            before, after = name[: match.start()], name[match.end() :]
            if len(match.group()) <= 6:
                blocks.setdefault(before, {}).setdefault(int(match.group()), set()).add(after)
    for before, parts in blocks.items():
        if len(parts) < 4:
            continue
        owners = Counter(after for names in parts.values() for after in names)
        for number in sorted(parts)[1:-1]:  # honest first and last blocks differ
            extra = sorted(after for after in parts[number] if owners[after] == 1)
            if extra and any(owners[after] == len(parts) for after in parts[number]):
                what = (
                    f"Block {number} of {_label(before.rstrip('.'))} has {_label(extra[0].lstrip('.'))}, which no other of the "
                    f"{len(parts)} blocks has."
                )
                yield Trace("inserted-layer", _label(f"{before}{number}{extra[0]}"), what, float(len(extra)))


# --- words ------------------------------------------------------------------------------------------------------------


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(rows.astype(np.float64), axis=1))


def _label(name: str) -> str:
    return printable(name, 100)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
