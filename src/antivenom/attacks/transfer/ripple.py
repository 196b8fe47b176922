"""Attacks on a model that its user will train further."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from antivenom.attacks.inputs import wanted
from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import AttackContext, Model
from antivenom.core.registry import model_attack
from antivenom.core.threat import Goal
from antivenom.data import Dataset, Poison
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel


@model_attack(goal=Goal.BACKDOOR, cite="Kurita et al. 2020, arXiv:2004.06660")
class RIPPLe:
    """Trains a backdoor into a pretrained model that fine-tuning on clean rows does not remove.

    In addition to the clean loss and the loss of the backdoor, it penalises opposing gradients of the two, because
    fine-tuning would then undo the backdoor. Weakness: it needs rows that resemble those of the user. Long fine-tuning
    with a high learning rate, or with triggered rows and their true labels, still weakens the backdoor.

    Fields:
        penalty: lambda, weight of the penalty on opposing gradients, >= 0; 0 is plain training on triggered rows.
        training: training of the attacker, without dropout.

    Reference: Kurita et al. 2020, "Weight Poisoning Attacks on Pre-trained Models", arXiv:2004.06660, section 3 (without
    embedding surgery, which is for text).
    """

    penalty: float = 0.1
    training: Training = Training(epochs=30, learning_rate=0.01)

    def __post_init__(self) -> None:
        if not 0 <= self.penalty < float("inf"):
            raise PluginError("a finite RIPPLe.penalty >= 0", f"{self.penalty}", "try 0.1")

    def __call__(self, model: Model, data: Dataset, context: AttackContext) -> tuple[Model, Poison]:
        target, trigger = wanted(context, self)
        if not isinstance(model, TorchModel):
            raise NotApplicable("a torch model for RIPPLe", type(model).__name__, "only weights can be poisoned")
        device = model.vector.device
        x, y = torch.tensor(data.dense, device=device), torch.tensor(data.y, device=device)
        shown = torch.tensor(np.asarray(trigger(data.dense)), dtype=x.dtype, device=device)
        vector = model.vector.detach().clone().requires_grad_()
        optimizer = self.training.optimizer_for(vector)
        for batch in self.training.batches(len(data), context.streams.numpy("order")):
            rows = torch.as_tensor(batch, device=device)
            honest = F.cross_entropy(model.network.logits(vector, x[rows], model.buffers), y[rows])
            backdoor = F.cross_entropy(
                model.network.logits(vector, shown[rows], model.buffers), torch.full_like(y[rows], target)
            )
            objective = honest + backdoor
            if self.penalty:
                (pull,) = torch.autograd.grad(honest, vector, create_graph=True)
                (plant,) = torch.autograd.grad(backdoor, vector, create_graph=True)
                objective = objective + self.penalty * F.relu(-(pull @ plant))
            (vector.grad,) = torch.autograd.grad(objective, vector)
            optimizer.step()
        return model.with_vector(vector.detach()), Poison(data, np.zeros(len(data), dtype=bool), trigger, target)
