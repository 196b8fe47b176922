"""Repair by training on clean rows that carry a recovered trigger and their true labels."""

from __future__ import annotations

import numpy as np
import torch

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext, Model, Trigger
from antivenom.core.registry import mitigation
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.defences.acceptance.neural_cleanse import NeuralCleanse
from antivenom.defences.networks import network_of, rows_of
from antivenom.defences.repair.loops import settings
from antivenom.defences.repair.tuning import check_tuning
from antivenom.models.wrappers import TorchModel, loop


@mitigation(access=tuple(Access), goal=Goal.BACKDOOR, cite="Wang et al. 2019, S&P")
class TriggerUnlearning:
    """Recovers the most suspicious triggers by inversion and trains the model to ignore them.

    The triggers of the `classes` classes with the smallest masks are put on a share of the clean rows, which keep their
    true labels, and the model is tuned on all clean rows. A class that no mask reaches counts as the least suspicious.
    Nothing about the true trigger is known or used. It needs gradients and a few hundred clean rows.

    Weakness: it removes only triggers that the inversion can express and finds; see `NeuralCleanse` for those it misses
    and for the attacker who evades it.

    Fields:
        classes: number of classes whose triggers are unlearnt.
        share: share of the clean rows that carry a trigger, 0 to 1.
        epochs: passes over the clean rows.
        learning_rate: step size at the start; it falls along half a cosine wave.
        steps: number of steps of the inversion.
        rows: number of clean rows that the inversion uses.

    Reference: Wang, Yao, Shan, Li, Viswanath, Zheng and Zhao 2019, "Neural Cleanse: Identifying and Mitigating Backdoor
    Attacks in Neural Networks", IEEE S&P, section VI.
    """

    classes: int = 1
    share: float = 0.2
    epochs: int = 10
    learning_rate: float = 0.01
    steps: int = 100
    rows: int = 32

    def __post_init__(self) -> None:
        check_tuning(self, self.epochs, self.learning_rate)
        if min(self.classes, self.steps, self.rows) < 1 or not 0 <= self.share <= 1:
            raise PluginError(
                "TriggerUnlearning.classes, steps and rows >= 1, and share from 0 to 1",
                f"{self.classes}, {self.steps}, {self.rows} and {self.share}",
            )

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> TorchModel:
        network = network_of(model, self)
        x, y = rows_of(network, clean, self, least=2)
        triggers = self.triggers(network, clean)
        marked = np.array(clean.inputs, dtype=np.float32)
        order = context.streams.numpy("marked").permutation(len(y))[: round(self.share * len(y))]
        for i, trigger in enumerate(triggers):
            own = order[i :: len(triggers)]
            marked[own] = trigger(marked[own])
        training = settings(len(y), self.epochs, self.learning_rate)
        return loop(network, torch.as_tensor(marked, device=x.device), y, training, context.streams.child("tuning"))

    def triggers(self, model: Model, clean: Dataset) -> list[Trigger]:
        """The recovered triggers of the most suspicious classes; none of a class that was not reached."""
        found = NeuralCleanse(self.steps, self.rows).inverted(model, clean)
        order = np.argsort(np.where(found.reached, found.sizes, np.inf), kind="stable")[: self.classes]
        return [found.triggers[i] for i in order if found.reached[i]]
