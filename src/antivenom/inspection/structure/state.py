"""The state of a value in a graph: what it depends on, and through how many layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from antivenom.inspection.structure.onnx_file import Declared


@dataclass(frozen=True)
class State:
    """What a value depends on.

    Fields:
        sources: names of the inputs on whose values it depends.
        depth: the largest number of learned layers on a path from an input.
        is_integer: all its sources are integers or booleans, such as tokens and masks.
        is_switch: all its sources are single numbers, such as a flag or a sampling rate.
        reduced: it is a statistic over positions, or a part of the positions.
        bent: a non-linear function lies on its path.
        steep: the node of a steep function on its path, while no learned layer lies on it.
        is_curved: a non-linear function such as clipping or a product lies on its path, and no learned layer.
        statistic: the node that made it a non-linear statistic of the input, if no learned layer lies on its path.
        decision: the node of a comparison, if the value is a function of comparisons and constants only.
        decided_at: the number of learned layers before that comparison.
        is_global: the comparison concerns the row as a whole, not each position by itself.
        size: the state on which its shape depends; None if on shapes only.
    """

    sources: frozenset[str] = frozenset()
    depth: int = 0
    is_integer: bool = False
    is_switch: bool = False
    reduced: bool = False
    bent: bool = False
    steep: str = ""
    is_curved: bool = False
    statistic: str = ""
    decision: str = ""
    decided_at: int = 0
    is_global: bool = False
    size: State | None = None

    @property
    def depends(self) -> bool:
        return bool(self.sources)


CONSTANT = State()


def merged(states: Iterable[State]) -> State:
    """The state of a value that is computed from several values; constants have no influence."""
    live = [each for each in states if each.depends]
    if not live:
        return CONSTANT
    pure = all(each.decision for each in live)
    depth, reduced = max(each.depth for each in live), all(each.reduced for each in live)
    return State(
        sources=frozenset().union(*(each.sources for each in live)),
        depth=depth,
        is_integer=all(each.is_integer for each in live),
        is_switch=all(each.is_switch for each in live),
        reduced=reduced,
        bent=any(each.bent for each in live),
        steep="" if depth else next((each.steep for each in live if each.steep), ""),
        is_curved=not depth and any(each.is_curved for each in live),
        statistic="" if depth or not reduced else next((each.statistic for each in live if each.statistic), ""),
        decision=live[0].decision if pure else "",
        decided_at=min(each.decided_at for each in live) if pure else 0,
        is_global=pure and all(each.is_global for each in live),
        size=next((each.size for each in live if each.size is not None), None),
    )


def of_input(declared: Declared) -> State:
    single = declared.shape is not None and all(size == 1 for size in declared.shape)
    return State(frozenset([declared.name]), is_integer=declared.is_integer, is_switch=single)
