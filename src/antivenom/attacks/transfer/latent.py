"""Backdoors in the features of a pretrained model, which outlast a new head."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from antivenom.attacks.inputs import backdoor, labels_with_trigger
from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import AttackContext, Model
from antivenom.core.registry import model_attack
from antivenom.core.threat import Goal
from antivenom.data import Dataset, Poison
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel
from antivenom.triggers import on_tensor


@model_attack(goal=Goal.BACKDOOR, cite="Yao et al. 2019, CCS (latent backdoors)")
class LatentBackdoor:
    """Trains a pretrained model so that inputs with the trigger get the features of the wanted class.

    The features are the inputs of the head. They are pulled to the mean features of rows of the wanted class, computed anew in each
    epoch, while the loss on clean rows is kept low. No label is planted, so that the backdoor outlasts a new head as long as
    the user keeps the features. In the paper the wanted class may be missing from the pretrained model; here it is one of its
    classes. Weakness: fine-tuning of all layers at a high rate moves the features, and triggered inputs lie closer together than
    those of any class.

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
        if not isinstance(model, TorchModel):
            raise NotApplicable(
                "a torch model for LatentBackdoor", type(model).__name__, "only weights can be poisoned"
            )
        wanted, trigger = backdoor(context, self)
        network, head = model.network, model.network.head().name
        labels = labels_with_trigger(wanted, data.y, data.num_classes)
        x = network.rows(data.inputs)
        y = torch.tensor(data.y, device=x.device)
        shown = on_tensor(trigger, x)
        for label in np.setdiff1d(labels, data.y):
            raise DataError(f"rows of the wanted class {label}", "none", "want another class")
        vector = model.vector.detach().clone().requires_grad_()
        optimizer = self.training.optimizer_for(vector)
        for order in self.training.orders(len(data), context.streams.numpy("order")):
            with torch.no_grad():  # the features of the class move with the weights
                own = network.entering(vector, x, head, model.buffers).flatten(1)
            means = {int(label): own[y == int(label)].mean(dim=0) for label in np.unique(labels)}
            aim = torch.stack([means[int(label)] for label in labels])
            for rows in torch.as_tensor(order, device=x.device).split(self.training.batch_size):
                honest = F.cross_entropy(network.logits(vector, x[rows], model.buffers), y[rows])
                found = network.entering(vector, shown[rows], head, model.buffers).flatten(1)
                apart = ((found - aim[rows]) ** 2).sum(dim=1) / (aim[rows] ** 2).sum(dim=1).clamp_min(1e-12)
                (vector.grad,) = torch.autograd.grad(honest + self.pull * apart.mean(), vector)
                optimizer.step()
        return model.with_vector(vector.detach()), Poison.none(data)
