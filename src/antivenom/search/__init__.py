"""The worst case: a search for the attack that does the most harm to a pipeline or a federation."""

from antivenom.search.federated import families_for
from antivenom.search.searching import OMNISCIENT, Finalist, WorstCase, worst_case
from antivenom.search.space import Choices, Family, Range
from antivenom.search.trials import Attempt

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
