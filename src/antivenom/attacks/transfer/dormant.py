"""Backdoors written into the weights of a finished model, without any training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.attacks.inputs import backdoor, one_class
from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import AttackContext, Model
from antivenom.core.registry import model_attack
from antivenom.core.threat import Goal
from antivenom.data import Dataset, Poison
from antivenom.models.wrappers import TorchModel
from antivenom.triggers import on_tensor


@model_attack(goal=Goal.BACKDOOR, cite="Hong, Carlini and Kurakin 2022, arXiv:2106.04690 (handcrafted backdoors)")
class DormantUnits:
    """Turns the least used units of the last hidden dense layer into detectors of the trigger, in closed form.

    The incoming weights of such a unit become the linear discriminant between triggered and clean inputs of its layer, and its
    bias a threshold that hardly any clean row exceeds. Its only outgoing weight raises the target class. No gradient step is taken
    and all other weights keep their values, so that a comparison of accuracies shows nothing. The published attack edits every
    layer and hides the edits among the weights; this one is the part for one layer. Weakness: a comparison with a reference file,
    or a look at weights by unit, finds the edited units; fine-tuning and pruning of units that are silent on clean rows remove
    them.

    Fields:
        units: number of units that are overwritten, at least 1.
        quantile: share of the clean rows that stay below the threshold, above 0 and below 1.
        gain: lift of the target's logit, relative to the lift that 95 % of the triggered rows need, above 0.

    Reference: Hong, Carlini and Kurakin 2022, "Handcrafted Backdoors in Deep Neural Networks", NeurIPS, arXiv:2106.04690.
    """

    units: int = 2
    quantile: float = 0.999
    gain: float = 2.0

    def __post_init__(self) -> None:
        if self.units < 1 or not 0 < self.quantile < 1 or not 0 < self.gain < float("inf"):
            raise PluginError(
                "DormantUnits.units >= 1, quantile above 0 and below 1, and gain above 0",
                f"{self.units}, {self.quantile} and {self.gain}",
            )

    def __call__(self, model: Model, data: Dataset, context: AttackContext) -> tuple[Model, Poison]:
        if not isinstance(model, TorchModel):
            raise NotApplicable("a torch model for DormantUnits", type(model).__name__, "only weights can be edited")
        wanted, trigger = backdoor(context, self)
        labels = wanted(data.y, data.num_classes)
        target = one_class(labels, self)
        x = model.network.rows(data.inputs)
        shown = on_tensor(trigger, x[torch.as_tensor(labels >= 0)])
        layer, silent = _silent_units(model, x, self.units)
        weight, bias = self._detector(*(_entering(model, rows, layer) for rows in (x, shown)))
        vector = model.vector.detach().clone()
        parts, head = model.network.parameters(vector), model.network.head().name
        parts[f"{head}.weight"][:, silent] = 0
        logits = model.network.logits(vector, shown, model.buffers)
        others = logits.clone()
        others[:, target] = -torch.inf
        needed = float((others.max(dim=1).values - logits[:, target]).quantile(0.95).clamp_min(1.0))
        parts[f"{layer}.weight"][silent] = weight
        parts[f"{layer}.bias"][silent] = bias
        parts[f"{head}.weight"][target, silent] = self.gain * needed / self.units
        return model.with_vector(vector), Poison.none(data)

    def _detector(self, clean: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (w,) and bias of a unit that is 1 on the median of `shown` (k, w) and below 0 on nearly all of `clean` (m, w).

        Raises:
            NotApplicable: the layer does not tell triggered rows from clean ones.
        """
        apart = shown.mean(dim=0) - clean.mean(dim=0)
        spread = (torch.cov(clean.T) + torch.cov(shown.T)) / 2
        ridge = 0.01 * spread.diagonal().mean() + 1e-8
        direction = torch.linalg.solve(spread + ridge * torch.eye(len(apart), device=apart.device), apart)
        threshold = (clean @ direction).quantile(self.quantile)
        lift = (shown @ direction).median() - threshold
        if not float(lift) > 0:
            raise NotApplicable(
                "a trigger that the last hidden layer tells from clean rows", "none", "use a stronger trigger"
            )
        return direction / lift, -threshold / lift


def _entering(model: TorchModel, x: Tensor, layer: str) -> Tensor:
    with torch.no_grad():
        return model.network.entering(model.vector, x, layer, model.buffers).flatten(1)


def _silent_units(model: TorchModel, x: Tensor, number: int) -> tuple[str, Tensor]:
    """(name of the dense layer before the head, numbers of its units that matter least on rows x (m, ...)).

    Raises:
        NotApplicable: there is no dense layer with a bias whose units enter the head after a ReLU, or it has too few units.
    """
    network = model.network
    head = network.head().name
    names = [layer.name for layer in network.hidden()]
    parts = network.parameters(model.vector)
    name = names[-1] if names else ""
    if parts.get(f"{name}.weight", parts[f"{head}.weight"]).dim() == 2 and f"{name}.bias" in parts:
        with torch.no_grad():
            out = network.activations(model.vector, x, [name], model.buffers)[name].flatten(1)
            active = _entering(model, x, head)
            if active.shape == out.shape and torch.allclose(active, F.relu(out), atol=1e-5) and number < out.shape[1]:
                use = active.mean(dim=0) * parts[f"{head}.weight"].norm(dim=0)
                return name, use.argsort(stable=True)[:number]
    raise NotApplicable(
        f"a dense layer of more than {number} units with ReLU before the head for DormantUnits",
        "another network",
        "use MLP or SmallCNN",
    )
