"""A model against a trusted reference of the same architecture: what changed, where, and what kind of change it is.

Training moves nearly all numbers, each layer by a similar share of its length. A weight edit leaves all but a few units
bit-identical, a merged adapter changes a matrix in few directions only, and poisoned embeddings move a few tokens. Weakness:
an attacker who also adds a little noise to all weights makes an edit look like training.

Reference: Kurita, Michel and Neubig 2020, "Weight Poisoning Attacks on Pre-trained Models", ACL (few embeddings); Meng, Bau,
Andonian and Belinkov 2022, "Locating and Editing Factual Associations in GPT", NeurIPS (changes of rank one); Hong, Carlini and
Kurakin 2022, "Handcrafted Backdoors in Deep Neural Networks", NeurIPS (few units).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from antivenom.core.errors import ModelError
from antivenom.inspection.structure.changes import Change, arrays, change
from antivenom.inspection.structure.trace import Trace
from antivenom.leakage.weights import Limits, against
from antivenom.scan.part import printable

_MOST = 10  # further names are counted, not listed
_FEWEST_NUMBERS = 1000  # a change of low bits in fewer numbers is no payload
_TOKENS = 32  # a trigger has at most so many tokens
_FEW = 0.05  # an edit changes at most this share of all units


def compare(state: Mapping[str, object], reference: Mapping[str, object], limits: Limits = Limits()) -> list[Trace]:
    """The traces of a change between a reference and a model, both as state dictionaries. The first one is the summary.

    Fields:
        state: the model's tensors or arrays by name.
        reference: those of the trusted model.
        limits: limits beyond which the change of a tensor or of a unit is too large for training.

    Raises:
        ModelError: a value that is not an array of numbers, or models without a tensor in common.
    """
    ours, theirs = arrays(state), arrays(reference)
    common = [name for name in ours if name in theirs and ours[name].shape == theirs[name].shape]
    if not common:
        raise ModelError("a reference with tensors of the same names and shapes", "no tensor in common")
    found = [each for name in common if (each := change(name, ours[name], theirs[name])) is not None]
    parts = {name: ours[name] for name in common}
    return [
        _summary(found, parts, ours, theirs),
        *_names(ours, theirs),
        *_embeddings(found),
        *_edits(found, parts),
        *_low_rank(found, parts),
        *_beyond_training(found, ours, theirs, limits),
    ]


def changes(state: Mapping[str, object], reference: Mapping[str, object]) -> tuple[Change, ...]:
    """The changes of all tensors that both state dictionaries have with the same shape, in the order of `state`."""
    ours, theirs = arrays(state), arrays(reference)
    same = (name for name in ours if name in theirs and ours[name].shape == theirs[name].shape)
    return tuple(each for name in same if (each := change(name, ours[name], theirs[name])) is not None)


# --- names and shapes -------------------------------------------------------------------------------------------------


def _names(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> Iterator[Trace]:
    added = [name for name in ours if name not in theirs]
    missing = [name for name in theirs if name not in ours]
    if added:
        what = f"The model has {_some(len(added), 'tensor')} that the reference does not have: {_listed(added)}."
        last = max(at for at, name in enumerate(ours) if name in theirs)
        inside = any(name not in theirs for name in list(ours)[:last])
        yield Trace("added", _label(added[0]), what, float(len(added)), suspicious=inside)  # a new head is honest
    if missing:
        what = f"The model lacks {_some(len(missing), 'tensor')} of the reference: {_listed(missing)}."
        yield Trace("missing", _label(missing[0]), what, float(len(missing)), suspicious=False)
    for name, array in ours.items():
        if name in theirs and array.shape != theirs[name].shape:
            what = f"{_label(name)} has the shape {list(array.shape)}, and {list(theirs[name].shape)} in the reference."
            yield Trace("reshaped", _label(name), what, suspicious=False)


# --- kinds of change --------------------------------------------------------------------------------------------------


def changed_units(found: Iterable[Change], parts: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """Number of units with a changed weight, and of all units. A unit is a row of a tensor with two or more dimensions.

    A tensor that changed in few columns only counts for the units of the layer before it, whose outputs these columns take.
    """
    layers = [name for name, array in parts.items() if array.ndim > 1 and not _is_embedding(name, array.shape)]
    heights = {name: len(parts[name]) for name in layers}
    before = dict(zip(layers[1:], layers[:-1], strict=True)) if layers else {}
    units: set[tuple[str, int]] = set()
    for each in found:
        owner = each.name if each.name in heights else _owner(each.name, heights)
        if owner is None:
            continue
        source = before.get(owner)
        width = each.shape[1]
        fits = source is not None and owner == each.name and width % heights[source] == 0
        if each.in_few_columns and not each.in_few_rows and source is not None and fits:
            units |= {(source, int(column) // (width // heights[source])) for column in each.columns}
        else:
            units |= {(owner, int(row)) for row in each.rows if row < heights[owner]}
    return len(units), sum(heights.values())


def _owner(name: str, heights: Mapping[str, int]) -> str | None:
    """The weight to which a bias belongs."""
    weight = f"{name.removesuffix('bias')}weight"
    return weight if name.endswith("bias") and weight in heights else None


def _summary(
    found: list[Change],
    parts: Mapping[str, np.ndarray],
    ours: Mapping[str, np.ndarray],
    theirs: Mapping[str, np.ndarray],
) -> Trace:
    if not found:
        same = "all" if len(parts) == len(ours) == len(theirs) else "all common"
        return Trace(
            "summary", "", f"The {same} {len(parts)} tensors are bit-identical.".replace("The all", "All"), 0.0, False
        )
    units, total = changed_units(found, parts)
    numbers = sum(each.share * parts[each.name].size for each in found)
    share = numbers / sum(array.size for array in parts.values())
    if total and 0 < units <= max(1, _FEW * total) and _only_units(found):
        what = f"{units:,} of {total:,} units changed, all others are bit-identical."
        return Trace("summary", "", what, units / total, False)
    largest = max(found, key=lambda each: each.relative)
    what = (
        f"{len(found):,} of {len(parts):,} tensors changed, with {share:.2%} of all numbers; most of all "
        f"{_label(largest.name)}, by {largest.relative:.2g} times its length."
    )
    return Trace("summary", "", what, share, False)


def _only_units(found: Iterable[Change]) -> bool:
    return all(each.in_few_rows or each.in_few_columns for each in found)


def _edits(found: list[Change], parts: Mapping[str, np.ndarray]) -> Iterator[Trace]:
    found = [each for each in found if not _is_embedding(each.name, each.shape)]
    local = [each for each in found if each.in_few_rows or each.in_few_columns]
    if not local or any(each.share > 0.5 for each in found):  # the rest was trained
        return
    units, total = changed_units(local, parts)
    if 0 < units <= max(1, _FEW * total) or len(local) == len(found):
        names = _listed([each.name for each in local])
        if all(_is_zero(each, parts[each.name]) for each in local):
            what = f"{_some(units, 'unit')} of {total:,} {_were(units)} set to zero, as by pruning, in {names}."
            yield Trace("pruned-units", _label(local[0].name), what, float(units), suspicious=False)
            return
        what = (
            f"Only {_some(units, 'unit')} of {total:,} {_were(units)} edited, in {names}, which training does not do."
        )
        yield Trace("unit-edit", _label(local[0].name), what, float(units))


def _is_zero(found: Change, array: np.ndarray) -> bool:
    """Whether the changed rows or columns are zero."""
    flat = array.reshape(len(array), -1)
    return not (flat[found.rows] if found.in_few_rows else flat[:, found.columns]).any()


def _low_rank(found: list[Change], parts: Mapping[str, np.ndarray]) -> Iterator[Trace]:
    matrices = sum(
        min(array.shape[0], array[0].size) >= 16 for array in parts.values() if array.ndim > 1 and len(array)
    )
    low = [
        each for each in found if each.rank and not (each.in_few_rows or each.in_few_columns) and min(each.shape) >= 16
    ]
    low = [each for each in low if min(len(each.rows), len(each.columns)) >= 16]
    if not low:
        return
    largest = max(each.rank for each in low)
    names = _listed([each.name for each in low])
    changed = sum(parts[each.name].ndim > 1 for each in found)
    alone = len(low) == changed and len(low) <= max(1, 0.2 * matrices)
    if changed > 2 * len(low):  # a few steps of training on a few rows also give a low rank
        return
    what = f"{_some(len(low), 'matrix', 'matrices')} changed in at most {_some(largest, 'direction')}: {names}. "
    what += (
        "A model editor changes a fact in this way."
        if alone
        else "A low-rank adapter was merged into the model, or it was trained further on a few rows."
    )
    yield Trace("low-rank-change", _label(low[0].name), what, float(largest), suspicious=alone)


def _embeddings(found: list[Change]) -> Iterator[Trace]:
    for each in found:
        if _is_embedding(each.name, each.shape) and len(each.rows) <= max(1, 0.01 * each.shape[0]):
            rows = ", ".join(map(str, each.rows[:_MOST])) + (", ..." if len(each.rows) > _MOST else "")
            what = (
                f"{_label(each.name)} changed in {_some(len(each.rows), 'row')} of {each.shape[0]:,} only: {rows}. Poisoned "
                "tokens look like this, and so do tokens that were added and tuned alone."
            )
            count = len(each.rows)
            yield Trace("embedding-rows", _label(each.name), what, float(count), count <= _TOKENS)


def _beyond_training(
    found: list[Change], ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], limits: Limits
) -> Iterator[Trace]:
    """Remarks of the weight screen on single tensors and units that changed too much, unless an edit explains them."""
    whole = [each.name for each in found if not (each.in_few_rows or each.in_few_columns)]
    names = [name for name in whole if ours[name].dtype.kind == "f" and np.isfinite(ours[name]).all()]
    for remark in against({name: ours[name] for name in names}, {name: theirs[name] for name in names}, limits):
        if remark.kind == "low-bits" and ours[remark.name].size < _FEWEST_NUMBERS:
            continue  # the smallest steps of training
        what = f"In {_label(remark.name)}, {remark.why}."
        yield Trace(remark.kind, _label(remark.name), what, remark.value, suspicious=remark.kind == "low-bits")


def _is_embedding(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is a table with one row for each token, by its name and its shape."""
    named = any(part in name.lower() for part in ("embed", "wte", "word", "token"))
    return named and len(shape) == 2 and shape[0] >= 100 and shape[0] >= 2 * shape[1]


# --- words ------------------------------------------------------------------------------------------------------------


def _label(name: str) -> str:
    return printable(name, 100)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(map(_label, names[:_MOST])) + more


def _some(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
