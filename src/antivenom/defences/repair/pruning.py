"""Mitigations that cut units out of a network."""

from __future__ import annotations

import numpy as np
from torch import nn

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import mitigation
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.models.wrappers import TorchModel


@mitigation(access=tuple(Access), goal=Goal.BACKDOOR, cite="Liu et al. 2018, arXiv:1805.12185")
class FinePruning:
    """Cuts the units of the last hidden layer that clean rows leave dormant, then trains further on those rows.

    A backdoor likes units that clean inputs do not use. Weakness: it may share units with the honest task (an attacker
    who prunes first makes sure of it), few clean rows retrain little, and a small network has no dormant units.

    Fields:
        max_drop: accuracy on the clean rows that pruning may cost before it stops, 0 to 1.
        epochs: of further training on the clean rows.

    Reference: Liu, Dolan-Gavitt and Garg 2018, "Fine-Pruning", arXiv:1805.12185.
    """

    max_drop: float = 0.04
    epochs: int = 20

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 1 or self.epochs < 0:
            raise PluginError("FinePruning.max_drop from 0 to 1 and epochs >= 0", f"{self.max_drop} and {self.epochs}")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> Model:
        if not isinstance(model, TorchModel):
            raise NotApplicable("a torch model for FinePruning", type(model).__name__, "its units cannot be pruned")
        units = self._dormant(model, clean)
        tuned = context.refit(without(model, units), clean, self.epochs)
        if not isinstance(tuned, TorchModel):
            raise NotApplicable("a torch model after further training", type(tuned).__name__, "use a torch model")
        return without(tuned, units)  # training has no mask, and a pruned unit must not come back

    def _dormant(self, model: TorchModel, clean: Dataset) -> np.ndarray:
        """The units to cut: the least active first, as long as accuracy on the clean rows allows."""
        order = np.argsort(model.features(clean.x).mean(axis=0), kind="stable")
        floor = (model.predict(clean.x) == clean.y).mean() - self.max_drop - 1e-9
        for cut in range(1, len(order) + 1):
            if (without(model, order[:cut]).predict(clean.x) == clean.y).mean() < floor:
                return order[: cut - 1]
        return order


def without(model: TorchModel, units: np.ndarray) -> TorchModel:
    """The model with those inputs of its last dense layer cut off."""
    last = [name for name, module in model.network.module.named_modules() if isinstance(module, nn.Linear)][-1]
    vector = model.vector.clone()
    model.network.parameters(vector)[f"{last}.weight" if last else "weight"][:, units] = 0
    return model.with_vector(vector)
