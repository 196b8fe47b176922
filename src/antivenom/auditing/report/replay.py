"""A scenario file that runs one cell again, together with its clean twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from antivenom.auditing.records import Store
from antivenom.auditing.results import CellResult
from antivenom.auditing.summary import summary_of
from antivenom.auditing.trial import Record
from antivenom.core.errors import StoreError


def replay_in(folder: Path, key: str) -> str:
    """The scenario file of the cell to which a record belongs, from the records in a folder.

    Raises:
        StoreError: no finished trial of a planned cell has that key.
    """
    summary = summary_of(Store(folder))
    for cell in summary.cells:
        if key in cell.keys and (text := replay(cell, summary.plan)) is not None:
            return text
    raise StoreError(f"the id of a finished trial in {folder}", repr(key), "copy one from the report's appendix")


def replay(cell: CellResult, plan: Record) -> str | None:
    """The text of that file, which plans trials with the same keys; None if no trial of the cell finished."""
    if not cell.records:
        return None
    spec = cell.records[0]["spec"]
    group: dict[str, Any] = {"kind": spec["scenario"]["kind"], "name": cell.group}
    group |= {name: value for name, value in spec["scenario"].items() if name != "kind"}
    group["attacks"] = [] if spec["attack"] is None else [spec["attack"]]
    if spec["defence"] is not None:
        group["defences"] = [spec["defence"]]
        group["deployed"] = spec["defence"]["name"]
    document = {
        "version": 1,
        "name": f"replay of {cell.attack} against {cell.defence}",
        "seeds": list(plan["seeds"][: cell.planned]),
        "limits": {cell.goal: cell.limit},
        "scenarios": [group],
    }
    return yaml.safe_dump(document, sort_keys=False, width=100, default_flow_style=None, allow_unicode=True)
