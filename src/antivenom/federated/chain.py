"""Chain: reducers one after another, then a rule; itself a rule."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from antivenom.core.protocols import Aggregator, Reducer, ServerView
from antivenom.core.threat import HARMS
from antivenom.fast import kernels
from antivenom.federated.aggregation import aggregator, has_memory, mixed_weights, step_of
from antivenom.federated.aggregators import TrimmedMean
from antivenom.federated.distances import Gram
from antivenom.federated.guarded import guarded_mixing, guarded_reducer
from antivenom.federated.reducers import NNM


@aggregator(goal=HARMS, cite="Allouah et al. 2023, arXiv:2302.01772")
class Chain:
    """Reducers, applied in their order, and a rule for what they leave.

    The default, nearest-neighbour mixing before a trimmed mean, is among the best known defences on uneven shards. As long
    as every link combines rows by their geometry alone, only coefficients are computed, and the rows are read twice
    however long the chain is. Weakness: it has the weaknesses of its links, and the f of each link must fit the number of
    rows that the links before it leave.

    Fields:
        reducers: applied first, in this order.
        rule: aggregates the remaining rows.

    Reference: Allouah et al. 2023, AISTATS, arXiv:2302.01772.
    """

    reducers: tuple[Reducer, ...] = (NNM(),)
    rule: Aggregator = TrimmedMean()

    @property
    def has_memory(self) -> bool:
        """That of the rule."""
        return has_memory(self.rule)

    def step(
        self, updates: Tensor, weights: Tensor | None, view: ServerView | None, state: object
    ) -> tuple[Tensor, Any]:
        """The state is the rule's."""
        rows = _Rows(updates, weights, view)
        for link in self.reducers:
            rows.reduce(link)
        if _is_linear(self.rule, "coefficients"):
            c = self.rule.coefficients(rows.gram, rows.weights, view)  # type: ignore[attr-defined]
            return rows.combined(c), state
        aggregate, state = step_of(self.rule)(rows.materialised, rows.weights, view, state)
        return aggregate, state


class _Rows:
    """The rows between two links: mixing (m, n) @ updates, multiplied as late as possible."""

    def __init__(self, updates: Tensor, weights: Tensor | None, view: ServerView | None) -> None:
        self.updates, self.weights, self.view = updates, weights, view
        self._mixing: Tensor | None = None
        self._gram: Gram | None = None

    @property
    def gram(self) -> Gram:
        if self._gram is None:
            self._gram = Gram.of(self.updates)
        return self._gram

    @property
    def materialised(self) -> Tensor:
        return self.updates if self._mixing is None else kernels.mix(self._mixing, self.updates)

    def combined(self, c: Tensor) -> Tensor:
        return kernels.combine(c if self._mixing is None else c @ self._mixing, self.updates)

    def reduce(self, link: Reducer) -> None:
        if _is_linear(link, "mixing"):
            mixing = guarded_mixing(link, self.gram, self.weights, self.view)  # type: ignore[arg-type]
            self._gram = self.gram.mixed(mixing)
            self.weights = mixed_weights(mixing, self.weights)
            self._mixing = mixing if self._mixing is None else mixing @ self._mixing
        else:
            self.updates, self.weights = guarded_reducer(link, self.materialised, self.weights, self.view)
            self._mixing = self._gram = None


def _is_linear(link: object, method: str) -> bool:
    """Whether the link computes how it combines rows from their Gram matrix, over all columns."""
    return hasattr(link, method) and not getattr(link, "kernels_only", False)
