"""The influence attack: rows that climb the loss on the attacker's rows, by its gradient through the learner's optimum."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from scipy.optimize import Bounds, minimize
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import expit

from antivenom.attacks.availability.passing import Passage, Victim, box, copies, error_behind, passages
from antivenom.attacks.inputs import attacker_rows, check_share, count
from antivenom.certify.feasible import centroid
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import AttackContext, Sanitizer
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison, Rows
from antivenom.models.hinge import signs

PENALTY = 10.0  # on broken conditions, where a projection's squared length counts as a share of the squared radius


@attack(
    access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Koh, Steinhardt and Liang 2022, arXiv:1811.00741"
)
class InfluenceAttack:
    """Moves one point of poison per class along the gradient that influence functions give, and keeps it inside filters.

    The gradient passes through the learner's optimum by the implicit function theorem on a smoothed hinge loss. After
    each step, the points are projected to the rows that sphere, slab and loss filters keep. Weakness: it is a local search
    from mislabelled centroids and slower than the KKT attack. It adds copies of few rows, which a search for duplicates
    finds, and it must know the learner.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.
        weight_decay: the learner's lambda in mean hinge + lambda / 2 * (||w||^2 + b^2).
        positive: share of the poison that is labelled class 1, 0 to 1.
        steps: steps of the ascent.
        step_size: length of a step for both points together, in the units of the rows.
        refresh: number of steps after which the statistics of the filters are computed again.
        temperature: temperature of the smoothed hinge loss, above 0.
        removed: share of each class that a filter removes, 0 to 1.
        slab_slack, loss_slack: unused share of the limits, reserved for rounding and for the final fit.
        integer: whether rows are counts, integers >= 0; otherwise they stay within the range of the clean rows.
        distinct: number of different rows of counts per class; stratified rounding preserves their mean.
        defence: the sanitizer that will be used, if known; the step with the largest error behind it is chosen.

    Reference: Koh, Steinhardt and Liang 2022, arXiv:1811.00741 (the projection is by penalty).
    """

    poisoned_rate: float = 0.03
    weight_decay: float = 0.09
    positive: float = 0.5
    steps: int = 100
    step_size: float = 1.0
    refresh: int = 10
    temperature: float = 0.1
    removed: float = 0.05
    slab_slack: float = 0.08
    loss_slack: float = 0.12
    integer: bool = True
    distinct: int = 8
    defence: Sanitizer | None = None

    def __post_init__(self) -> None:
        for name in ("poisoned_rate", "positive", "removed", "slab_slack", "loss_slack"):
            check_share(getattr(self, name), f"InfluenceAttack.{name}")
        if min(self.steps, self.refresh, self.distinct) < 1 or not all(
            0 < value < math.inf for value in (self.weight_decay, self.step_size, self.temperature)
        ):
            raise PluginError(
                "InfluenceAttack: steps, refresh and distinct >= 1, weight_decay, step_size and temperature above 0",
                f"{self}",
            )

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        if data.num_classes != 2 or len(np.unique(data.y)) != 2:
            raise DataError("rows of two classes", f"{data.num_classes} classes", "select two `classes`")
        k = count(self.poisoned_rate, len(data))
        if k == 0:
            return Poison.none(data)
        streams, held = context.streams, attacker_rows(data, context)[1]
        victim = Victim(self.weight_decay, streams.sklearn("victim"))
        split = (k - round(self.positive * k), round(self.positive * k))
        limits = box(data, self.integer)
        theta = victim.fit(data.flat, data.y)
        rows, best, worst = data, data, -1.0
        places = np.stack([centroid(data.flat[np.flatnonzero(data.y == other)]) for other in (1, 0)])
        conditions = passages(rows, (theta,), self.removed, self.slab_slack, self.loss_slack, self.integer)
        for step in range(self.steps + 1):
            if step % self.refresh == 0 or step == self.steps:
                places = project(places, conditions, limits)
                rng = streams.numpy("rounding", step)
                rows = copies((places[0], places[1]), split, self.distinct, data, self.integer, rng)
                error = error_behind(rows, held, victim, self.removed, self.defence, streams)
                if error > worst:
                    best, worst = rows, error
                kept = (victim.fit(rows.flat, rows.y),)
                conditions = passages(rows, kept, self.removed, self.slab_slack, self.loss_slack, self.integer)
            theta, climb = ascent(
                data.flat, signs(data.y), places, split, held, theta, self.weight_decay, self.temperature
            )
            places = project(places + self.step_size * climb / (np.linalg.norm(climb) or 1.0), conditions, limits)
        return Poison(best, np.arange(len(best)) >= len(data))


def ascent(
    x: Rows,
    y: np.ndarray,
    places: np.ndarray,
    split: tuple[int, int],
    held: Dataset,
    start: np.ndarray,
    weight_decay: float,
    temperature: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The optimum theta (d + 1,) of the smoothed loss with poison, and the gradient (2, d) of the loss on `held`."""
    sign, copied = np.array([-1.0, 1.0]), np.array(split, dtype=float)
    n = len(y) + copied.sum()

    def score(rows: Rows, theta: np.ndarray) -> np.ndarray:
        return np.asarray(rows @ theta[:-1] + theta[-1])

    def pulled(rows: Rows, weights: np.ndarray) -> np.ndarray:
        return np.append(weights @ rows, weights.sum())

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = weight_decay / 2 * float(theta @ theta), weight_decay * theta
        for rows, s, times in ((x, y, np.ones(len(y))), (places, sign, copied)):
            gap = (1 - s * score(rows, theta)) / temperature
            value += temperature * float(times @ np.logaddexp(0, gap)) / n
            gradient = gradient - pulled(rows, times * s * expit(gap)) / n
        return value, gradient

    theta = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": 1e-6}).x
    slope, own = (expit((1 - s * score(rows, theta)) / temperature) for rows, s in ((x, y), (places, sign)))
    bend, own_bend = (part * (1 - part) / temperature for part in (slope, own))

    def hessian(v: np.ndarray) -> np.ndarray:
        clean = pulled(x, bend * score(x, v)) / n
        return np.asarray(weight_decay * v + clean + pulled(places, copied * own_bend * score(places, v)) / n)

    s = signs(held.y)
    wanted = -pulled(held.flat, s * expit((1 - s * score(held.flat, theta)) / temperature)) / len(held)
    u, _ = cg(LinearOperator((len(theta), len(theta)), matvec=hessian), wanted, rtol=1e-4, maxiter=200)
    turned = (own_bend * score(places, u))[:, None] * theta[:-1] - (sign * own)[:, None] * u[:-1]
    return theta, -(copied / n)[:, None] * turned


def project(
    places: np.ndarray, conditions: tuple[Passage, Passage], limits: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """The nearest points (2, d) within the limits that satisfy the conditions, enforced by a penalty."""

    def distance(z: np.ndarray, wanted: np.ndarray, condition: Passage) -> tuple[float, np.ndarray]:
        scale = condition.inside.radius**2 or 1.0
        broken, slope = condition.excess(z)
        off = z - wanted
        return float(off @ off) / scale + PENALTY * broken, 2 * off / scale + PENALTY * slope

    low, high = limits
    return np.stack(
        [
            minimize(
                partial(distance, wanted=place, condition=condition),
                np.clip(place, low, high),
                jac=True,
                method="L-BFGS-B",
                bounds=Bounds(low, high),
                options={"maxiter": 50},
            ).x
            for place, condition in zip(places, conditions, strict=True)
        ]
    )
