"""Sample inputs of an attack: how a poisoned row, image or text looks beside the clean one."""

from __future__ import annotations

from antivenom.audit.results import CellResult


def samples(cell: CellResult) -> list[dict[str, object]]:
    """The sample inputs of the cell's first record that has some."""
    return []
