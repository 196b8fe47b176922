"""The triggers that an attacker may choose for rows of a given form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset
from antivenom.data.schema import ColumnKind
from antivenom.search.space import Axis, Choices, Range
from antivenom.triggers import Blend, Cells, Patch, Phrase, Sinusoid, Stamp, Together, Token

COLUMNS = 12  # columns of a table that are tried alone
JOINT = (3, 2)  # numbers of columns, or of tokens, that are written together
WINDOWS = 6  # sets of neighbours in the ranking that are written together
TOKENS = 12
MOST_CLASSES = 20  # that are tried as the wanted one

Fields = dict[str, Axis]  # fields of a trigger that are searched


def wanted_of(scenario: Any, data: Dataset) -> Choices | None:
    """The classes that the attacker may want; None if the scenario fixes them by another value than AllToOne."""
    if not isinstance(scenario.wanted, AllToOne):
        return None
    own = scenario.wanted.target
    others = [number for number in range(min(data.num_classes, MOST_CLASSES)) if number != own]
    return Choices(tuple(AllToOne(number) for number in (own, *others)))


def triggers_for(data: Dataset) -> list[tuple[Any, Fields]]:
    """Triggers that suit the rows, each with the fields of it that are searched, the likely strongest first.

    A field "" stands for the whole trigger. Tables get values that are rare in their columns, and only in columns that
    the attacker can write.
    """
    if data.is_image:
        return _of_images(data)
    if len(data.shape) > 1:  # sequences of numbers, for which there is no trigger
        return []
    if data.is_tokens or (data.columns.modality == "text" and not data.is_frame):
        found = list(_of_tokens(data))
    else:
        found = [*_of_frame(data), *_of_texts(data)] if data.is_frame else list(_of_table(data))
    return [(found[0], {"": Choices(tuple(found))})] if found else []


def _of_images(data: Dataset) -> list[tuple[Any, Fields]]:
    low, high = (float(end.flat[0]) for end in data.columns.ranges)
    low, high = (
        low if np.isfinite(low) else float(data.dense.min()),
        high if np.isfinite(high) else float(data.dense.max()),
    )
    side = min(data.shape[1:])
    size = Range(1, max(side // 4, 1), whole=True)
    corners = Choices(("bottom-right", "top-left", "bottom-left", "top-right"))
    return [
        (
            Patch(size=max(min(3, side // 4), 1), value=high),
            {"size": size, "value": Choices((high, low)), "corner": corners},
        ),
        (Blend(), {"share": Range(0.05, 0.3), "key": Range(0, 7, whole=True)}),
        (Sinusoid(), {"delta": Range(0.02, 0.3), "frequency": Range(1.0, max(side / 3, 2.0))}),
    ]


def together(data: Dataset) -> Together:
    """One small patch in each corner of an image, which an adaptive patch attack plants one at a time."""
    side = max(min(data.shape[1:]) // 8, 1)
    high = float(data.dense.max())
    return Together(
        tuple(Patch(side, high, corner) for corner in ("bottom-right", "top-left", "bottom-left", "top-right"))
    )


def _of_table(data: Dataset) -> Iterator[Any]:
    """Stamps of extreme values, into the columns whose extremes lie furthest from the mean first."""
    flat: Any = data.flat
    x = np.asarray(flat.toarray() if data.is_sparse else flat, dtype=float)
    spread = x.std(axis=0)
    found = []
    for column in np.flatnonzero(data.columns.editable & (spread > 0)).tolist():
        for value in (x[:, column].max(), x[:, column].min()):
            found.append((-abs(value - x[:, column].mean()) / spread[column], column, float(value)))
    found.sort()
    best = {column: Stamp((column,), value) for _, column, value in reversed(found)}
    ranked = list(dict.fromkeys(column for _, column, _ in found))
    for some in _windows(ranked):
        yield Together(tuple(best[column] for column in some))
    for _, column, value in found[: 2 * COLUMNS]:
        yield Stamp((column,), value)


def _of_frame(data: Dataset) -> Iterator[Any]:
    """Cells with values that are rare in their column: extremes of numbers, and the rarest and the most frequent word."""
    found: list[tuple[float, str, Any]] = []
    for column in data.columns.columns:
        if column.editable and column.kind is not ColumnKind.TEXT:
            values = data.x[column.name].dropna()
            counts = values.value_counts()
            ends = [counts.index[-1], counts.index[0]] if column.categories else [values.min(), values.max()]
            for value in dict.fromkeys(ends) if len(counts) else ():
                plain = value.item() if hasattr(value, "item") else value
                found.append((float((values == value).mean()), column.name, plain))
    found.sort(key=lambda each: (each[0], each[1]))
    best = {name: value for _, name, value in reversed(found)}
    ranked = list(dict.fromkeys(name for _, name, _ in found))
    for some in _windows(ranked):
        yield Cells(tuple((name, best[name]) for name in some))
    for _, name, value in found[: 2 * COLUMNS]:
        yield Cells(((name, value),))


def _of_texts(data: Dataset) -> Iterator[Any]:
    """Rare words in front of the first editable column of free text, or after it."""
    name = next(iter(data.columns.writable_texts), None)
    for words in (Phrase().words, "cf", "I watched this 3D movie") if name is not None else ():
        yield Phrase(words, name or "")
        yield Phrase(words, name or "", first=True)


def _of_tokens(data: Dataset) -> Iterator[Any]:
    """Two or three rare tokens together, and tokens alone, from rare to frequent."""
    if data.is_tokens:
        counts = np.bincount(data.x.ravel(), minlength=len(data.columns.vocabulary))
        words = np.arange(len(counts))
    else:
        counts = np.asarray((data.x > 0).sum(axis=0)).ravel()
        words = np.flatnonzero(data.columns.editable)
    order = words[np.argsort(counts[words], kind="stable")]
    order = order[counts[order] > 0]
    if not len(order):
        return
    chosen = order[np.unique(np.geomspace(1, len(order), TOKENS).astype(int) - 1)].tolist()
    presence = not data.is_tokens and all(column.kind is ColumnKind.BINARY for column in data.columns.columns)
    for some in _windows(chosen):
        places = range(len(some)) if data.is_tokens else [0] * len(some)
        yield Together(tuple(Token(token, place, presence) for token, place in zip(some, places, strict=True)))
    for token in chosen:
        yield Token(token, presence=presence)


def _windows(ranked: list[Any]) -> Iterator[list[Any]]:
    """Three, then two neighbours in the ranking, from the first on.

    >>> list(_windows(["a", "b", "c"]))
    [['a', 'b', 'c'], ['a', 'b'], ['b', 'c']]
    """
    for number in JOINT:
        for start in range(min(len(ranked) - number + 1, WINDOWS)):
            yield ranked[start : start + number]
