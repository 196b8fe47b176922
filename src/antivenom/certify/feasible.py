"""The rows that pass a sphere and a slab filter, and the worst of them for a linear model.

The filter keeps a row x of a class if ||x - centre|| <= radius and |direction . (x - centre)| <= width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from antivenom.core.errors import DataError
from antivenom.data import Dataset, Rows

SLACK = 1e-6  # relative tolerance, so that a row on the border still passes after conversion to float32


@dataclass(frozen=True, eq=False)
class FeasibleSet:
    """The rows of one class that pass a sphere and a slab.

    Fields:
        centre: (d,) centroid of the class.
        direction: (d,) unit vector between the two centroids; zeros without a slab.
        radius: radius of the sphere.
        width: half the thickness of the slab; inf without a slab.
    """

    centre: np.ndarray
    direction: np.ndarray
    radius: float
    width: float = math.inf

    def contains(self, x: Rows) -> np.ndarray:
        """Whether (m,) bool rows (m, d), dense or CSR, are in the set."""
        near = distances(x, self.centre) <= self.radius * (1 + SLACK)
        offsets = np.abs(x @ self.direction - self.centre @ self.direction)
        return np.asarray(near & (offsets <= self.width * (1 + SLACK) + SLACK * self.radius))

    def lowest(self, w: np.ndarray) -> np.ndarray:
        """The point (d,) with the smallest w . x, in closed form."""
        v, r = self.direction, self.radius
        along = float(w @ v)
        across = w - along * v
        length = float(np.linalg.norm(across))
        norm = math.hypot(along, length)
        if norm == 0:
            return self.centre.copy()
        t = float(np.clip(-along / norm * r, -self.width, self.width))
        if length <= 1e-12 * norm:
            return np.asarray(self.centre + t * v)
        return np.asarray(self.centre + t * v - math.sqrt(max(r * r - t * t, 0.0)) / length * across)

    def lowest_counts(self, w: np.ndarray) -> tuple[np.ndarray, float]:
        """The best integer point (d,) >= 0 that was found, and a lower bound on w . x over all such points.

        With the multipliers 1 / (2 c) for the squared sphere and nu for the slab, the Lagrangian separates into
        coordinates, and its minimiser is max(0, round(centre - c (w + nu direction))). The search bisects nu, and for each
        nu it bisects c. It keeps the smallest value of all feasible points, and the highest dual value of all multipliers.

        Raises:
            DataError: there is no integer point near the centre.
        """
        best = self._inner()
        value, bound = float(w @ best), -math.inf
        low, high = 0.0, 0.0
        for step in range(30):
            nu = (low + high) / 2
            x, dual = self._on_sphere(w, nu)
            bound = max(bound, dual)
            offset = float(self.direction @ (x - self.centre))
            if abs(offset) <= self.width and float(w @ x) < value and self.contains(x[None])[0]:
                best, value = x, float(w @ x)
            if step == 0:  # the offset falls as nu rises; if it is feasible at nu = 0, the slab does not bind
                if abs(offset) <= self.width:
                    break
                side = math.copysign(1.0, offset)
                far = side * 10 * float(np.abs(w).max() / np.abs(self.direction).max())
                low, high = min(0.0, far), max(0.0, far)
            elif offset > side * self.width:
                low = nu
            else:
                high = nu
        return best, min(
            max(bound, float(w @ self.lowest(w))), value
        )  # the bound over all real points holds for integers, too

    @property
    def _rest(self) -> np.ndarray:
        """The integer point nearest to the centre."""
        return np.asarray(np.maximum(np.rint(self.centre), 0.0))

    def _inner(self) -> np.ndarray:
        """A feasible integer point near the centre, moved along the direction of the slab if necessary."""
        x, low, high = self._rest, 0.0, 2 * self.radius + 1
        side = math.copysign(1.0, float(self.direction @ (x - self.centre)))
        for _ in range(60):
            if abs(float(self.direction @ (x - self.centre))) <= self.width:
                break
            middle = (low + high) / 2
            x = np.maximum(np.rint(self.centre - side * middle * self.direction), 0.0)
            low, high = (middle, high) if side * float(self.direction @ (x - self.centre)) > 0 else (low, middle)
        if not self.contains(x[None])[0]:
            raise DataError(
                "an integer row inside the sphere and the slab", "no such row near the centre", "raise the percentile"
            )
        return np.asarray(x)

    def _on_sphere(self, w: np.ndarray, nu: float) -> tuple[np.ndarray, float]:
        """The minimiser of the Lagrangian at the largest c for which it is inside the sphere, and the dual value."""
        q, mu, rest, squared = w + nu * self.direction, self.centre, self._rest, self.radius**2
        base = float(((rest - mu) ** 2).sum())
        norm = float(np.linalg.norm(q))
        if base > squared or norm == 0:
            return rest, -math.inf if norm else float(w @ rest) - abs(nu) * self.width * bool(nu)
        low, high = 0.0, self.radius / norm
        while True:
            moved = np.maximum(np.rint(mu - high * q), 0.0)
            active = np.flatnonzero(moved != rest)  # the only coordinates that a smaller c can move
            if float(((moved - mu) ** 2).sum()) > squared or high > 1e9 * self.radius / norm:
                break
            low, high = high, 2 * high
        m, g, fixed = mu[active], q[active], base - float(((rest[active] - mu[active]) ** 2).sum())
        for _ in range(40):
            middle = (low + high) / 2
            off = np.maximum(np.rint(m - middle * g), 0.0) - m
            low, high = (middle, high) if fixed + float(off @ off) <= squared else (low, middle)
            if high - low <= 1e-7 * high:
                break
        x = np.maximum(np.rint(mu - low * q), 0.0)
        return x, max(self._dual(w, nu, c) for c in (low, high) if c > 0)

    def _dual(self, w: np.ndarray, nu: float, c: float) -> float:
        off = np.maximum(np.rint(self.centre - c * (w + nu * self.direction)), 0.0) - self.centre
        sphere = (float(off @ off) - self.radius**2) / (2 * c)
        slab = nu * float(self.direction @ off) - abs(nu) * self.width if nu else 0.0
        return float(w @ (off + self.centre)) + sphere + slab

    def enlarged(self, share: float) -> FeasibleSet:
        """A set of all rows that can pass after poison, in number `share` times the class, has moved the centroid.

        If all poison passes, its mean m satisfies ||m - c'|| <= r for the moved centroid c', and c' - c is `share` times
        m - c'. So c' moves by at most share * r, and each row is within (1 + share) r of c. The slab, whose direction
        changes with the centroids, is omitted, which can only enlarge the set.
        """
        return replace(self, radius=self.radius * (1 + share), direction=np.zeros_like(self.direction), width=math.inf)


def distances(x: Rows, centre: np.ndarray) -> np.ndarray:
    """Euclidean distances (m,) of rows, dense or CSR, from one point."""
    if isinstance(x, np.ndarray):
        return np.asarray(np.linalg.norm(x - centre, axis=1))
    squares = x.multiply(x).sum(axis=1) - 2 * (x @ centre) + centre @ centre
    return np.asarray(np.sqrt(np.maximum(squares, 0)))


def centroid(x: Rows) -> np.ndarray:
    """Mean (d,) of the rows, in float64."""
    return np.asarray(x.sum(axis=0, dtype=np.float64) / x.shape[0])


def feasible_sets(
    data: Dataset, percentile: float = 70.0, slab_percentile: float | None = None, slab: bool = True
) -> tuple[FeasibleSet, FeasibleSet]:
    """The sets of class 0 and class 1. The given percentage of a class's rows passes the sphere, and also the slab.

    Raises:
        DataError: not two classes with rows, or equal centroids, which give the slab no direction.
    """
    if data.num_classes != 2 or len(np.unique(data.y)) != 2:
        raise DataError(
            "rows of two classes", f"{len(np.unique(data.y))} of {data.num_classes}", "select two `classes`"
        )
    parts = [data.flat[np.flatnonzero(data.y == k)] for k in (0, 1)]
    centres = [centroid(part) for part in parts]
    between = centres[1] - centres[0]
    length = float(np.linalg.norm(between))
    if slab and length == 0:
        raise DataError("two classes with different centroids", "equal centroids", "use the sphere alone")
    direction = between / length if slab else np.zeros_like(between)

    def of(part: Rows, centre: np.ndarray) -> FeasibleSet:
        radius = float(np.percentile(distances(part, centre), percentile))
        offsets = np.abs(part @ direction - centre @ direction)
        width = float(np.percentile(offsets, percentile if slab_percentile is None else slab_percentile))
        return FeasibleSet(centre, direction, radius, width if slab else math.inf)

    return of(parts[0], centres[0]), of(parts[1], centres[1])
