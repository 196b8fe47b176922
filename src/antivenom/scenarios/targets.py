"""The inputs that a targeted attack is about, which the judge draws from the test rows, and the classes wanted of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import Wanted
from antivenom.core.streams import Streams
from antivenom.core.wanted import FromTo, Rows
from antivenom.data import Dataset
from antivenom.scenarios.copies import called


@dataclass(frozen=True, eq=False)
class Targets:
    """Test rows that the attacker wants misclassified; their inputs stay as they are.

    Fields:
        rows: the inputs (r, ...) and their true classes.
        labels: (r,) the class wanted of each.
    """

    rows: Dataset
    labels: np.ndarray

    @property
    def wanted(self) -> Rows:
        """The same over `rows`, as the attacker gets it."""
        return Rows(tuple(range(len(self.labels))), tuple(int(label) for label in self.labels))


def classes_wanted(wanted: Wanted, y: np.ndarray, num_classes: int) -> np.ndarray:
    """(m,) the class wanted of rows of true classes y (m,), -1 where nothing is wanted.

    Raises:
        PluginError: `wanted` returns something else.
    """
    found, c = np.asarray(called(wanted, y, num_classes)), num_classes
    if (
        found.shape != y.shape
        or found.dtype.kind not in "iu"
        or (found.size and not -1 <= found.min() <= found.max() < c)
    ):
        name = type(wanted).__name__
        raise PluginError(f"{len(y)} classes from -1 to {c - 1} from {name}", f"{found.dtype} {found.shape}")
    return found


def drawn(test: Dataset, wanted: Wanted, number: int, streams: Streams) -> tuple[Targets, Dataset]:
    """(targets, the other test rows): that many rows of which something is wanted; all the rows that `Rows` names.

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
    """(targets, the other test rows): as `drawn`, but only rows that are `right` (n,); `Rows` are taken as they are.

    Without `wanted` each target gets a wrong class of its own, drawn at random. With `tail_of` the targets are not drawn:
    they are the rows of the source class that lie furthest from its mean in those clean rows.

    Raises:
        DataError: there are fewer such rows.
    """
    if isinstance(wanted, Rows):
        return drawn(test, wanted, number, streams)
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
    """Numbers of the rows of the source class, the one furthest from the class's mean in the clean rows first."""
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
