"""The KKT attack: rows that make chosen parameters the optimum of a linear SVM, and pass filters on the way."""

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

BORDER = 0.01  # of the margin: what the solver's tolerance leaves
PENALTY = 10.0  # on broken conditions, where the residual counts as a share of what is needed


@attack(
    access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Koh, Steinhardt and Liang 2022, arXiv:1811.00741"
)
class KKTAttack:
    """Chooses bad parameters first, then adds the rows that make them a linear SVM's optimum and that filters keep.

    Decoy parameters come from training on mislabelled copies of rows that the attacker holds; if those are test rows,
    this is the worst case. All poison of a class sits in one place, so that distances to neighbours and singular vectors
    find it normal; sphere, slab and loss limits are conditions on the place, learnt anew from the poisoned rows in each
    round. Weakness: copies of few rows, which a look for duplicates finds; it must know the learner.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.
        weight_decay: the learner's lambda in mean hinge + lambda / 2 * (||w||^2 + b^2).
        gammas: quantiles of the loss from which on the attacker's rows are mislabelled, each 0 to 1.
        repeats: how many copies of them the decoy is trained on; every pair with gamma is tried. Who holds fewer rows needs
            more.
        rounds: how often the filters' statistics are learnt anew.
        removed: share of each class that a filter drops, 0 to 1.
        slab_slack, loss_slack: share of the limits left unused, for rounding and for the final fit.
        integer: rows are counts: whole numbers >= 0. Otherwise they stay within the range of the clean rows.
        distinct: different rows of counts per class, rounded in strata so that their mean stays.
        defence: the sanitizer that will be used, if known; the decoy is chosen by the error behind it, otherwise by the
            worst of no filter, distance, slab and loss.

    Reference: Koh, Steinhardt and Liang 2022, arXiv:1811.00741 (the pulls of rows on the margin, copies split by the bias equation, rounding in
    strata and the choice of the decoy are ours).
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
            raise PluginError("KKTAttack: rounds, distinct and repeats >= 1, some gammas", f"{self}", "correct it")
        if not 0 < self.weight_decay < math.inf:
            raise PluginError("KKTAttack.weight_decay above 0", f"{self.weight_decay}", "0.09 suits Enron1")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        if data.num_classes != 2 or len(np.unique(data.y)) != 2:
            raise DataError("rows of two classes", f"{data.num_classes} classes", "choose two `classes`")
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
        """(d + 1,): parameters that are bad on the attacker's rows and not bad on the clean ones."""
        losses = np.maximum(1 - margins(held.flat, held.y, honest), 0)
        flipped = np.flatnonzero((losses >= np.quantile(losses, gamma)) & (losses > 0))
        parts = [data.flat] + [held.flat[flipped]] * repeats
        x = sp.vstack(parts, format="csr") if data.is_sparse else np.concatenate(parts)
        return victim.fit(x, np.concatenate([data.y] + [1 - held.y[flipped]] * repeats))

    def _poisoned(self, data: Dataset, k: int, victim: Victim, decoy: np.ndarray, rng: np.random.Generator) -> Dataset:
        """The rows after the last round."""
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
    """(d + 1,): the least mean of y (x, 1) over k poison rows with loss that makes theta the optimum.

    The optimum of mean hinge + weight_decay / 2 ||theta||^2 over n + k rows is where the pulls of all rows with loss,
    y (x, 1), add up to (n + k) weight_decay theta. Clean rows on the margin pull with any weight from 0 to 1; they take the
    weights that leave least to the poison.
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
    """The squared residual of stationarity, relative, plus what is broken; and its gradient. `places` is (2 d,)."""
    each = places.reshape(2, -1)
    weights = shares * (-1.0, 1.0)
    residual, scale = weights @ each - pull, float(pull @ pull) or 1.0
    value, gradient = float(residual @ residual) / scale, 2 / scale * np.outer(weights, residual)
    for k, condition in enumerate(conditions):
        broken, slope = condition.excess(each[k])
        value, gradient[k] = value + PENALTY * broken, gradient[k] + PENALTY * slope
    return value, gradient.ravel()
