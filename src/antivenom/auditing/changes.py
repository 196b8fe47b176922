"""A comparison of two audits as text and as a table in HTML."""

from __future__ import annotations

import html
import math
import textwrap

from antivenom.auditing.comparing import CellChange, Comparison
from antivenom.auditing.formatting import percent, shown
from antivenom.auditing.naming import short
from antivenom.auditing.paired import Change

_MOST_UNCHANGED = 5  # pairs that did not change and are listed one by one
_MOST_SHOWN = 50  # changed pairs on the page
_WIDTH = 80


def rows_of(comparison: Comparison) -> list[dict[str, str]]:
    """One row for each pair, the worst change first, in the words of a table."""
    return [
        {
            "change": str(cell.change),
            "level": cell.level,
            "goal": cell.goal,
            "pair": shown(f"{short(cell.attack)} against {short(cell.defence, 'no defence')}"),
            "deployed": "deployed" if cell.deployed else "",
            "before": percent(cell.before),
            "after": percent(cell.after),
            "difference": difference(cell),
            "reason": shown(cell.reason),
        }
        for cell in comparison.cells
    ]


def since(comparison: Comparison) -> dict[str, object]:
    """What the page shows of a comparison: one row for each pair that changed, and the number of the others."""
    rows = rows_of(comparison)
    changed = [row for row in rows if row["change"] != Change.UNCHANGED]
    return {
        "name": shown(comparison.before),
        "said": comparison.exit_reason,
        "rows": changed[:_MOST_SHOWN],
        "unchanged": len(rows) - len(changed),
        "left_out": max(len(changed) - _MOST_SHOWN, 0),
        "notes": [shown(note) for note in comparison.notes],
    }


def difference(cell: CellChange) -> str:
    """The difference of the mean harms in percentage points, with its interval; empty if it is not known."""
    found = cell.difference
    if found is None or math.isnan(found.mean):
        return ""
    if found.low == found.high:
        return "none"
    seeds = f"{found.n} shared seed{'s' * (found.n != 1)}" if found.n else "no shared seed"
    return f"{_points(found.mean)} points ({_points(found.low)} to {_points(found.high)}, {seeds})"


def _points(value: float) -> str:
    whole = round(100 * value)
    return f"{whole:+d}" if whole else "0"


def text_of(comparison: Comparison) -> str:
    """The comparison in lines of at most 80 characters, and its exit code."""
    end = _wrapped(f"Exit {comparison.exit_code}: {comparison.exit_reason}")
    return "\n".join([*lines_of(comparison), *end])


def lines_of(comparison: Comparison) -> list[str]:
    """The comparison in lines of at most 80 characters: changes first, then a few unchanged pairs and the notes."""
    lines = _wrapped(f"{comparison.before} → {comparison.after}: {counted(comparison)}")
    left = _MOST_UNCHANGED
    for row in rows_of(comparison):
        if row["change"] == Change.UNCHANGED:
            left -= 1
            if left < 0:
                continue
        lines += _wrapped(f"{row['change'].upper()}: {row['pair']} ({row['level']}, {row['goal']})")
        harm = f"harm {row['before']} → {row['after']}"
        lines += _wrapped(", ".join(filter(None, (harm, row["difference"], row["reason"]))), "  ")
    if left < 0:
        lines.append(f"and {-left} more unchanged")
    for note in comparison.notes:
        lines += _wrapped(f"Note: {note}.")
    return lines


def counted(comparison: Comparison) -> str:
    """The numbers of pairs by change, such as "1 worse, 4 unchanged"; "nothing measured" if there is none."""
    return ", ".join(f"{count} {change}" for change, count in comparison.counts.items() if count) or "nothing measured"


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(shown(text), _WIDTH, initial_indent=indent, subsequent_indent=indent or "  ")


def html_of(comparison: Comparison) -> str:
    """The comparison as a table for a notebook."""
    names = ("change", "level", "pair", "before", "after", "difference")
    head = "".join(f"<th scope='col'>{name}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(row[name])}</td>' for name in names)}</tr>" for row in rows_of(comparison)
    )
    caption = html.escape(f"{comparison.before} → {comparison.after}: {comparison.exit_reason}")
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
