"""The fields at the top of a scenario file: `seeds`, `timeout`, `limits`, `fail_if` and `claim`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from antivenom.auditing.yaml_lines import Located
from antivenom.core.errors import ScenarioError, did_you_mean
from antivenom.core.registry import Kind, entries

_FIELDS = ("first", "most", "trials", "confirm")
_CONFIRM = 8  # fresh seeds where the file does not say how many
MOST_SEEDS, MOST_TRIALS = 10_000, 200_000
_LONGEST = 31_536_000  # seconds of a year, the longest time limit
_EXPECTED = f"seeds: a number from 1 to {MOST_SEEDS}, a list of different numbers, or {{first: 4, most: 40}}"


@dataclass(frozen=True)
class More:
    """How far the number of seeds of an open cell may grow, and how many fresh ones the selected cells get in the end.

    Fields:
        most: the greatest number of seeds of a cell before the confirmation.
        trials: the greatest number of trials of the whole audit, those on disk included; None for no limit.
        confirm: the number of fresh seeds of each cell that the first page shows.
    """

    most: int
    trials: int | None = None
    confirm: int = 0


def read_seeds(value: object, document: Located) -> tuple[tuple[int, ...], More | None]:
    """The seeds that every cell is run with, and how many more an open cell may get; None if it gets no more.

    A number n stands for the seeds 0 to n - 1, a list for itself, and a mapping for 0 to `first` - 1 and at most `most`,
    with `confirm` further seeds for the cells that were selected.

    Raises:
        ScenarioError: anything else; the message begins with the line and field.
    """
    with document.at(("seeds",)):
        if _is_count(value):
            return tuple(range(value)), None
        if (
            isinstance(value, list)
            and value
            and len(value) <= MOST_SEEDS
            and all(type(s) is int and s >= 0 for s in value)
            and len({*value}) == len(value)
        ):
            return tuple(value), None
        if not isinstance(value, Mapping):
            raise ScenarioError(_EXPECTED, repr(value), "write seeds: 5")
    for name in value:
        with document.at(("seeds", name)):
            if name not in _FIELDS:
                raise ScenarioError("a known field of `seeds`", repr(name), did_you_mean(str(name), _FIELDS))
    first, most, trials = (value.get(name) for name in _FIELDS[:3])
    confirm = value.get("confirm", _CONFIRM)
    with document.at(("seeds",)):
        if not _is_count(first) or not _is_count(most) or first > most:
            raise ScenarioError(f"numbers with 1 <= first <= most <= {MOST_SEEDS}", f"first: {first}, most: {most}")
        if trials is not None and (type(trials) is not int or trials < 1):
            raise ScenarioError("trials: a number >= 1", repr(trials), "leave it out for no limit")
        if type(confirm) is not int or not 0 <= confirm <= MOST_SEEDS:
            raise ScenarioError(f"confirm: a number from 0 to {MOST_SEEDS}", repr(confirm), "8 are usual, 0 for none")
    return tuple(range(first)), More(most, trials, confirm)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 1 <= value <= MOST_SEEDS


def require_few_trials(cells: int, seeds: int) -> None:
    """Refuse more trials than an audit can run.

    Raises:
        ScenarioError: there are too many seeds, or too many trials.
    """
    if seeds > MOST_SEEDS:
        raise ScenarioError(f"at most {MOST_SEEDS} seeds", f"{seeds}", "5 seeds are usual")
    if cells * seeds > MOST_TRIALS:
        got = f"more than {cells * seeds - 1}: {cells} combinations or more with {seeds} seeds"
        raise ScenarioError(f"at most {MOST_TRIALS} trials", got, "write shorter lists or fewer seeds")


def read_claim(value: object, document: Located) -> dict[str, str]:
    """The claim of the file's author: words by name."""
    with document.at(("claim",)):
        if value is not None and not isinstance(value, Mapping):
            raise ScenarioError("claim: a mapping of words", repr(value), "write claim: {source: authors and year}")
    return {str(key): str(text) for key, text in (value or {}).items()}


def read_timeout(value: object, document: Located) -> float | None:
    """Seconds per trial, or None."""
    with document.at(("timeout",)):
        if value is None:
            return None
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= _LONGEST:
            raise ScenarioError(f"timeout: seconds > 0, at most {_LONGEST}", repr(value), "write timeout: 600")
    return value


def goals() -> list[str]:
    """The names of every registered goal."""
    return [entry.name for entry in entries(Kind.GOAL)]


def read_shares(top: Mapping[str, object], field: str, document: Located, *more: str) -> dict[str, float]:
    """The mapping from goals, or `more` words, to shares (0 to 1) in a field of the file; empty if the field is absent."""
    value = top.get(field) or {}
    with document.at((field,)):
        if not isinstance(value, Mapping):
            raise ScenarioError(
                f"{field}: a mapping from goals to shares", repr(value), f"write {field}: {{{goals()[0]}: 0.2}}"
            )
    for goal, share in value.items():
        with document.at((field, goal)):
            check_share(goal, share, *more)
    return {str(goal): float(share) for goal, share in value.items()}


def check_share(goal: object, share: object, *more: str) -> None:
    """Refuse what is no goal, and none of the `more` words, and a share that is no number from 0 to 1.

    Raises:
        ScenarioError: one of them.
    """
    if goal not in (*goals(), *more):
        raise ScenarioError("a goal", repr(goal), did_you_mean(str(goal), (*goals(), *more)))
    if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 <= share <= 1:
        raise ScenarioError(f"a share from 0 to 1 for {goal}", repr(share), "0.2 means 20 %")
