"""The worst case: a search for the attack that harms a defended federation most."""

from antivenom.audit.worst.families import families_for
from antivenom.audit.worst.search import OMNISCIENT, Finalist, WorstCase, worst_case
from antivenom.audit.worst.space import Choices, Family, Range
from antivenom.audit.worst.trials import Attempt

__all__ = [
    "OMNISCIENT",
    "Attempt",
    "Choices",
    "Family",
    "Finalist",
    "Range",
    "WorstCase",
    "families_for",
    "worst_case",
]
