"""Mitigations that prune units of a network."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import mitigation
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.models.layers import Channel
from antivenom.models.wrappers import TorchModel


@mitigation(access=tuple(Access), goal=Goal.BACKDOOR, cite="Liu et al. 2018, arXiv:1805.12185")
class FinePruning:
    """Prunes units of the last hidden layer that are inactive on clean rows, then fine-tunes on these rows.

    Backdoors often use units that are inactive on clean inputs. Weakness: a backdoor can share units with the honest task,
    and an attacker who prunes before training ensures this. A few clean rows fine-tune little, and a small network has no
    inactive units.

    Fields:
        max_drop: pruning stops before the accuracy on the clean rows falls by more than this, 0 to 1.
        epochs: epochs of fine-tuning on the clean rows.

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
        if not model.network.hidden():
            raise NotApplicable("a network with a hidden layer", "none whose units can be pruned", "choose MLP")
        tuned = context.refit(pruned(model, self._dormant(model, clean)), clean, self.epochs)
        if not isinstance(tuned, TorchModel):
            raise NotApplicable("a torch model after further training", type(tuned).__name__, "use a torch model")
        return tuned

    def _dormant(self, model: TorchModel, clean: Dataset) -> list[Channel]:
        """The units to prune: the least active ones, as many as `max_drop` allows."""
        last = model.network.hidden()[-1].name
        order = [Channel(last, int(i)) for i in np.argsort(activity(model, clean, last), kind="stable")]
        floor = (model.predict(clean.x) == clean.y).mean() - self.max_drop - 1e-9
        for cut in range(1, len(order) + 1):
            if (pruned(model, order[:cut]).predict(clean.x) == clean.y).mean() < floor:
                return order[: cut - 1]
        return order


def activity(model: TorchModel, clean: Dataset, name: str) -> np.ndarray:
    """(channels,) mean positive part of each channel's output on the clean rows, after the batch norm if there is one."""
    layer = next(layer for layer in model.network.hidden() if layer.name == name)
    given = model.features(clean.x, layer.normalised_by or name).reshape(len(clean), *layer.shape)
    axis = 0 if layer.kind.startswith("Conv") else len(layer.shape) - 1  # of the channels in one row's output
    others = tuple(i for i in range(given.ndim) if i != axis + 1)
    return np.asarray(np.maximum(given, 0).mean(axis=others))


def pruned(model: TorchModel, channels: Iterable[Channel]) -> TorchModel:
    """The model without these channels. Further training keeps them at 0."""
    return model.scaled(dict.fromkeys(channels, 0.0))
