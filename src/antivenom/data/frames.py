"""DataFrames as rows: inference of their schema, and the conversion to numbers and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from antivenom.core.errors import DataError, NotApplicable
from antivenom.data.schema import TOLERANCE, Column, ColumnKind, Schema

# A column with more different words is free text. So is one with more than 30 that number more than half of its cells.
MOST_CATEGORIES = 1000


def schema_of(rows: pd.DataFrame) -> Schema:
    """Infer a schema: kinds, ranges and categories are those that occur. A missing word counts as the category "".

    Raises:
        DataError: a column holds dates or infinite numbers.
    """
    return Schema(tuple(_column(str(name), rows[name]) for name in rows.columns), frame=True)


def _column(name: str, values: pd.Series[Any]) -> Column:
    if pd.api.types.is_bool_dtype(values):
        return Column(name, ColumnKind.BINARY)
    if pd.api.types.is_numeric_dtype(values):
        present = values.dropna().to_numpy(dtype=np.float64)
        if not len(present):  # an empty column tells nothing and harms nothing
            return Column(name, ColumnKind.REAL, 0.0, 0.0, missing=True)
        if not np.isfinite(present).all():
            raise DataError(f"finite numbers in column {name}", "infinite ones", "drop those rows")
        whole = bool((present == np.floor(present)).all())
        low, high = float(present.min()), float(present.max())
        binary = whole and (low, high) == (0, 1)
        kind = ColumnKind.BINARY if binary else ColumnKind.WHOLE if whole else ColumnKind.REAL
        fill = float(np.median(present))
        fill = float(np.floor(fill)) if whole else fill
        return Column(name, kind, low, high, missing=bool(values.isna().any()), fill=fill)
    if pd.api.types.is_datetime64_any_dtype(values):
        raise DataError(f"numbers or words in column {name}", "dates", "convert them to numbers, or ignore the column")
    words = sorted({*_words(values)})
    if len(words) > MOST_CATEGORIES or len(words) > max(30, len(values) // 2):
        return Column(name, ColumnKind.TEXT)
    return Column(name, ColumnKind.CATEGORY, categories=tuple(words))


def _words(values: pd.Series[Any]) -> list[str]:
    """The cells as text; "" for a missing one."""
    return ["" if missing else str(word) for word, missing in zip(values, values.isna(), strict=True)]


def _span(column: Column) -> tuple[float, float]:
    """(offset, divisor) of the encoding (number - offset) / divisor, which maps a bounded range to [0, 1]."""
    bounded = 0 < column.high - column.low < math.inf
    return (column.low, column.high - column.low) if bounded else (0.0, 1.0)


def _require_columns(schema: Schema, rows: pd.DataFrame) -> None:
    """Refuse rows whose columns have other names, or another order, than the schema's."""
    names = [column.name for column in schema.columns]
    if [str(name) for name in rows.columns] != names:
        raise DataError(
            f"the columns {', '.join(names)}", ", ".join(map(str, rows.columns)), "give the rows the schema's columns"
        )


def encoded(schema: Schema, rows: pd.DataFrame) -> np.ndarray:
    """(n, size) float32: bounded numbers are scaled to [0, 1], categories are one-hot, missing numbers are flagged.

    Raises:
        DataError: a word is not among its column's categories, or a number is missing where none may be.
        NotApplicable: a column holds free text.
    """
    _require_columns(schema, rows)
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
                "drop or impute those rows, or set missing=True in the schema",
            )
        low, span = _span(column)
        out[:, start] = (np.where(absent, column.fill, numbers) - low) / span
        if column.missing:
            out[:, start + 1] = absent
    return out


def decoded(schema: Schema, flat: np.ndarray, base: pd.DataFrame | None) -> pd.DataFrame:
    """A DataFrame from encoded rows (n, size) whose numbers lie in their ranges already.

    With `base`, the rows from which they were made, cells whose encoding did not change keep their exact value.
    """
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
    """(n,) bool: whether all cells of a row have the kind, range and categories of their column."""
    _require_columns(schema, rows)
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
    """The first column of a row (1, ...) whose value is not allowed, as text."""
    from antivenom.data.schema import expected_values

    for column in schema.columns:
        if not _allowed(column, row[column.name])[0]:
            cell = row[column.name].iloc[0]
            cell = cell.item() if isinstance(cell, np.generic) else cell
            return f"{column.name} = {cell!r}, not {expected_values(column)}"
    return "no fault"


def in_form_of(schema: Schema, rows: pd.DataFrame) -> pd.DataFrame:
    """A copy of the rows with an index from 0, numbers in numpy's types, words as text, and "" for a missing word."""
    _require_columns(schema, rows)
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
