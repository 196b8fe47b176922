"""The call shapes of the central and transfer arrows. Rows are (n, ...); c is the number of classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.verdict import ModelVerdict, Verdict

if TYPE_CHECKING:
    from antivenom.core.protocols.models import Model
    from antivenom.data import Dataset, Poison, Rows
    from antivenom.models.training import Loss


class Trigger(Protocol):
    """What is put into an input.

    What else the engine uses where a trigger has it: `on_tensor(x) -> x`, the same numbers on a torch tensor,
    differentiable and on its device; and `where`, the modality it is made for ("image", "table", "text" or "audio").
    """

    def __call__(self, x: Rows, /) -> Rows:
        """The inputs (m, ...) with the trigger in them; new rows of the same form: an array, token rows or CSR."""
        ...


class Wanted(Protocol):
    """What an attacker of integrity wants; the values are in `antivenom.core.wanted`."""

    def __call__(self, y: np.ndarray, num_classes: int, /) -> np.ndarray:
        """(m,) the class wanted of inputs whose true classes are y (m,); -1 where nothing is wanted."""
        ...


@dataclass(frozen=True)
class AttackContext:
    """What every attacker on the central and transfer arrows gets.

    Fields:
        streams: the attacker's randomness, sealed.
        threat: what is granted.
        wanted: the classes that the attacker wants (backdoor and targeted goals), or None.
        trigger: what will be shown at test time (backdoor goal), or None.
        targets: the inputs that should be misclassified, with their true labels (targeted goal), or None; `wanted` is then
            over these rows.
        rows: rows with true labels that the attacker holds besides the training rows, or None; test rows are among them
            only if the scenario says so.
    """

    streams: Streams
    threat: ThreatModel
    wanted: Wanted | None = None
    trigger: Trigger | None = None
    targets: Dataset | None = None
    rows: Dataset | None = None


@dataclass(frozen=True)
class DefenceContext:
    """What every central defence gets.

    Fields:
        streams: the defender's randomness, sealed.
        fit: trains the pipeline's own model on given rows, for defences that look at a model.
        refit: trains a given model further on given rows, for that many epochs.
        trusted: rows held out before any attack, or None if the user has none.
    """

    streams: Streams
    fit: Callable[[Dataset], Model]
    refit: Callable[[Model, Dataset, int], Model]
    trusted: Dataset | None = None


class DataAttack(Protocol):
    def __call__(self, data: Dataset, context: AttackContext, /) -> Poison: ...


class ModelAttack(Protocol):
    def __call__(self, model: Model, data: Dataset, context: AttackContext, /) -> tuple[Model, Poison]: ...


class LogicAttack(Protocol):
    def __call__(self, loss: Loss, context: AttackContext, /) -> Loss:
        """The loss that the corrupted training code computes instead of the honest one."""
        ...


class Evasion(Protocol):
    def __call__(self, model: Model, data: Dataset, context: AttackContext, /) -> Rows:
        """The rows (m, ...) of `data` as an evader would send them; their true labels stay."""
        ...


class Sanitizer(Protocol):
    def __call__(self, data: Dataset, context: DefenceContext, /) -> Verdict:
        """Suspicion over rows; the flagged ones are left out of training."""
        ...


class RobustLearner(Protocol):
    def __call__(self, data: Dataset, context: DefenceContext, /) -> Model:
        """A model from rows that may be poisoned; with `certified(x) -> (m,)` radii if it can prove something."""
        ...


class ModelDetector(Protocol):
    def __call__(self, model: Model, clean: Dataset, context: DefenceContext, /) -> ModelVerdict:
        """Suspicion of the whole model and, where the method has it, over the classes a backdoor turns inputs into."""
        ...


class Mitigation(Protocol):
    def __call__(self, model: Model, clean: Dataset, context: DefenceContext, /) -> Model: ...


class InputFilter(Protocol):
    """A gate after calibration."""

    def __call__(self, x: Rows, /) -> Verdict:
        """Suspicion over the inputs x (m, ...); the flagged ones are refused an answer."""
        ...


class Gate(Protocol):
    def __call__(self, model: Model, clean: Dataset, context: DefenceContext, /) -> InputFilter:
        """A filter for inputs at prediction time. Its threshold rests on clean rows alone; it never sees triggered ones."""
        ...
