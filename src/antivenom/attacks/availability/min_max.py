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
    """How rows become counts: not at all, at random (they may then leave the feasible set), or always feasible."""

    NONE = "none"
    RANDOM = "random"
    FEASIBLE = "feasible"


@attack(
    access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Steinhardt, Koh and Liang 2017, arXiv:1706.03691"
)
class MinMax:
    """Adds the rows that an attacker plays against a learner, each the worst that a sphere and a slab let through.

    Needs no test rows: it raises the loss of the clean rows and its own, up to the bound that `certified_bound` proves. Weakness:
    it spreads many distinct rows along the border of the feasible set, where filters by loss or by singular vectors see
    them, and counts rounded at random may leave the set.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.
        rho_squared: bound on the learner's ||w||^2 + b^2.
        eta: learning rate of dual averaging.
        steps: of dual averaging; the rows are a random choice among as many moves.
        percentile: of each class's rows that the sphere lets through.
        slab_percentile: the same for the slab; None is `percentile`.
        oracle: the filter's centroids come from clean rows. Otherwise they, and the radii, are those of all rows: attack
            and filter are fitted in turns, the substitute for the paper's semidefinite program.
        turns: how often, without an oracle.
        rounding: none, random or feasible; the last two make word counts.

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
                "MinMax: rho_squared, eta, steps and turns above 0, percentiles above 0 to 100", f"{self}", "correct it"
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
