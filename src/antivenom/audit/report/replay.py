"""A scenario file that runs one cell again, together with its clean twin."""

from __future__ import annotations

from typing import Any

import yaml

from antivenom.audit.results import CellResult
from antivenom.audit.trial import Record


def replay(cell: CellResult, plan: Record) -> str | None:
    """The text of that file, which plans trials with the same keys; None if no trial of the cell finished."""
    if not cell.records:
        return None
    spec = cell.records[0]["spec"]
    group: dict[str, Any] = {"kind": spec["scenario"]["kind"], "name": cell.group}
    group |= {name: value for name, value in spec["scenario"].items() if name != "kind"}
    group["attacks"] = [spec["attack"]]
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
