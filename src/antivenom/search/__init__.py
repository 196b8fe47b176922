"""The worst case: a search for the attack that does the most harm to a pipeline or a federation."""

from antivenom.search.budgets import with_rows
from antivenom.search.families import families_for
from antivenom.search.searching import OMNISCIENT, Finalist, WorstCase, worst_case
from antivenom.search.smallest import Point, Smallest, smallest_budget
from antivenom.search.space import Aimed, Choices, Family, Range, label_of
from antivenom.search.trials import Attempt

__all__ = [
    "OMNISCIENT",
    "Aimed",
    "Attempt",
    "Choices",
    "Family",
    "Finalist",
    "Point",
    "Range",
    "Smallest",
    "WorstCase",
    "families_for",
    "label_of",
    "smallest_budget",
    "with_rows",
    "worst_case",
]
