"""Pictures of inputs: as they are, with the trigger, and with the trigger that a detector recovered."""

from __future__ import annotations

from antivenom.auditing.naming import short
from antivenom.auditing.pictures import as_png
from antivenom.auditing.results import Summary

MOST = 12  # rows of pictures


def inputs(summary: Summary) -> list[dict[str, object]]:
    """One row for each attack and detector whose trial has pictures. Of rows with the same pictures only the first is shown."""
    rows: list[dict[str, object]] = []
    known: set[object] = set()
    for cell in summary.attacks:
        record = next((record for record in cell.records if record.get("pictures")), None)
        if record is None:
            continue
        images = record["pictures"]
        key = (cell.group, *(str(images[name]) for name in sorted(images)))
        if key not in known and len(rows) < MOST:
            known.add(key)
            shown = [{"name": name, "png": as_png(image)} for name, image in images.items()]
            rows.append(
                {
                    "group": cell.group,
                    "attack": short(cell.attack),
                    "defence": short(cell.defence),
                    "recovered": "recovered" in images,
                    "images": shown,
                }
            )
    return rows
