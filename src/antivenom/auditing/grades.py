"""A letter for each access level, by a named profile that a user's choice of attacks cannot shrink.

The letter comes from the upper bound of the harm, so that more seeds can improve it and fewer never can. A level without the
attacks that the profile requires has no letter. There is no letter for the whole audit and no average.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from antivenom.auditing.naming import parts_of, short
from antivenom.auditing.results import CellResult, LevelResult, State, Summary

_WORST = "F"


@dataclass(frozen=True)
class Grade:
    """The grade of a level.

    Fields:
        letter: A to D or F; empty for a level that cannot be graded.
        proven: the letter by the lower bound of the harm; empty without a letter.
        covered: how many of the required attacks were run with a harm that is known in every seed.
        required: how many the profile requires at this level; 0 for a level that it does not know.
        why: what capped the letter, or why there is none.
    """

    letter: str
    proven: str
    covered: int
    required: int
    why: str

    @property
    def said(self) -> str:
        """The grade in words."""
        if not self.letter:
            return f"ungraded: {self.why}"
        known = "no harm above 5% is proven" if self.proven == "A" else f"{self.proven} or worse is proven"
        return f"grade {self.letter} ({known if self.proven != self.letter else 'proven'}){f'; {self.why}' if self.why else ''}"


@functools.cache
def profile() -> dict[str, Any]:
    """The profile: bounds of the letters, required attacks per level and goal, fresh seeds, and the cost that a defence may have."""
    text = resources.files("antivenom.auditing").joinpath("profile.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def required() -> str:
    """How many attacks the profile requires at each level, in words."""
    return "; ".join(
        f"{level} {', '.join(f'{number} for {goal}' for goal, number in goals.items())}"
        for level, goals in profile()["required"].items()
    )


def letter_of(harm: float) -> str:
    """The letter of a harm.

    >>> letter_of(0.05), letter_of(0.051), letter_of(0.9)
    ('A', 'B', 'F')
    """
    return next((str(letter) for letter, most in profile()["letters"] if harm <= most), _WORST)


def grade(level: LevelResult, summary: Summary) -> Grade:
    """The grade of a level for the defences that are deployed."""
    cells = [
        c for c in summary.attacks if c.level == level.level and c.deployed and c.state is not State.NOT_APPLICABLE
    ]
    goals: dict[str, int] = profile()["required"].get(level.level, {})
    required = sum(goals.values())
    covered = sum(min(number, _run(level, goal, summary)) for goal, number in goals.items())
    if not required:
        return Grade("", "", 0, 0, "the profile does not know this level")
    if covered < required:
        return Grade("", "", covered, required, f"{covered} of {required} required attacks")
    unknown = [c for c in cells if not _is_known(c)]
    if unknown:
        return Grade("", "", covered, required, f"{len(unknown)} of {len(cells)} pairs have no known harm")
    if not any(c.state is State.BREACHED for c in summary.attacks if c.level == level.level and c.defence == "none"):
        return Grade("", "", covered, required, "no attack is shown to bite without a defence")
    dear = [c for c in cells if c.cost is not None and c.cost.n > 1 and c.cost.low > profile()["cost"]]
    if dear:
        return Grade("", "", covered, required, f"{short(dear[0].defence)} costs too much accuracy to be usable")
    high, low = (max(end(c) for c in cells) for end in (_high, _low))
    letter, why = _capped(letter_of(high), level, cells)
    return Grade(letter, letter_of(low), covered, required, why)


def _run(level: LevelResult, goal: str, summary: Summary) -> int:
    """How many different attacks of this goal were run on what is deployed. One that cannot be combined counts, as its record says."""
    own = [c for c in summary.attacks if c.level == level.level and c.goal == goal and c.deployed]
    return len({parts_of(c.attack).name for c in own if _is_known(c) or c.state is State.NOT_APPLICABLE})


def _is_known(cell: CellResult) -> bool:
    return cell.harm is not None and cell.harm.n == cell.planned > 1


def _high(cell: CellResult) -> float:
    return 1.0 if cell.harm is None else cell.harm.high


def _low(cell: CellResult) -> float:
    return 0.0 if cell.harm is None else cell.harm.low


def _capped(letter: str, level: LevelResult, cells: list[CellResult]) -> tuple[str, str]:
    """The letter, or a worse one where the evidence does not allow it, with the reason."""
    worst = level.deployed
    fresh = 0 if worst is None or worst.confirmed is None else worst.confirmed.harm.n
    if letter < "D" and fresh < profile()["fresh_seeds"]:
        return "D", f"D at best with fewer than {profile()['fresh_seeds']} fresh seeds"
    aware = any("the defence (its field" in c.knowledge for c in cells)
    if letter < "B" and not aware and any(c.defence != "none" for c in cells):
        return "B", "B at best if no attack knew the defence"
    return letter, ""
