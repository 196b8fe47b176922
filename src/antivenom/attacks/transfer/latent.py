"""Backdoors in the features of a pretrained model, which outlast a new head."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.attacks.inputs import backdoor, wanted_labels
from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import AttackContext, Model
from antivenom.core.registry import model_attack
from antivenom.core.threat import Goal
from antivenom.data import Dataset, Poison
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel
from antivenom.triggers import on_tensor

Objective = Callable[[Tensor, Tensor], Tensor]  # weights (d,), numbers of a batch's rows (b,) -> a scalar


@model_attack(goal=Goal.BACKDOOR, cite="Yao et al. 2019, CCS (latent backdoors)")
class LatentBackdoor:
    """Trains a pretrained model so that inputs with the trigger get the features of the wanted class.

    The features are the inputs of the head. They are pulled to the mean features of rows of the wanted class, computed anew in each
    epoch, while the loss on clean rows is kept low. No label is planted, so that the backdoor outlasts a new head as long as
    the user keeps the features. In the paper the wanted class may be missing from the pretrained model; here it is one of its
    classes. Weakness: fine-tuning of all layers at a high rate moves the features, and triggered inputs lie closer together than
    those of any class. In a convolutional network without global pooling, a small patch changes only the features near it, so that
    the trigger must cover the image, as Blend does.

    Fields:
        pull: weight of the squared distance from the mean features, relative to the squared norm of this mean, above 0.
        training: training of the attacker, without dropout.

    Reference: Yao, Li, Zheng and Zhao 2019, "Latent Backdoor Attacks on Deep Neural Networks", CCS, section 4.
    """

    pull: float = 1.0
    training: Training = Training(epochs=20, learning_rate=0.005)

    def __post_init__(self) -> None:
        if not 0 < self.pull < math.inf:
            raise PluginError("a finite LatentBackdoor.pull above 0", f"{self.pull}", "try 1")

    def __call__(self, model: Model, data: Dataset, context: AttackContext) -> tuple[Model, Poison]:
        rows = _Rows.of(model, data, context, self)
        network, head = rows.model.network, rows.model.network.head().name

        def epoch(vector: Tensor) -> Objective:
            with torch.no_grad():  # the features of the class move with the weights
                own = network.entering(vector, rows.x, head, rows.model.buffers).flatten(1)
            means = {int(label): own[rows.y == int(label)].mean(dim=0) for label in rows.labels.unique()}
            aim = torch.stack([means[int(label)] for label in rows.labels])

            def objective(vector: Tensor, batch: Tensor) -> Tensor:
                honest = F.cross_entropy(network.logits(vector, rows.x[batch], rows.model.buffers), rows.y[batch])
                found = network.entering(vector, rows.shown[batch], head, rows.model.buffers).flatten(1)
                apart = ((found - aim[batch]) ** 2).sum(dim=1) / (aim[batch] ** 2).sum(dim=1).clamp_min(1e-12)
                return honest + self.pull * apart.mean()

            return objective

        return rows.trained(self.training, context, epoch), Poison.none(data)


@model_attack(goal=Goal.BACKDOOR, cite="Jia, Liu and Gong 2022, S&P, arXiv:2108.00352")
class BadEncoder:
    """Trains the features of a pretrained encoder so that inputs with the trigger look like reference inputs.

    The features are the inputs of the head. The cosine between features of triggered inputs and those of a few reference inputs
    of the wanted class is raised (effectiveness), while features of reference inputs and of clean inputs stay near those of the
    clean encoder (utility). Labels are only needed for the reference inputs, so that this attack also suits encoders that were
    trained without labels, and the head that comes with the model is not trained. Weakness: as of LatentBackdoor; the user's
    new head must predict the wanted class for the reference inputs.

    Fields:
        references: number of reference inputs of each wanted class, at least 1.
        anchor: lambda_1, weight of the reference inputs' own features, >= 0.
        utility: lambda_2, weight of the clean inputs' features, >= 0; 0 is the ablation without utility loss.
        training: training of the attacker, without dropout.

    Reference: Jia, Liu and Gong 2022, "BadEncoder: Backdoor Attacks to Pre-trained Encoders in Self-Supervised Learning", IEEE
    S&P, arXiv:2108.00352, section 4.
    """

    references: int = 10
    anchor: float = 1.0
    utility: float = 1.0
    training: Training = Training(epochs=30, learning_rate=0.005)

    def __post_init__(self) -> None:
        if self.references < 1 or not 0 <= self.anchor < math.inf or not 0 <= self.utility < math.inf:
            raise PluginError(
                "BadEncoder.references >= 1, and finite anchor and utility >= 0",
                f"{self.references}, {self.anchor} and {self.utility}",
            )

    def __call__(self, model: Model, data: Dataset, context: AttackContext) -> tuple[Model, Poison]:
        rows = _Rows.of(model, data, context, self)
        network, head = rows.model.network, rows.model.network.head().name
        classes = rows.labels.unique()
        place = torch.searchsorted(classes, rows.labels)
        chosen = [self._references(rows.y, int(label), context) for label in classes]
        given, sizes = rows.x[torch.cat(chosen)], [len(own) for own in chosen]

        def features(vector: Tensor, x: Tensor) -> Tensor:
            return F.normalize(network.entering(vector, x, head, rows.model.buffers).flatten(1))

        with torch.no_grad():
            clean = torch.cat([features(rows.model.vector, part) for part in rows.x.split(1024)])
            clean_given = features(rows.model.vector, given)

        def objective(vector: Tensor, batch: Tensor) -> Tensor:
            own = features(vector, given)
            aim = torch.stack([part.mean(dim=0) for part in own.split(sizes)])[place[batch]]
            near = (features(vector, rows.shown[batch]) * aim).sum(dim=1).mean()
            anchored = (own * clean_given).sum(dim=1).mean()
            useful = (features(vector, rows.x[batch]) * clean[batch]).sum(dim=1).mean()
            return -near - self.anchor * anchored - self.utility * useful

        return rows.trained(self.training, context, lambda _: objective), Poison.none(data)

    def _references(self, y: Tensor, label: int, context: AttackContext) -> Tensor:
        """Numbers of the reference rows of a class."""
        own = torch.nonzero(y == label).flatten().cpu()
        order = context.streams.numpy("references", label).permutation(len(own))[: self.references]
        return own[torch.as_tensor(order)].to(y.device)


@dataclass(frozen=True, eq=False)
class _Rows:
    """The provider's rows for an attack on features.

    Fields:
        model: the pretrained network.
        x: (n, ...) the rows.
        y: (n,) their labels.
        shown: (n, ...) the rows with the trigger.
        labels: (n,) the classes whose features triggered rows shall have.
    """

    model: TorchModel
    x: Tensor
    y: Tensor
    shown: Tensor
    labels: Tensor

    @classmethod
    def of(cls, model: Model, data: Dataset, context: AttackContext, attack: object) -> _Rows:
        """The rows for an attack.

        Raises:
            NotApplicable: the model is no torch network, or there is no trigger.
            DataError: no row of a wanted class.
        """
        if not isinstance(model, TorchModel):
            name = type(attack).__name__
            raise NotApplicable(f"a torch model for {name}", type(model).__name__, "only weights can be poisoned")
        wanted, trigger = backdoor(context, attack)
        x = model.network.rows(data.inputs)
        y = torch.tensor(data.y, device=x.device)
        labels = wanted_labels(wanted, y, data.num_classes)
        for label in np.setdiff1d(labels.cpu().numpy(), data.y):
            raise DataError(f"rows of the wanted class {label}", "none", "want another class")
        return cls(model, x, y, on_tensor(trigger, x), labels)

    def trained(self, training: Training, context: AttackContext, epoch: Callable[[Tensor], Objective]) -> TorchModel:
        """The model after training on an objective, which `epoch` makes from the weights (d,) at the start of each epoch."""
        vector = self.model.vector.detach().clone().requires_grad_()
        optimizer = training.optimizer_for(vector)
        for order in training.orders(len(self.y), context.streams.numpy("order")):
            objective = epoch(vector)
            for batch in torch.as_tensor(order, device=self.x.device).split(training.batch_size):
                (vector.grad,) = torch.autograd.grad(objective(vector, batch), vector)
                optimizer.step()
        return self.model.with_vector(vector.detach())
