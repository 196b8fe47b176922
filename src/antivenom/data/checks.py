"""Whether rows are such as their schema allows."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import DataError, ThreatError
from antivenom.data.dataset import Dataset
from antivenom.data.forms import Rows


def check_rows(data: Dataset) -> None:
    """Refuse rows that the data's own schema does not allow.

    Raises:
        DataError: with the first such row and column.
    """
    wrong = np.flatnonzero(~data.columns.allows(data.x))
    if len(wrong):
        raise DataError(
            f"rows of {data.name} that its schema allows",
            f"row {wrong[0]}: {data.columns.fault(_one(data, wrong[0]))} ({len(wrong)} such rows)",
            "mend those rows, or widen the schema",
        )


def check_shown(test: Dataset, shown: Rows) -> None:
    """Refuse a trigger that makes token rows or rows of a DataFrame that the schema does not allow.

    In a DataFrame it must not write a closed column either.

    Raises:
        DataError: with the first such row and column.
    """
    schema = test.columns
    wrong = np.flatnonzero(~schema.allows(shown))
    if len(wrong):
        fault = schema.fault(shown.iloc[[wrong[0]]] if test.is_frame else shown[[wrong[0]]])
        raise DataError(f"rows with the trigger that the schema of {test.name} allows", fault, "choose another value")
    for column in schema.columns if test.is_frame else ():
        if not column.editable and not shown[column.name].equals(test.x[column.name]):
            raise DataError(f"a trigger that leaves the closed column {column.name} alone", "other values in it")


def check_allowed(clean: Dataset, poisoned: Dataset, mask: np.ndarray) -> None:
    """Refuse poison that no row of the clean data's kind could be: every poisoned row must be one that the schema allows.

    Raises:
        ThreatError: with the first such row and column.
    """
    rows = np.flatnonzero(mask)
    schema = clean.columns
    if len(rows):
        changed = poisoned[rows]
        wrong = np.flatnonzero(~schema.allows(changed.x))
        if len(wrong):
            raise ThreatError(
                f"poisoned rows that the schema of {clean.name} allows",
                f"row {rows[wrong[0]]}: {schema.fault(_one(changed, wrong[0]))} ({len(wrong)} such rows)",
                "write what Dataset.decoded gives",
            )
    if len(poisoned) == len(clean) and not schema.editable.all():
        kept = ~schema.editable
        before, after = (schema.encode(data.x) for data in (clean, poisoned))
        if not clean.is_sparse:
            before, after = (np.asarray(part).reshape(len(clean), -1) for part in (before, after))
        broken = abs(before - after)[:, np.flatnonzero(kept)].sum(axis=0)
        if np.asarray(broken).any():
            fixed = ", ".join(column.name for column in schema.columns if not column.editable)
            raise ThreatError(
                f"untouched columns {fixed}, which the schema closes", "other values", "write only others"
            )


def _one(data: Dataset, row: int) -> Rows:
    return data.x.iloc[[row]] if data.is_frame else data.x[[row]]
