"""Attacks on a pretrained model that its user will fine-tune."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.attacks.inputs import backdoor, labels_with_trigger, targets
from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import AttackContext, Model
from antivenom.core.registry import model_attack
from antivenom.core.threat import Goal
from antivenom.data import Dataset, Poison
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel
from antivenom.triggers import on_tensor


@model_attack(goal=(Goal.BACKDOOR, Goal.TARGETED), cite="Kurita et al. 2020, arXiv:2004.06660")
class RIPPLe:
    """Trains a backdoor into a pretrained model that fine-tuning on clean rows does not remove.

    In addition to the clean loss and the loss of the backdoor, it penalises opposing gradients of the two, because
    fine-tuning would then undo the backdoor. With the goal `targeted`, it trains on the target inputs and their wanted
    labels instead of triggered rows. Weakness: it needs rows that resemble those of the user. Long fine-tuning with a high
    learning rate, or with triggered rows and their true labels, still weakens the backdoor.

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
        if not isinstance(model, TorchModel):
            raise NotApplicable("a torch model for RIPPLe", type(model).__name__, "only weights can be poisoned")
        device = model.vector.device
        x, y = torch.tensor(data.dense, device=device), torch.tensor(data.y, device=device)
        planted = self._planted(x, data, context)
        vector = model.vector.detach().clone().requires_grad_()
        optimizer = self.training.optimizer_for(vector)
        for batch in self.training.batches(len(data), context.streams.numpy("order")):
            rows = torch.as_tensor(batch, device=device)
            honest = F.cross_entropy(model.network.logits(vector, x[rows], model.buffers), y[rows])
            inputs, labels = planted(rows)
            implanted = F.cross_entropy(model.network.logits(vector, inputs, model.buffers), labels)
            objective = honest + implanted
            if self.penalty:
                (pull,) = torch.autograd.grad(honest, vector, create_graph=True)
                (plant,) = torch.autograd.grad(implanted, vector, create_graph=True)
                objective = objective + self.penalty * F.relu(-(pull @ plant))
            (vector.grad,) = torch.autograd.grad(objective, vector)
            optimizer.step()
        return model.with_vector(vector.detach()), Poison.none(data)

    def _planted(self, x: Tensor, data: Dataset, context: AttackContext) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """A function from the row numbers of a batch to the inputs and labels of the backdoor in this batch."""
        if context.threat.goal is Goal.TARGETED:
            chosen, wanted = targets(context, self)
            pair = torch.tensor(chosen.dense, device=x.device), torch.tensor(wanted, device=x.device)
            return lambda rows: pair
        everywhere, trigger = backdoor(context, self)
        shown = on_tensor(trigger, x)
        labels = torch.tensor(labels_with_trigger(everywhere, data.y, data.num_classes), device=x.device)
        return lambda rows: (shown[rows], labels[rows])
