"""Checks that rows are allowed by their schema."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import DataError, ThreatError
from antivenom.data.dataset import Dataset
from antivenom.data.forms import Rows


def check_rows(data: Dataset) -> None:
    """Check every row against the data's own schema.

    Raises:
        DataError: a row is not allowed; the message names the first one and its column.
    """
    wrong = np.flatnonzero(~data.columns.allows(data.x))
    if len(wrong):
        raise DataError(
            f"rows of {data.name} that its schema allows",
            f"row {wrong[0]}: {data.columns.fault(_one(data, wrong[0]))} ({len(wrong)} such rows)",
            "change those rows, or widen the schema",
        )


def check_shown(test: Dataset, shown: Rows) -> None:
    """Check rows with a trigger: token rows and DataFrames must be allowed by the schema, with closed columns unchanged.

    Args:
        test: the rows without the trigger.
        shown: (n, ...) the same rows with it.

    Raises:
        DataError: a row is not allowed, or a closed column of a DataFrame was changed; the message names the first one.
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
    """Check poisoned rows against the schema of the clean rows, and that columns closed to the attacker are unchanged.

    Args:
        clean: the rows before the attack.
        poisoned: the rows after it. Closed columns are compared only if no rows were added or removed.
        mask: (n,) bool over `poisoned`: the rows that the attack changed or added.

    Raises:
        ThreatError: a row is not allowed, or a closed column was changed; the message names the first one.
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
                "pass rows through Dataset.decoded",
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
                f"unchanged columns {fixed}, which the schema marks as not editable", "other values in them"
            )


def _one(data: Dataset, row: int) -> Rows:
    return data.x.iloc[[row]] if data.is_frame else data.x[[row]]
