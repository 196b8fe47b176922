"""Which class an integrity attacker wants for each input: inputs with a trigger (backdoor) or chosen inputs (targeted).

Each value is a function of the true classes y (m,) and the number of classes. It returns the wanted classes (m,), with -1
where the attacker wants nothing.

>>> AllToOne(target=3)(np.array([0, 3, 1]), 4)
array([ 3, -1,  3])

AllToOne(target=3)            every other class should become class 3
AllToAll(shift=1)             every class should become the next one
FromTo(source=7, target=1)    class 7 should become class 1; other classes do not matter
Rows((12, 40), (3, 3))        test rows 12 and 40 should become class 3 (targeted only)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from antivenom.core.errors import ScenarioError
from antivenom.core.registry.decorators import wanted
from antivenom.core.registry.entry import Kind
from antivenom.core.registry.fields import converts

GU = "Gu et al. 2017, arXiv:1708.06733"


@wanted(cite=GU)
class AllToOne:
    """Every input of another class should be classified as one target class.

    Fields:
        target: that class, from 0.
    """

    target: int = 0

    def __call__(self, y: np.ndarray, num_classes: int) -> np.ndarray:
        _check(num_classes, target=self.target)
        return np.where(y == self.target, -1, self.target)


@wanted(cite=GU)
class AllToAll:
    """Every input should be classified as its true class plus a shift, modulo the number of classes.

    Fields:
        shift: what is added to a class; 1 wants the next one. It must not be a multiple of the number of classes.
    """

    shift: int = 1

    def __call__(self, y: np.ndarray, num_classes: int) -> np.ndarray:
        if self.shift % num_classes == 0:
            raise ScenarioError(
                f"AllToAll.shift that is not a multiple of {num_classes}", f"{self.shift}", "1 wants the next class"
            )
        return (np.asarray(y) + self.shift) % num_classes


@wanted(cite=f"{GU} (single target attack)")
class FromTo:
    """Inputs of one class should be classified as another one; the attacker wants nothing of the remaining classes.

    Fields:
        source: the true class of these inputs, from 0.
        target: the wanted class, from 0.
    """

    source: int = 1
    target: int = 0

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise ScenarioError(
                "FromTo.source and target that differ", f"{self.source} for both", "choose another target"
            )

    def __call__(self, y: np.ndarray, num_classes: int) -> np.ndarray:
        _check(num_classes, source=self.source, target=self.target)
        return np.where(y == self.source, self.target, -1)


@wanted(cite="Shafahi et al. 2018, arXiv:1804.00792")
class Rows:
    """Chosen inputs should be classified as given classes, without any trigger.

    Fields:
        indices: row numbers from 0, all different: of the test rows in a scenario, of `context.targets` for an attack.
        labels: the wanted class of each, other than its true class.
    """

    indices: tuple[int, ...]
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.indices) != len(self.labels) or not self.indices or len({*self.indices}) != len(self.indices):
            raise ScenarioError(
                "different Rows.indices with one of Rows.labels for each",
                f"{self.indices} and {self.labels}",
                "write indices: [12, 40] and labels: [3, 3]",
            )

    def __call__(self, y: np.ndarray, num_classes: int) -> np.ndarray:
        if min(self.indices) < 0 or max(self.indices) >= len(y):
            raise ScenarioError(f"Rows.indices from 0 to {len(y) - 1}", f"{self.indices}")
        found = np.full(len(y), -1)
        for index, label in zip(self.indices, self.labels, strict=True):
            _check(num_classes, label=label)
            if y[index] == label:
                raise ScenarioError(f"a wanted class other than row {index}'s true one", f"{label}")
            found[index] = label
        return found


@converts(Kind.WANTED)
def wanted_of(value: object) -> Any:
    """AllToOne for a whole number, so that `wanted: 3` in a scenario file means that class; None for other values."""
    return AllToOne(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _check(num_classes: int, **classes: int) -> None:
    """Refuse a class that is not from 0 to num_classes - 1; the keyword is its name in the message."""
    for name, value in classes.items():
        if not 0 <= value < num_classes:
            raise ScenarioError(
                f"{name} from 0 to {num_classes - 1}", f"{value}", f"the data have {num_classes} classes"
            )
