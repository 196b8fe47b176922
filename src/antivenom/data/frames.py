"""DataFrames as rows: their schema, and the way to numbers and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from antivenom.core.errors import DataError, NotApplicable
from antivenom.data.schema import TOLERANCE, Column, ColumnKind, Schema

MOST_CATEGORIES = 1000  # more different words are free text; so are more than 30 if half of the cells differ


def schema_of(rows: pd.DataFrame) -> Schema:
    """The schema of these rows: kinds, ranges and categories are those that occur; missing words are a category "".

    Raises:
        DataError: a column of dates, or of nothing.
    """
    return Schema(tuple(_column(str(name), rows[name]) for name in rows.columns), frame=True)


def _column(name: str, values: pd.Series[Any]) -> Column:
    if pd.api.types.is_bool_dtype(values):
        return Column(name, ColumnKind.BINARY)
    if pd.api.types.is_numeric_dtype(values):
        there = values.dropna().to_numpy(dtype=np.float64)
        if not len(there) or not np.isfinite(there).all():
            got = "infinite ones" if len(there) else "no number at all"
            raise DataError(f"finite numbers in column {name}", got, "leave the column out, or drop those rows")
        whole = bool((there == np.floor(there)).all())
        low, high = float(there.min()), float(there.max())
        binary = whole and (low, high) == (0, 1)
        kind = ColumnKind.BINARY if binary else ColumnKind.WHOLE if whole else ColumnKind.REAL
        fill = float(np.median(there))
        fill = float(np.floor(fill)) if whole else fill
        return Column(name, kind, low, high, missing=bool(values.isna().any()), fill=fill)
    if pd.api.types.is_datetime64_any_dtype(values):
        raise DataError(f"numbers or words in column {name}", "dates", "turn them into numbers, or ignore the column")
    words = sorted({*_words(values)})
    if len(words) > MOST_CATEGORIES or len(words) > max(30, len(values) // 2):
        return Column(name, ColumnKind.TEXT)
    return Column(name, ColumnKind.CATEGORY, categories=tuple(words))


def _words(values: pd.Series[Any]) -> list[str]:
    return ["" if missing else str(word) for word, missing in zip(values, values.isna(), strict=True)]


def _span(column: Column) -> tuple[float, float]:
    """What is taken off a number and what it is divided by, when encoded."""
    bounded = 0 < column.high - column.low < math.inf
    return (column.low, column.high - column.low) if bounded else (0.0, 1.0)


def _checked(schema: Schema, rows: pd.DataFrame) -> None:
    names = [column.name for column in schema.columns]
    if [str(name) for name in rows.columns] != names:
        raise DataError(
            f"the columns {', '.join(names)}", ", ".join(map(str, rows.columns)), "give the rows the schema's columns"
        )


def encoded(schema: Schema, rows: pd.DataFrame) -> np.ndarray:
    """(n, size) float32: bounded numbers from 0 to 1, one column per category."""
    _checked(schema, rows)
    out = np.zeros((len(rows), schema.size), dtype=np.float32)
    for column, start in schema._placed:
        values = rows[column.name]
        if column.kind is ColumnKind.TEXT:
            raise NotApplicable(
                "columns of numbers or categories",
                f"free text in column {column.name}",
                "ignore the column, or use word counts of the text",
            )
        if column.categories:
            place = {word: i for i, word in enumerate(column.categories)}
            words = _words(values)
            unknown = [i for i, word in enumerate(words) if word not in place]
            if unknown:
                raise DataError(
                    f"one of the {len(place)} categories of column {column.name} in every row",
                    f"{words[unknown[0]]!r} in row {unknown[0]}",
                    "drop that row, or name the category in the schema",
                )
            out[np.arange(len(rows)), start + np.array([place[word] for word in words], dtype=int)] = 1
            continue
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        absent = np.isnan(numbers)
        if absent.any() and not column.missing:
            raise DataError(
                f"a number in every row of column {column.name}",
                f"none in row {int(np.flatnonzero(absent)[0])}",
                "drop or impute those rows, or state missing=True",
            )
        low, span = _span(column)
        out[:, start] = (np.where(absent, column.fill, numbers) - low) / span
        if column.missing:
            out[:, start + 1] = absent
    return out


def decoded(schema: Schema, flat: np.ndarray, base: pd.DataFrame | None) -> pd.DataFrame:
    """A DataFrame from numbers that lie in their ranges already; cells that did not change keep their value in `base`."""
    before = None if base is None else encoded(schema, base)
    made: dict[str, Any] = {}
    for column, start in schema._placed:
        block = flat[:, start : start + column.size]
        if column.categories:
            values: Any = np.array(column.categories, dtype=object)[block.argmax(axis=1)]
        else:
            low, span = _span(column)
            values = np.clip(block[:, 0] * span + low, column.low, column.high)
            if column.kind in (ColumnKind.WHOLE, ColumnKind.BINARY):
                values = np.floor(values + 0.5)
            if column.missing:
                values = np.where(block[:, 1] >= 0.5, np.nan, values)
        if base is not None and before is not None:
            same = (np.abs(block - before[:, start : start + column.size]) <= TOLERANCE).all(axis=1)
            kept = base[column.name].to_numpy()
            values = np.where(same, kept, values) if column.categories else np.where(same, kept.astype(float), values)
        made[column.name] = values
    found = pd.DataFrame(made)
    if base is not None:
        found = found.astype({name: base[name].dtype for name in found.columns})
    return found


def allowed(schema: Schema, rows: pd.DataFrame) -> np.ndarray:
    """(n,) bool: rows whose cells keep kind, range and categories."""
    _checked(schema, rows)
    fine = np.ones(len(rows), dtype=bool)
    for column in schema.columns:
        fine &= _allowed(column, rows[column.name])
    return fine


def _allowed(column: Column, values: pd.Series[Any]) -> np.ndarray:
    if column.kind is ColumnKind.TEXT:
        return np.ones(len(values), dtype=bool)
    if column.categories:
        return np.array([word in column.categories for word in _words(values)], dtype=bool)
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    absent = np.isnan(numbers)
    slack = TOLERANCE * (max(column.high - column.low, 1) if math.isfinite(column.high - column.low) else 1)
    inside = (numbers >= column.low - slack) & (numbers <= column.high + slack)
    if column.kind in (ColumnKind.WHOLE, ColumnKind.BINARY):
        inside &= numbers == np.floor(numbers)
    return np.asarray(np.where(absent, column.missing, inside))


def fault(schema: Schema, row: pd.DataFrame) -> str:
    """The first column that one row breaks, in words."""
    from antivenom.data.schema import _wanted

    for column in schema.columns:
        if not _allowed(column, row[column.name])[0]:
            cell = row[column.name].iloc[0]
            cell = cell.item() if isinstance(cell, np.generic) else cell
            return f"{column.name} = {cell!r}, not {_wanted(column)}"
    return "no fault"


def in_form_of(schema: Schema, rows: pd.DataFrame) -> pd.DataFrame:
    """A copy of the rows numbered from 0: numbers in numpy's types, words as text, "" for a missing word."""
    _checked(schema, rows)
    made: dict[str, Any] = {}
    for column in schema.columns:
        values = rows[column.name]
        if column.kind in (ColumnKind.CATEGORY, ColumnKind.TEXT):
            made[column.name] = np.array(_words(values), dtype=object)
        elif values.isna().any() or not isinstance(values.dtype, np.dtype):
            made[column.name] = values.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            made[column.name] = values.to_numpy(copy=True)
    return pd.DataFrame(made)
