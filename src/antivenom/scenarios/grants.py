"""Whether an attack stayed within its threat model: what it did to the rows is compared with what is granted."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import ThreatError
from antivenom.core.threat import Access, ThreatModel
from antivenom.data import Dataset, Poison, check_allowed
from antivenom.data.forms import form_of


def enforce(threat: ThreatModel, clean: Dataset, poison: Poison) -> None:
    """Raise ThreatError if `poison` did to `clean` what the threat model does not grant."""
    after, n = poison.data, len(clean)
    before, now = form_of(clean.x), form_of(after.x)
    if after.shape != clean.shape or after.classes != clean.classes or now != before:
        raise ThreatError(
            f"{before} rows of shape {clean.shape} and {len(clean.classes)} classes, as before the attack",
            f"{now} ones of {after.shape} and {len(after.classes)}",
            "keep the data's form",
        )
    if threat.access in (Access.LOGIC_CORRUPTION, Access.TRANSFER_LEARNING):
        if not _same_rows(clean, after):
            raise ThreatError(
                f"untouched rows from a {threat.access} attack", "changed rows", "declare data-manipulation"
            )
        if poison.mask.any():
            raise ThreatError(
                "an empty mask over untouched rows", f"{int(poison.mask.sum())} rows marked", "return Poison.none(data)"
            )
        return
    if threat.access is Access.DATA_INJECTION:
        if len(after) < n or not _same_rows(clean, after[:n]):
            raise ThreatError("existing rows unchanged by a data-injection attack", "changed rows", "only append rows")
        if poison.mask[:n].any() or not poison.mask[n:].all():
            raise ThreatError(
                "a mask that names exactly the added rows", "another mask", "mark every added row as poison"
            )
    else:
        if len(after) != n:
            raise ThreatError(
                f"{n} rows from a data-manipulation attack", f"{len(after)}", "edit rows, do not add or drop"
            )
        touched = _changed(clean, after)
        if (touched & ~poison.mask).any():
            rows = int((touched & ~poison.mask).sum())
            raise ThreatError("every changed row in the mask", f"{rows} changed rows outside it", "mark them as poison")
    check_allowed(clean, after, poison.mask)
    allowed = int(np.floor(threat.max_poisoned_rate * n + 1e-9))
    used = int(poison.mask.sum())
    if used > allowed:
        raise ThreatError(
            f"at most {allowed} poisoned rows (max_poisoned_rate {threat.max_poisoned_rate:g} of {n})",
            f"{used}",
            "lower the attack's poisoned_rate or raise max_poisoned_rate",
        )


def _changed(before: Dataset, after: Dataset) -> np.ndarray:
    """(n,) bool: rows whose features or label differ; both of one form."""
    differs = before.x != after.x
    if not before.is_sparse:
        differs = np.asarray(differs & ~((before.x != before.x) & (after.x != after.x))).reshape(len(before), -1)
    rows = differs.sum(axis=1) > 0 if before.is_sparse else differs.any(axis=1)
    return np.asarray(rows | (before.y != after.y))


def _same_rows(before: Dataset, after: Dataset) -> bool:
    return len(before) == len(after) and not _changed(before, after).any()
