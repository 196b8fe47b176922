"""The KKT attack: rows that pass filters and make chosen parameters the optimum of a linear SVM."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import scipy.sparse as sp
from scipy.optimize import Bounds, minimize

from antivenom.attacks.availability.passing import Passage, Victim, box, copies, error_behind, margins, passages
from antivenom.attacks.inputs import attacker_rows, check_share, count
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import AttackContext, Sanitizer
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.models.hinge import signs

BORDER = 0.01  # rows this close to the margin count as on it, because of the solver's tolerance
PENALTY = 10.0  # weight of constraint violation against the relative residual


@attack(
    access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Koh, Steinhardt and Liang 2022, arXiv:1811.00741"
)
class KKTAttack:
    """Chooses harmful parameters first, then adds rows that filters keep and that make them the optimum of a linear SVM.

    The decoy parameters come from training on mislabelled copies of the attacker's rows; if these are test rows, this is
    the worst case. All poison of a class is at one point, so that it looks normal to filters by neighbours or singular
    vectors. Limits of sphere, slab and loss are constraints on this point, recomputed from the poisoned rows in each
    round. Weakness: it adds copies of few rows, which a search for duplicates finds, and it must know the learner.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.
        weight_decay: the learner's lambda in mean hinge + lambda / 2 * (||w||^2 + b^2).
        gammas: quantiles of the loss above which the attacker's rows are mislabelled, each 0 to 1.
        repeats: numbers of copies of these rows in the training of the decoy; every pair with gamma is tried. An attacker
            with fewer rows needs more copies.
        rounds: number of rounds, each of which recomputes the statistics of the filters.
        removed: share of each class that a filter removes, 0 to 1.
        slab_slack, loss_slack: unused share of the limits, reserved for rounding and for the final fit.
        integer: whether rows are counts, integers >= 0; otherwise they stay within the range of the clean rows.
        distinct: number of different rows of counts per class; stratified rounding preserves their mean.
        defence: the sanitizer that will be used, if known; the decoy with the largest error behind it is chosen. Otherwise
            the error behind the most harmful of no filter, distance, slab and loss decides.

    Reference: Koh, Steinhardt and Liang 2022, arXiv:1811.00741. The pulls of rows on the margin, the split of copies by the
    bias equation, stratified rounding and the choice of the decoy are additions.
    """

    poisoned_rate: float = 0.03
    weight_decay: float = 0.09
    gammas: tuple[float, ...] = (0.65, 0.7, 0.75)
    repeats: tuple[int, ...] = (8, 12, 16, 24)
    rounds: int = 3
    removed: float = 0.05
    slab_slack: float = 0.08
    loss_slack: float = 0.12
    integer: bool = True
    distinct: int = 8
    defence: Sanitizer | None = None

    def __post_init__(self) -> None:
        for name in ("poisoned_rate", "removed", "slab_slack", "loss_slack"):
            check_share(getattr(self, name), f"KKTAttack.{name}")
        for gamma in self.gammas:
            check_share(gamma, "KKTAttack.gammas")
        if not self.gammas or not self.repeats or min(self.rounds, self.distinct, *self.repeats) < 1:
            raise PluginError("KKTAttack: rounds, distinct and repeats >= 1, some gammas", f"{self}")
        if not 0 < self.weight_decay < math.inf:
            raise PluginError("KKTAttack.weight_decay above 0", f"{self.weight_decay}", "try 0.09")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        if data.num_classes != 2 or len(np.unique(data.y)) != 2:
            raise DataError("rows of two classes", f"{data.num_classes} classes", "select two `classes`")
        k = count(self.poisoned_rate, len(data))
        if k == 0:
            return Poison.none(data)
        streams = context.streams
        held = attacker_rows(data, context)[1]
        victim = Victim(self.weight_decay, streams.sklearn("victim"))
        honest = victim.fit(data.flat, data.y)
        best, worst = data, -1.0
        for number, (gamma, repeats) in enumerate(itertools.product(self.gammas, self.repeats)):
            decoy = self._decoy(data, held, victim, honest, gamma, repeats)
            rows = self._poisoned(data, k, victim, decoy, streams.numpy("rounding", number))
            error = error_behind(rows, held, victim, self.removed, self.defence, streams)
            if error > worst:
                best, worst = rows, error
        return Poison(best, np.arange(len(best)) >= len(data))

    def _decoy(
        self, data: Dataset, held: Dataset, victim: Victim, honest: np.ndarray, gamma: float, repeats: int
    ) -> np.ndarray:
        """Parameters (d + 1,) with a large loss on the attacker's rows and a small loss on the clean rows."""
        losses = np.maximum(1 - margins(held.flat, held.y, honest), 0)
        flipped = np.flatnonzero((losses >= np.quantile(losses, gamma)) & (losses > 0))
        parts = [data.flat] + [held.flat[flipped]] * repeats
        x = sp.vstack(parts, format="csr") if data.is_sparse else np.concatenate(parts)
        return victim.fit(x, np.concatenate([data.y] + [1 - held.y[flipped]] * repeats))

    def _poisoned(self, data: Dataset, k: int, victim: Victim, decoy: np.ndarray, rng: np.random.Generator) -> Dataset:
        """The poisoned rows after the last round."""
        pull = required_pull(data, k, decoy, self.weight_decay)
        positive = min(max(round(k * (1 + pull[-1]) / 2), 0), k)
        split = (k - positive, positive)
        low, high = box(data, self.integer)
        bounds = np.stack([np.tile(low, 2), np.tile(high, 2)], axis=1)
        places = np.concatenate([np.maximum(-pull[:-1], 0), np.maximum(pull[:-1], 0)]) * 0.3
        rows, thetas = data, [decoy]
        for _ in range(self.rounds):
            conditions = passages(rows, thetas, self.removed, self.slab_slack, self.loss_slack, self.integer)
            found = minimize(
                partial(objective, pull=pull[:-1], shares=np.array(split) / k, conditions=conditions),
                np.clip(places, bounds[:, 0], bounds[:, 1]),
                jac=True,
                method="L-BFGS-B",
                bounds=Bounds(bounds[:, 0], bounds[:, 1]),
                options={"maxiter": 300, "maxfun": 600},
            )
            places = found.x
            negative, other = np.split(places, 2)
            rows = copies((negative, other), split, self.distinct, data, self.integer, rng)
            thetas = [decoy, victim.fit(rows.flat, rows.y)]
        return rows


def required_pull(data: Dataset, k: int, theta: np.ndarray, weight_decay: float) -> np.ndarray:
    """The smallest mean pull y (x, 1), (d + 1,), of k poison rows with positive loss that makes theta the optimum.

    The optimum of mean hinge + weight_decay / 2 ||theta||^2 over n + k rows is where the pulls of all rows with positive
    loss add up to (n + k) weight_decay theta. Clean rows on the margin can pull with any weight from 0 to 1. Their weights
    are chosen such that the poison has to contribute as little as possible.
    """
    gaps = 1 - margins(data.flat, data.y, theta)
    y = signs(data.y).astype(np.float64)

    def pulls(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.append((weights * y[rows]) @ data.flat[rows], weights @ y[rows])

    sure, free = np.flatnonzero(gaps > BORDER), np.flatnonzero(np.abs(gaps) <= BORDER)
    missing = (len(data) + k) * weight_decay * theta - pulls(sure, np.ones(len(sure)))
    border = data.flat[free]

    def left(weights: np.ndarray) -> tuple[float, np.ndarray]:
        rest = (missing - np.append((weights * y[free]) @ border, weights @ y[free])) / k
        return float(rest @ rest) / 2, -y[free] * (border @ rest[:-1] + rest[-1]) / k

    weights = np.full(len(free), 0.5)
    if len(free):
        weights = minimize(left, weights, jac=True, method="L-BFGS-B", bounds=Bounds(0.0, 1.0)).x
    return np.asarray((missing - pulls(free, weights)) / k)


def objective(
    places: np.ndarray, pull: np.ndarray, shares: np.ndarray, conditions: tuple[Passage, Passage]
) -> tuple[float, np.ndarray]:
    """Relative squared KKT residual plus constraint violation, and its gradient. `places` is (2 d,)."""
    each = places.reshape(2, -1)
    weights = shares * (-1.0, 1.0)
    residual, scale = weights @ each - pull, float(pull @ pull) or 1.0
    value, gradient = float(residual @ residual) / scale, 2 / scale * np.outer(weights, residual)
    for k, condition in enumerate(conditions):
        broken, slope = condition.excess(each[k])
        value, gradient[k] = value + PENALTY * broken, gradient[k] + PENALTY * slope
    return value, gradient.ravel()
