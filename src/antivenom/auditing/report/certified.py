"""The certified floor: what holds whatever the attacker does, where a certified learner ran."""

from __future__ import annotations

import math

from antivenom.auditing.formatting import percent
from antivenom.auditing.naming import about, short
from antivenom.auditing.results import Summary
from antivenom.auditing.sentences import floor_of, on


def certified(summary: Summary) -> dict[str, object] | None:
    """The floor of a user's own pipeline in a sentence, and a row for each certified learner of a scenario; None without both."""
    rows, said = _learners(summary), floor_of(summary)
    return {"rows": rows, "said": said} if rows or said else None


def _learners(summary: Summary) -> list[dict[str, str]]:
    """One row for each certified learner, as it is without an attack."""
    rows = []
    for cell in summary.cells:
        radius, share = cell.mean("certified_median"), cell.mean("certified_accuracy")
        if cell.is_clean_twin and not math.isnan(radius):
            rows.append(
                {
                    "defence": short(cell.defence, "the model itself"),
                    "about": about(cell.defence),
                    "on": on(cell).rsplit(", ", 1)[0],
                    "one": percent(share),
                    "half": f"{radius:.0f} changes" if radius >= 0 else "fewer than half of the answers are right",
                }
            )
    return rows
