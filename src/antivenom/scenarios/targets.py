"""The inputs that a targeted attack aims at, which the judge draws from the test rows, and their wanted classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import Wanted
from antivenom.core.streams import Streams
from antivenom.core.wanted import FromTo, Rows
from antivenom.data import Dataset
from antivenom.scenarios.copies import call_plugin


@dataclass(frozen=True, eq=False)
class Targets:
    """Test rows that the attacker wants misclassified without changing them.

    Fields:
        rows: the inputs (r, ...) and their true classes.
        labels: (r,) the class that the attacker wants for each.
    """

    rows: Dataset
    labels: np.ndarray

    @property
    def wanted(self) -> Rows:
        """The same as a `Rows` value whose row numbers count within `rows`, which is what the attacker gets."""
        return Rows(tuple(range(len(self.labels))), tuple(int(label) for label in self.labels))


def classes_wanted(wanted: Wanted, y: np.ndarray, num_classes: int) -> np.ndarray:
    """(m,) the class that the attacker wants for rows of true classes y (m,); -1 for rows without one.

    Raises:
        PluginError: `wanted` returned another shape or type, or a class that does not exist.
    """
    found, c = np.asarray(call_plugin(wanted, y, num_classes)), num_classes
    if (
        found.shape != y.shape
        or found.dtype.kind not in "iu"
        or (found.size and not -1 <= found.min() <= found.max() < c)
    ):
        name = type(wanted).__name__
        raise PluginError(f"{len(y)} classes from -1 to {c - 1} from {name}", f"{found.dtype} {found.shape}")
    return found


def draw_targets(test: Dataset, wanted: Wanted, number: int, streams: Streams) -> tuple[Targets, Dataset]:
    """Draw targets among the test rows: (targets, the other test rows).

    Args:
        test: the test rows.
        wanted: the classes that the attacker wants. `Rows` names the targets; otherwise they are drawn at random among the
            rows for which a class is wanted.
        number: number of targets to draw.
        streams: the random streams of the trial.

    Raises:
        DataError: there are fewer such rows.
    """
    labels = classes_wanted(wanted, test.y, test.num_classes)
    if isinstance(wanted, Rows):
        return _parted(test, np.asarray(wanted.indices), labels)
    eligible = _at_least(number, np.flatnonzero(labels >= 0))
    return _parted(test, streams.numpy("targets").permutation(eligible)[:number], labels)


def drawn_among(
    test: Dataset, wanted: Wanted | None, number: int, streams: Streams, right: np.ndarray, tail_of: Dataset | None
) -> tuple[Targets, Dataset]:
    """Like `draw_targets`, but the targets are drawn among the rows where `right` (n,) is True, unless `Rows` names them.

    Args:
        test: the test rows.
        wanted: the classes that the attacker wants; None gives each target a random wrong class.
        number: number of targets to draw.
        streams: the random streams of the trial.
        right: (n,) bool, the rows that may become targets.
        tail_of: clean rows, or None. With them, the targets are not drawn at random: they are the rows of the source class
            that are furthest from the mean of this class in the clean rows.

    Raises:
        DataError: there are fewer such rows.
    """
    if isinstance(wanted, Rows):
        return draw_targets(test, wanted, number, streams)
    rng, c = streams.numpy("targets"), test.num_classes
    labels = test.y if wanted is None else classes_wanted(wanted, test.y, c)
    eligible = _at_least(number, np.flatnonzero(right & (labels >= 0)))
    rows = rng.choice(eligible, number, replace=False)
    if wanted is None:
        labels = labels.copy()
        labels[rows] = (test.y[rows] + rng.integers(1, c, size=number)) % c
    if tail_of is not None:
        outermost = tail(test, tail_of, wanted)
        rows = outermost[np.isin(outermost, eligible)][:number]
    return _parted(test, rows, labels)


def tail(rows: Dataset, clean: Dataset, wanted: Wanted | None) -> np.ndarray:
    """Numbers of the rows of the source class, furthest from its mean in the clean rows first."""
    source = wanted.source if isinstance(wanted, FromTo) else -1
    found = np.flatnonzero(rows.y == source)
    if not len(found):
        return found
    apart = np.linalg.norm(rows.flat[found] - clean.flat[clean.y == source].mean(axis=0), axis=1)
    return found[np.argsort(-apart, kind="stable")]


def _at_least(number: int, eligible: np.ndarray) -> np.ndarray:
    if len(eligible) < number:
        raise DataError(f"{number} test rows to target", f"{len(eligible)}", "lower num_targets or change wanted")
    return eligible


def _parted(test: Dataset, rows: np.ndarray, labels: np.ndarray) -> tuple[Targets, Dataset]:
    return Targets(test[rows], labels[rows]), test[np.setdiff1d(np.arange(len(test)), rows)]
