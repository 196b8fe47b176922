"""The inputs that a targeted attack aims at. The judge draws them from the test rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from antivenom.core.errors import DataError
from antivenom.core.protocols import Wanted
from antivenom.core.streams import Streams
from antivenom.core.wanted import Rows
from antivenom.data import Dataset


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
    labels = np.asarray(wanted(test.y, test.num_classes))
    eligible = np.flatnonzero(labels >= 0)
    if isinstance(wanted, Rows):
        rows = np.asarray(wanted.indices)
    else:
        if len(eligible) < number:
            raise DataError(f"{number} test rows to target", f"{len(eligible)}", "lower num_targets or change wanted")
        rows = streams.numpy("targets").permutation(eligible)[:number]
    return Targets(test[rows], labels[rows]), test[np.setdiff1d(np.arange(len(test)), rows)]
