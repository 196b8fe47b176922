"""Poison for support vector machines, by the gradient through their KKT conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from antivenom.attacks.availability.ascent import Ascent
from antivenom.attacks.inputs import attacker_rows, check_share, count, mislabelled
from antivenom.core.errors import NotApplicable, PluginError, did_you_mean
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison

KERNELS = ("linear", "poly", "rbf")
RIDGE = 1e-9  # regularises the block of the margin, which repeated rows make singular
EXCHANGES = 12  # iterations of the active set method before libsvm is called


@dataclass(frozen=True)
class Kernel:
    """A kernel with scikit-learn's names and formulas.

    Fields:
        name: "linear" x·z, "poly" (gamma x·z + coef0)^degree, or "rbf" exp(-gamma |x - z|^2).
        gamma, degree, coef0: its parameters.
    """

    name: str = "linear"
    gamma: float = 1.0
    degree: int = 3
    coef0: float = 1.0

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Kernel values (n, m) for rows a (n, d) and b (m, d)."""
        inner = a @ b.T
        if self.name == "linear":
            return np.asarray(inner)
        if self.name == "poly":
            return np.asarray((self.gamma * inner + self.coef0) ** self.degree)
        squares = np.einsum("nd,nd->n", a, a)[:, None] + np.einsum("md,md->m", b, b) - 2 * inner
        return np.asarray(np.exp(-self.gamma * squares.clip(0)))

    def slope(self, weights: np.ndarray, a: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Derivative (d,) of sum_i weights_i k(a_i, x) with respect to x (d,)."""
        if self.name == "linear":
            return np.asarray(weights @ a)
        if self.name == "poly":
            inner = self.gamma * (a @ x) + self.coef0
            return np.asarray((weights * self.degree * self.gamma * inner ** (self.degree - 1)) @ a)
        pulls = 2 * self.gamma * weights * self(a, x[None])[:, 0]
        return np.asarray(pulls @ a - pulls.sum() * x)


@dataclass(frozen=True, eq=False)
class Solution:
    """The multipliers that satisfy the KKT conditions, and the quantities that their derivatives need.

    Fields:
        alpha: (n,) multipliers, from 0 to C.
        bias: b.
        margin: (s,) indices of the rows with 0 < alpha < C.
        matrix: (s + 1, s + 1) matrix of the linear system for b and the multipliers of the margin.
    """

    alpha: np.ndarray
    bias: float
    margin: np.ndarray
    matrix: np.ndarray


@dataclass(frozen=True, eq=False)
class Machine:
    """A support vector machine on some rows, and its hinge loss on others; labels are -1 and 1.

    Fields:
        kernel, c: parameters of the machine.
        x, y: (n, d) training rows and (n,) labels.
        others, truth: (m, d) the attacker's rows and (m,) labels.
        gram, cross: (n, n) and (m, n) kernel values.
        guess: (n,) multipliers close to the solution, or None.
    """

    kernel: Kernel
    c: float
    x: np.ndarray
    y: np.ndarray
    others: np.ndarray
    truth: np.ndarray
    gram: np.ndarray
    cross: np.ndarray
    guess: np.ndarray | None = None

    @classmethod
    def of(cls, kernel: Kernel, c: float, data: Dataset, rows: Dataset) -> Self:
        x, others = (part.dense.reshape(len(part), -1).astype(np.float64) for part in (data, rows))
        return cls(kernel, c, x, 2.0 * data.y - 1, others, 2.0 * rows.y - 1, kernel(x, x), kernel(others, x))

    def add(self, x: np.ndarray, label: int) -> Self:
        """The machine with one more row. The old multipliers are the guess for the new solution."""
        column = self.kernel(self.x, x[None])
        gram = np.block([[self.gram, column], [column.T, self.kernel(x[None], x[None])]])
        cross = np.hstack([self.cross, self.kernel(self.others, x[None])])
        rows, labels = np.vstack([self.x, x]), np.append(self.y, 2.0 * label - 1)
        guess = np.append(self.solution.alpha, self.c)
        return replace(self, x=rows, y=labels, gram=gram, cross=cross, guess=guess)

    def loss(self, x: np.ndarray, label: int) -> tuple[float, Callable[[], np.ndarray]]:
        """The mean hinge loss after adding the row, and its gradient with respect to the row."""
        more = self.add(x, label)
        losses = 1 - more.truth * (more.cross @ (more.solution.alpha * more.y) + more.solution.bias)
        violated = losses > 0
        return float(losses[violated].sum() / len(losses)), lambda: more.gradient(violated)

    @property
    def scale(self) -> float:
        """Mean squared length of the rows in the feature space of the kernel, or 1 if all are zero."""
        return float(np.diagonal(self.gram).mean()) or 1.0

    @cached_property
    def solution(self) -> Solution:
        """The solution, from the guess if it is close enough, otherwise from libsvm."""
        from sklearn.svm import SVC

        found = None if self.guess is None else self._settled(self.guess)
        if found is None:
            tolerance = float(np.clip(1e-6 * self.scale, 1e-6, 1e-3))  # libsvm computes kernels in single precision
            svc = SVC(C=self.c, kernel="precomputed", tol=tolerance).fit(self.gram, self.y)
            alpha = np.zeros(len(self.y))
            alpha[svc.support_] = np.abs(svc.dual_coef_[0])
            found = self._settled(alpha)
            if found is None:  # the margin is empty or too large, and libsvm selects one of several solutions
                sets = self._solved(alpha > 0, alpha >= self.c)
                found = replace(sets, alpha=alpha, bias=float(svc.intercept_[0]))
        return found

    def _settled(self, alpha: np.ndarray) -> Solution | None:
        """The primal-dual active set method: solve for a guessed margin, then move rows that violate the conditions."""
        supports, bound = alpha > 0, alpha >= self.c
        for _ in range(EXCHANGES):
            found = self._solved(supports, bound)
            if not len(found.margin):
                return None
            slack = self.y * (self.gram @ (found.alpha * self.y) + found.bias) - 1
            slack[found.margin] = 0
            moved = found.alpha - slack / self.scale
            if np.array_equal(moved > 0, supports) and np.array_equal(moved >= self.c, bound):
                return found
            supports, bound = moved > 0, moved >= self.c
        return None

    def _solved(self, supports: np.ndarray, bound: np.ndarray) -> Solution:
        """The multipliers for given support vectors, of which those in `bound` have alpha = C."""
        margin = np.flatnonzero(supports & ~bound)
        matrix = np.zeros((len(margin) + 1, len(margin) + 1))
        matrix[0, 1:] = matrix[1:, 0] = self.y[margin]
        matrix[1:, 1:] = self.y[margin, None] * self.gram[np.ix_(margin, margin)] * self.y[margin]
        matrix[0, 0] = -RIDGE
        matrix[1:, 1:][np.diag_indices(len(margin))] += RIDGE * self.scale
        pushed = self.c * self.y[margin] * (self.gram[np.ix_(margin, bound)] @ self.y[bound])
        solved = np.linalg.solve(matrix, np.append(-self.c * self.y[bound].sum(), 1 - pushed))
        alpha = np.where(bound, self.c, 0.0)
        alpha[margin] = solved[1:]
        return Solution(alpha, float(solved[0]), margin, matrix)

    def gradient(self, violated: np.ndarray) -> np.ndarray:
        """Derivative (d,) of the mean hinge loss over the rows `violated` with respect to the last training row.

        As long as no row leaves its set (margin, bound, rest), the linear system of the margin determines multipliers and
        bias, and can be differentiated. With the adjoint method, one solution of the system gives all d derivatives.
        """
        row, alpha, margin = self.x[-1], self.solution.alpha, self.solution.margin
        signs, adjoint = self.truth[violated], np.zeros(len(self.x))
        pull = self.y[margin] * (signs @ self.cross[np.ix_(violated, margin)])
        adjoint[margin] = np.linalg.solve(self.solution.matrix, np.append(signs.sum(), pull))[1:]
        # The second term is zero unless the row is on the margin, where its own equation depends on it as well.
        weights = self.y * self.y[-1] * (adjoint * alpha[-1] + adjoint[-1] * alpha)
        gradient = self.kernel.slope(weights, self.x, row)
        gradient -= self.kernel.slope(self.y[-1] * alpha[-1] * signs, self.others[violated], row)
        return np.asarray(gradient / len(self.truth))


@attack(
    access=(Access.DATA_INJECTION,),
    goal=Goal.AVAILABILITY,
    cite="Biggio, Nelson and Laskov 2012, arXiv:1206.6389",
)
class SVMPoisoning:
    """Adds rows that raise the hinge loss of a support vector machine, by the gradient through its KKT conditions.

    Each row starts as a mislabelled row and climbs the loss on the attacker's rows. The loss is a smooth function of the
    row as long as no training row enters or leaves the margin. Weakness: it needs the kernel and C, or good guesses. The
    rows end far from the class of their label, so that distances to the class centre and neighbours reveal them. It works
    for two classes only, and memory grows with the square of the number of rows.

    Fields:
        poisoned_rate: rows added, as a share of the clean rows, 0 to 1.
        label: label of the added rows; None for the wrong class of each row.
        kernel: linear, poly or rbf, as in scikit-learn.
        c: penalty of a violated margin, above 0.
        gamma, degree, coef0: parameters of the kernel; gamma None is 1 / (features * variance), scikit-learn's "scale".
        ascent: settings of the gradient ascent.

    Reference: Biggio, Nelson and Laskov 2012, "Poisoning Attacks against Support Vector Machines", ICML,
    arXiv:1206.6389.
    """

    poisoned_rate: float = 0.01
    label: int | None = None
    kernel: str = "linear"
    c: float = 1.0
    gamma: float | None = None
    degree: int = 3
    coef0: float = 0.0
    ascent: Ascent = Ascent(starts=3)

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "SVMPoisoning.poisoned_rate")
        if self.kernel not in KERNELS:
            raise PluginError("a kernel", repr(self.kernel), did_you_mean(self.kernel, KERNELS))
        if not 0 < self.c < np.inf or self.degree < 1 or not np.isfinite(self.coef0):
            raise PluginError(
                "SVMPoisoning.c above 0, degree >= 1 and a finite coef0",
                f"{self.c}, {self.degree} and {self.coef0}",
            )
        if self.gamma is not None and not 0 < self.gamma < np.inf:
            raise PluginError(
                "SVMPoisoning.gamma above 0", f"{self.gamma}", "leave it out for 1 / (features * variance)"
            )

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        if data.num_classes != 2:
            raise NotApplicable(
                "two classes for SVMPoisoning",
                f"{data.num_classes}",
                "select two `classes`",
            )
        known, rows = (part.encoded for part in attacker_rows(data, context))
        variance = float(known.dense.var()) or 1.0
        gamma = 1 / (known.dense[0].size * variance) if self.gamma is None else self.gamma
        machine = Machine.of(Kernel(self.kernel, gamma, self.degree, self.coef0), self.c, known, rows)
        points = count(self.poisoned_rate, len(data))
        starts = mislabelled(rows, self.ascent.draws(points), context, self.label)
        return self.ascent(machine, data, starts, points)
