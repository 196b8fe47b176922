"""Sample inputs for the report: some poisoned rows, and a test input with the trigger, beside what they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from antivenom.core.outcome import Cell, Sample
from antivenom.data import Dataset, Poison, Rows
from antivenom.scenarios.pictures import picture

MOST = 4  # samples of a trial
COLUMNS = 12  # cells of a sample, changed ones first
TEXT = 240  # characters of a cell
_COMPARED = 20_000_000  # numbers that are compared in the search for the clean row of an added one


def poisoned(clean: Dataset, poison: Poison, most: int = MOST) -> tuple[Sample, ...]:
    """Some poisoned rows, evenly spread over all of them.

    A changed row is shown beside the row that it was. An added one is shown beside the clean row that equals it in most numbers,
    since many attacks add altered copies; such a row is only a likely origin.
    """
    marked = np.flatnonzero(poison.mask)
    chosen = marked[np.linspace(0, len(marked) - 1, min(most, len(marked)), dtype=int)] if len(marked) else marked
    found = []
    for i in chosen:
        added = int(i) >= len(clean)
        before = _closest(clean, poison.data, int(i)) if added else int(i)
        was = None if before is None else clean[before : before + 1]
        kind = "added row" if added else "changed row"
        label = _class(poison.data, int(i))
        old = "" if added or before is None else _class(clean, before)
        found.append(compared(kind, poison.data[int(i) : int(i) + 1], was, label, old))
    return tuple(found)


def triggered(rows: Dataset, shown: Rows, wanted: int) -> Sample:
    """One test input without and with the trigger.

    Args:
        rows: the input, as one row.
        shown: the same row with the trigger.
        wanted: the class that the attacker wants for it.
    """
    after = Dataset(shown, rows.y, rows.classes, rows.name, schema=rows.schema)
    return compared("test input with the trigger", after, rows, rows.classes[wanted], _class(rows, 0))


def compared(kind: str, row: Dataset, was: Dataset | None, label: str, old: str) -> Sample:
    """A sample of one row; `was` is the row from which it was made, or None."""
    after = picture(np.asarray(row.x[0])) if row.is_image else None
    if after is not None:
        before = None if was is None else picture(np.asarray(was.x[0]))
        return Sample(kind, label, old, before=before, after=after, known=was is not None)
    own, origin = _values(row), {} if was is None else _values(was)
    cells = [Cell(name, "" if was is None else origin.get(name, "0"), value) for name, value in own.items()]
    cells += [Cell(name, value, "0") for name, value in origin.items() if name not in own]
    changed = [cell for cell in cells if was is not None and cell.before != cell.after]
    same = [cell for cell in cells if was is None or cell.before == cell.after]
    kept = tuple(_cut(cell) for cell in (*changed, *same)[:COLUMNS])
    columns = int(row.x.shape[1]) if row.is_sparse else len(cells)
    return Sample(kind, label, old, kept, len(changed), columns, known=was is not None)


def _values(row: Dataset) -> dict[str, str]:
    """The cells of one row as text, by column. Of a sparse row only cells other than 0; tokens form one text."""
    if row.is_frame:
        return {str(name): _text(value) for name, value in row.x.iloc[0].items()}
    if row.is_tokens:
        words, tokens = row.columns.vocabulary, [int(token) for token in np.asarray(row.x[0])]
        while len(tokens) > 1 and tokens[-1] == tokens[-2]:  # padding
            tokens.pop()
        return {"text": " ".join(words[t] if t < len(words) else f"#{t}" for t in tokens)}
    if row.is_sparse:
        one = row.x[[0]].tocoo()
        names = row.columns.vocabulary
        return {
            (names[j] if j < len(names) else f"column {j}"): _text(v)
            for j, v in zip(one.coords[1], one.data, strict=True)
        }
    flat = np.asarray(row.x[0]).ravel()
    return {name: _text(value) for name, value in zip(_names(row, len(flat)), flat, strict=True)}


def _names(row: Dataset, size: int) -> list[str]:
    """The names of the columns of a row of numbers; blocks of columns are numbered."""
    schema = row.columns
    if len(schema.vocabulary) == size:
        return list(schema.vocabulary)
    names: list[str] = []
    for column in schema.columns:
        parts = column.categories or range(column.width)
        names += [column.name] if column.size == 1 else [f"{column.name} {part}" for part in parts]
    return names if len(set(names)) == len(names) == size else [f"column {j}" for j in range(size)]


def _text(value: Any) -> str:
    return f"{float(value):.4g}" if isinstance(value, (float, np.floating)) else str(value)


def _class(data: Dataset, i: int) -> str:
    return f"{float(data.y[i]):.4g}" if data.is_regression else str(data.classes[int(data.y[i])])


def _cut(cell: Cell) -> Cell:
    """The cell with at most TEXT characters, those about the change."""
    if max(len(cell.before), len(cell.after)) <= TEXT:
        return cell
    pairs = zip(cell.before, cell.after, strict=False)
    begin = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(cell.before), len(cell.after)))
    start = max(0, min(begin, len(cell.after)) - TEXT // 3)
    return Cell(cell.column, _window(cell.before, start), _window(cell.after, start))


def _window(text: str, start: int) -> str:
    part = text[start : start + TEXT - 2]
    return ("…" if start and part else "") + part + ("…" if start + TEXT - 2 < len(text) else "")


def _closest(clean: Dataset, data: Dataset, i: int) -> int | None:
    """The clean row that differs least from row i, by the number of values; None if more than half of them differ."""
    if not len(clean):
        return None
    if clean.is_sparse:
        own = sp.csr_array(data.x[[i]] != 0, dtype=np.int32)
        all_rows = sp.csr_array(clean.x != 0, dtype=np.int32)
        shared = (all_rows @ own.T).toarray().ravel()
        different = np.diff(all_rows.indptr) + own.nnz - 2 * shared
        size = int(own.nnz)
    else:
        rows = clean.x.to_numpy(dtype=object) if clean.is_frame else np.asarray(clean.x).reshape(len(clean), -1)
        row = data.x.iloc[i].to_numpy(dtype=object) if data.is_frame else np.asarray(data.x[i]).ravel()
        size = rows.shape[1]
        different = np.count_nonzero(rows[: max(_COMPARED // size, 1)] != row, axis=1)
    best = int(np.argmin(different))
    return best if 2 * int(different[best]) <= size else None
