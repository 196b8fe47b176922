"""The call signatures of the central, transfer and acceptance pipelines. Rows are (n, ...); c is the number of classes."""

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
    """Puts a pattern into inputs, such as a patch into images or a word into texts.

    Three attributes are optional. `on_tensor(x) -> x` computes the same numbers on a torch tensor, differentiably and on its
    device, for attacks that need gradients. `where` is the modality that the trigger is made for: "image", "table",
    "text" or "audio". `frames` is True for a trigger that takes a DataFrame.
    """

    def __call__(self, x: Rows, /) -> Rows:
        """The inputs (m, ...) with the trigger, as new rows of the same form: an array, token rows, CSR or a DataFrame."""
        ...


class Wanted(Protocol):
    """The class that an integrity attacker wants for each input; `antivenom.core.wanted` holds the implementations."""

    def __call__(self, y: np.ndarray, num_classes: int, /) -> np.ndarray:
        """(m,) wanted classes of inputs whose true classes are y (m,); -1 where the attacker wants nothing."""
        ...


@dataclass(frozen=True)
class AttackContext:
    """What an attack on the central or transfer pipeline gets besides its first arguments.

    Fields:
        streams: the attacker's randomness, sealed: no other side's numbers can be derived from it.
        threat: what the attacker is allowed to do.
        wanted: the classes that the attacker wants (backdoor and targeted goals), or None.
        trigger: the trigger that will be shown at test time (backdoor goal), or None.
        targets: the inputs that should be misclassified, with their true labels (targeted goal), or None. Call `wanted`
            with the labels of these rows.
        rows: rows with true labels that the attacker holds besides the training rows, or None. They include test rows only
            if the scenario file grants it.
    """

    streams: Streams
    threat: ThreatModel
    wanted: Wanted | None = None
    trigger: Trigger | None = None
    targets: Dataset | None = None
    rows: Dataset | None = None


@dataclass(frozen=True)
class DefenceContext:
    """What a defence on the central, transfer or acceptance pipeline gets besides its first arguments.

    Fields:
        streams: the defender's randomness, sealed: no other side's numbers can be derived from it.
        fit: trains the pipeline's model on given rows, for defences that inspect a model. In a scenario it takes a name as
            second argument: different names give different initial weights and orders of the rows. Its third argument
            replaces the loss of torch networks.
        refit: (model, rows, epochs) -> the model, trained further.
        trusted: clean rows that were held out before any attack, or None if the user has none.
    """

    streams: Streams
    fit: Callable[..., Model]
    refit: Callable[[Model, Dataset, int], Model]
    trusted: Dataset | None = None


class DataAttack(Protocol):
    """Poisons training rows."""

    def __call__(self, data: Dataset, context: AttackContext, /) -> Poison:
        """The poisoned training rows, made of the clean ones (n, ...)."""
        ...


class ModelAttack(Protocol):
    """Poisons a pretrained model before it is handed out."""

    def __call__(self, model: Model, data: Dataset, context: AttackContext, /) -> tuple[Model, Poison]:
        """The pretrained model with the attacker's changes, and the provider's rows on which it was changed."""
        ...


class LogicAttack(Protocol):
    """Corrupts the training code."""

    def __call__(self, loss: Loss, context: AttackContext, /) -> Loss:
        """The loss that the corrupted training code minimises instead of the honest one.

        An attack that is registered with `learns_trigger` returns an object with a second method, `learned() -> Trigger`. The
        judge calls it after the training.
        """
        ...


class Evasion(Protocol):
    """Changes inputs at test time, without access to training."""

    def __call__(self, model: Model, data: Dataset, context: AttackContext, /) -> Rows:
        """The test rows (m, ...) of `data` as an evader would send them to the finished model; true labels stay."""
        ...


class Sanitizer(Protocol):
    """Finds poisoned rows before training."""

    def __call__(self, data: Dataset, context: DefenceContext, /) -> Verdict:
        """A verdict over the n rows; flagged rows are left out of training."""
        ...


class RobustLearner(Protocol):
    """Replaces the training of the pipeline's model."""

    def __call__(self, data: Dataset, context: DefenceContext, /) -> Model:
        """A model fitted to rows that may be poisoned.

        A learner with a guarantee returns a model with the method `certified(x) -> (m,)`: for each input, how many
        poisoned rows cannot change its prediction.
        """
        ...


class ModelDetector(Protocol):
    """Finds out whether a finished model was poisoned."""

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext, /) -> ModelVerdict:
        """A verdict on the whole model and, if the method tells them apart, on each class as the target of a backdoor.

        Args:
            model: the model to judge.
            clean: rows without poison that the user holds.
        """
        ...


class Mitigation(Protocol):
    """Repairs a model that may be poisoned."""

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext, /) -> Model:
        """A repaired copy of the model; `clean` are rows without poison that the user holds."""
        ...


class InputFilter(Protocol):
    """A gate after its calibration."""

    def __call__(self, x: Rows, /) -> Verdict:
        """A verdict over the inputs x (m, ...); flagged inputs get no answer."""
        ...


class Gate(Protocol):
    """Makes a filter that refuses suspicious inputs at prediction time."""

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext, /) -> InputFilter:
        """A filter for inputs at prediction time, calibrated on the clean rows alone, never on triggered ones."""
        ...
