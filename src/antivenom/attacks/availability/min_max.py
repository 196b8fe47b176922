"""The min-max attack: the worst rows that pass a sphere and a slab, for a linear SVM."""

from __future__ import annotations

import enum

import numpy as np

from antivenom.attacks.inputs import check_share, count, injected
from antivenom.certify.bounds import play, written
from antivenom.certify.feasible import FeasibleSet, feasible_sets
from antivenom.core.errors import PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison, Rows


class Rounding(enum.StrEnum):
    """How rows are rounded to counts: not at all, at random (possibly out of the feasible set), or within the set."""

    NONE = "none"
    RANDOM = "random"
    FEASIBLE = "feasible"


@attack(
    access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Steinhardt, Koh and Liang 2017, arXiv:1706.03691"
)
class MinMax:
    """Adds the moves of an attacker in a game against the learner; each move is the worst row inside sphere and slab.

    It needs no test rows. It raises the loss on clean rows and poison up to the bound of `certified_bound`. Weakness: it
    places many distinct rows at the border of the feasible set, where filters by loss or singular vectors detect them,
    and counts that are rounded at random can leave the set.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.
        rho_squared: bound on the learner's ||w||^2 + b^2.
        eta: learning rate of dual averaging.
        steps: steps of dual averaging; the added rows are a random choice of its moves.
        percentile: percentage of each class's rows that pass the sphere.
        slab_percentile: percentage that pass the slab; None for `percentile`.
        oracle: whether the filter's centroids come from clean rows. Otherwise centroids and radii are those of all rows:
            attack and filter are fitted alternately, in place of the paper's semidefinite program.
        turns: number of such alternations.
        rounding: none, random or feasible; the last two give word counts.

    Reference: Steinhardt, Koh and Liang 2017, arXiv:1706.03691, Algorithm 1.
    """

    poisoned_rate: float = 0.03
    rho_squared: float = 1.0
    eta: float = 0.1
    steps: int = 1000
    percentile: float = 70.0
    slab_percentile: float | None = None
    oracle: bool = True
    turns: int = 5
    rounding: Rounding = Rounding.NONE

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "MinMax.poisoned_rate")
        shares = (self.percentile, self.percentile if self.slab_percentile is None else self.slab_percentile)
        if min(self.rho_squared, self.eta, self.steps, self.turns) <= 0 or not all(0 < q <= 100 for q in shares):
            raise PluginError(
                "MinMax: rho_squared, eta, steps and turns above 0, percentiles above 0 to 100", f"{self}"
            )
        object.__setattr__(self, "rounding", Rounding(self.rounding))

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        k = count(self.poisoned_rate, len(data))
        sets = self._sets(data)
        if k == 0:
            return Poison.none(data)
        for turn in range(1 if self.oracle else self.turns):
            x, y = self._moves(data, sets, k, context.streams.numpy("moves", turn))
            poison = injected(data, x, y)
            sets = self._sets(poison.data)
        return poison

    def _sets(self, rows: Dataset) -> tuple[FeasibleSet, FeasibleSet]:
        return feasible_sets(rows, self.percentile, self.slab_percentile)

    def _moves(
        self, data: Dataset, sets: tuple[FeasibleSet, FeasibleSet], k: int, rng: np.random.Generator
    ) -> tuple[Rows, np.ndarray]:
        recorded = rng.choice(self.steps, k, replace=k > self.steps)
        keep = written(data)

        def rounded(x: np.ndarray) -> Rows:
            return keep(np.floor(np.maximum(x, 0.0) + rng.random(len(x))))

        game = play(
            data,
            sets,
            self.poisoned_rate,
            self.rho_squared,
            self.eta,
            self.steps,
            recorded,
            counts=self.rounding is Rounding.FEASIBLE,
            write=rounded if self.rounding is Rounding.RANDOM else keep,
        )
        return game.x, game.y
