"""Upper bound on the loss of a linear SVM under any poison that passes a sphere and a slab, found by a convex game."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from antivenom.certify.feasible import FeasibleSet, feasible_sets
from antivenom.core.errors import DataError, PluginError
from antivenom.core.streams import Streams
from antivenom.data import Dataset, Rows
from antivenom.models.hinge import BoundedSVC, signs

THEOREM = "Steinhardt, Koh and Liang 2017, arXiv:1706.03691: max over poison of min over theta <= min over theta of U"


@dataclass(frozen=True, eq=False)
class Play:
    """The result of dual averaging.

    Fields:
        theta: (d + 1,) weights and bias with the smallest value of U.
        upper: this value; no poison inside the feasible sets makes the minimal regularised loss larger.
        x: (k, d) moves of the attacker in the recorded steps; CSR if the data are sparse.
        y: (k,) classes of these moves.
    """

    theta: np.ndarray
    upper: float
    x: Rows
    y: np.ndarray


def play(
    data: Dataset,
    sets: Sequence[FeasibleSet],
    poisoned_rate: float,
    rho_squared: float,
    eta: float,
    steps: int,
    recorded: np.ndarray,
    counts: bool = False,
    write: Callable[[np.ndarray], Rows] = np.float32,
) -> Play:
    """Algorithm 1: the learner averages subgradients of U, and the attacker responds with the worst feasible row.

    U(theta) is the mean hinge loss over the clean rows plus poisoned_rate times the largest hinge loss over the feasible
    sets of both classes. It is convex, and every theta in the ball gives a valid bound. So the best theta of all steps is
    kept, and its value is computed again in double precision. With `counts` the attacker's rows consist of integers, and
    U contains the dual bound of the attacker's search. `recorded` are indices of steps, with repetitions. `write` converts
    a move to a row (d,), or to a CSR table of one row.
    """
    (rows, columns), y, n = _fast(data.flat), signs(data.y), len(data)
    theta, z, decay = np.zeros(rows.shape[1] + 1), np.zeros(rows.shape[1] + 1), 1 / eta
    best, upper = theta, math.inf
    wanted, moves = set(recorded.tolist()), {}
    for step in range(steps):
        margins = y * (rows @ theta[:-1].astype(np.float32) + np.float32(theta[-1]))
        move, margin, worst = _answer(sets, theta, counts)
        value = float(np.maximum(1 - margins, 0).mean()) + poisoned_rate * max(0.0, 1 - worst)
        if value < upper:
            best, upper = theta, value
        if step in wanted:
            moves[step] = (write(move[0]), move[1])
        active = np.flatnonzero(margins < 1)
        few = 4 * len(active) < n  # then it is faster to select these rows
        pull = y[active] @ rows[active] if few else columns @ np.where(margins < 1, y, np.float32(0))
        z += np.append(pull, y[active].sum()) / n
        if margin < 1:
            z += poisoned_rate * move[1] * np.append(move[0], 1.0)
        decay = max(decay, float(np.linalg.norm(z)) / math.sqrt(rho_squared))
        theta = z / decay
    loss = np.maximum(1 - y * (rows.astype(np.float64) @ best[:-1] + best[-1]), 0).mean()
    upper = float(loss) + poisoned_rate * max(0.0, 1 - float(_answer(sets, best, counts)[2]))
    chosen = [moves[step] for step in recorded.tolist()]
    x = stacked([x for x, _ in chosen]) if chosen else data.flat[:0]
    return Play(best, upper, x, np.array([int(sign > 0) for _, sign in chosen], dtype=np.int64))


def _answer(
    sets: Sequence[FeasibleSet], theta: np.ndarray, counts: bool
) -> tuple[tuple[np.ndarray, float], float, float]:
    """The attacker's best row with its sign, its margin, and a lower bound on the margin of every feasible row."""
    found = []
    for inside, sign in zip(sets, (-1.0, 1.0), strict=True):
        w = sign * theta[:-1]
        if counts:
            x, bound = inside.lowest_counts(w)
        else:
            x = inside.lowest(w)
            bound = float(w @ x)
        found.append((float(w @ x) + sign * theta[-1], bound + sign * theta[-1], x, sign))
    margin, _, x, sign = min(found, key=lambda answer: answer[0])
    return (x, sign), margin, min(answer[1] for answer in found)


def stacked(rows: list[Rows]) -> Rows:
    """A table (k, d) of rows (d,), or of CSR tables of one row each."""
    return sp.vstack(rows, format="csr") if sp.issparse(rows[0]) else np.stack(rows)


def written(data: Dataset) -> Callable[[np.ndarray], Rows]:
    """A function that converts a row (d,) to the form of this data, dense or CSR."""
    return (lambda x: sp.csr_array(x[None], dtype=np.float32)) if data.is_sparse else np.float32


def _fast(x: Rows) -> tuple[Rows, Rows]:
    """The rows and their transpose in the form with the faster products: CSR if three quarters of the cells are zero."""
    rows = x if sp.issparse(x) or np.count_nonzero(x) > x.size / 4 else sp.csr_array(x)
    return rows, rows.T if isinstance(rows, np.ndarray) else rows.T.tocsr()


@dataclass(frozen=True)
class Bound:
    """A certificate for one data set, defence and budget.

    Fields:
        upper: U*, in units of the hinge loss. No poison that meets the assumptions makes the minimal training loss under
            the norm bound larger. It approximates the worst test loss.
        attack_loss: the training loss under the attack that the game found. The true maximum lies between the two.
        poisoned_rate: budget, as a share of the clean rows.
        theorem: the theorem that proves the bound.
        assumptions: the conditions under which the bound holds.
    """

    upper: float
    attack_loss: float
    poisoned_rate: float
    theorem: str
    assumptions: tuple[str, ...]

    @property
    def gap(self) -> float:
        """Difference between bound and attack, as a share of the bound."""
        return 1 - self.attack_loss / self.upper if self.upper else 0.0


def certified_bound(
    data: Dataset,
    poisoned_rate: float,
    *,
    rho_squared: float = 1.0,
    percentile: float = 70.0,
    slab: bool = True,
    oracle: bool = True,
    counts: bool = False,
    eta: float = 0.1,
    steps: int = 2500,
    streams: Streams = Streams(0),
) -> Bound:
    """Upper bound on the loss of a linear SVM behind a sphere and a slab filter, for any poison.

    >>> from antivenom.data import Dataset
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(200) % 2
    >>> x = (rng.standard_normal((200, 2)) + 3 * y[:, None]).astype(np.float32)
    >>> bound = certified_bound(Dataset(x, y, ("a", "b")), poisoned_rate=0.05, steps=300)
    >>> round(bound.upper, 3)
    0.215

    Args:
        data: clean rows of two classes.
        poisoned_rate: number of rows that the attacker adds, as a share of the clean rows.
        rho_squared: bound on ||w||^2 + b^2.
        percentile: percentage of a class's own rows that pass the sphere, and that pass the slab.
        slab: whether there is a slab in addition to the sphere.
        oracle: whether the centroids come from clean rows, so that poison cannot move them. Otherwise poison moves the
            centroids, and the bound uses `FeasibleSet.enlarged`; the attack still uses the clean centroids.
        counts: whether rows consist of integers >= 0; then the bound contains the dual bound of the integer problem.
        eta: learning rate of dual averaging.
        steps: steps of dual averaging; more steps can only lower the bound.
        streams: randomness of the attack.

    Raises:
        DataError: not two classes, or a budget below one row.
    """
    k = math.floor(poisoned_rate * len(data) + 1e-9) if math.isfinite(poisoned_rate) else 0
    if k < 1:
        raise DataError("a budget of at least one row", f"{poisoned_rate:g} of {len(data)}", "raise poisoned_rate")
    if min(rho_squared, eta, steps) <= 0 or not 0 < percentile <= 100:
        raise PluginError(
            "rho_squared, eta and steps above 0, percentile above 0 to 100",
            f"{rho_squared}, {eta}, {steps} and {percentile}",
        )
    sets = feasible_sets(data, percentile, slab=slab)
    recorded = streams.numpy("steps").choice(steps, k, replace=k > steps)
    game = play(data, sets, poisoned_rate, rho_squared, eta, steps, recorded, counts, written(data))
    loss, upper = _forced(data, game, poisoned_rate, rho_squared, streams), game.upper
    if not oracle:
        shares = k / np.bincount(data.y, minlength=2)
        wider = [inside.enlarged(float(share)) for inside, share in zip(sets, shares, strict=True)]
        upper = play(data, wider, poisoned_rate, rho_squared, eta, steps, np.zeros(0, int), counts).upper
    return Bound(upper, loss, poisoned_rate, THEOREM, _assumptions(oracle, rho_squared))


def _forced(data: Dataset, game: Play, poisoned_rate: float, rho_squared: float, streams: Streams) -> float:
    """The minimal loss, clean loss + poisoned_rate * poison loss, of an SVM trained on clean rows and moves."""
    table = replace(data, x=data.flat, groups=None, schema=None)
    rows = table.extend(game.x, game.y)
    svc = BoundedSVC(rho_squared, random_state=streams.sklearn("fit")).fit(rows.x, rows.y)
    losses = np.maximum(1 - signs(rows.y) * svc.decision_function(rows.x), 0)
    n = len(data)
    return float(losses[:n].mean() + poisoned_rate * losses[n:].mean())


def _assumptions(oracle: bool, rho_squared: float) -> tuple[str, ...]:
    centroids = (
        "centroids, radii and widths come from clean rows, so that poison cannot move them"
        if oracle
        else "radii are fixed, centroids come from clean rows and poison together, all poison passes, the slab is not used"
    )
    return (
        f"the learner minimises mean hinge loss under ||w||^2 + b^2 <= {rho_squared:g}",
        centroids,
        "clean rows that do not pass change the loss little: the bound trains on all clean rows",
        "test rows have the distribution of the clean rows: the bound on the training loss holds up to sampling error",
    )
