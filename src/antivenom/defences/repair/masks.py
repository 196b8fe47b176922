"""Mitigations that find backdoor neurons by a mask over the scales of batch norms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import mitigation
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.defences.networks import network_of, rows_of
from antivenom.defences.repair.loops import accuracy, deepest_cut, settings
from antivenom.defences.repair.neurons import Neurons, neurons_of
from antivenom.models.wrappers import TorchModel

INTACT = 0.95  # a neuron whose mask stays above this is not suspicious
Masked = Callable[[Tensor, Tensor, Tensor], Tensor]  # mask (n,), rows and labels -> the loss


@mitigation(access=tuple(Access), goal=Goal.BACKDOOR, cite="Wu and Wang 2021, arXiv:2110.14430")
class ANP:
    """Prunes the neurons whose small perturbations make clean rows look like the target class (adversarial neuron pruning).

    A mask over the scales of all batch norms is trained: the loss on clean rows is small with the mask alone, and also
    when scales and shifts are perturbed adversarially by up to `epsilon` of their size. Neurons are then pruned by
    ascending mask until the accuracy on the clean rows would fall by more than `max_drop`. The success of an attack plays
    no part in this choice. It needs gradients, batch norm and a few clean rows.

    Weakness: in small networks honest and backdoor neurons are the same. An attacker who spreads the backdoor over many
    neurons, or trains with perturbed neurons, evades it.

    Fields:
        epsilon: largest relative perturbation, >= 0.
        alpha: weight of the unperturbed loss, 0 to 1.
        iterations: number of steps of the mask.
        learning_rate: step size of the mask.
        max_drop: pruning stops before the accuracy on the clean rows falls by more than this, 0 to 1.

    Reference: Wu and Wang 2021, "Adversarial Neuron Pruning Purifies Backdoored Deep Models", NeurIPS, arXiv:2110.14430.
    """

    epsilon: float = 0.4
    alpha: float = 0.2
    iterations: int = 2000
    learning_rate: float = 0.2
    max_drop: float = 0.04

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon < float("inf") or not 0 <= self.alpha <= 1 or self.iterations < 0:
            raise PluginError(
                "ANP.epsilon >= 0, alpha from 0 to 1 and iterations >= 0",
                f"{self.epsilon}, {self.alpha} and {self.iterations}",
            )
        check_mask(self, self.learning_rate, self.max_drop)

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> TorchModel:
        network = network_of(model, self)
        neurons = neurons_of(network, self)
        x, y = rows_of(network, clean, self)
        drawn = context.streams.torch("noise", device=x.device)

        def loss(mask: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
            def with_noise(noise: Tensor) -> Tensor:
                return F.cross_entropy(masked_logits(network, neurons, mask, rows, noise), labels)

            noise = self.epsilon * (2 * torch.rand(2, len(mask), generator=drawn, device=mask.device) - 1)
            noise.requires_grad_()
            (uphill,) = torch.autograd.grad(with_noise(noise), noise)
            worst = (noise + self.epsilon * uphill.sign()).clamp(-self.epsilon, self.epsilon).detach()
            plain = with_noise(torch.zeros_like(worst))
            return self.alpha * plain + (1 - self.alpha) * with_noise(worst)

        mask = trained_mask(neurons, x, y, loss, self.iterations, self.learning_rate, context.streams)
        return cut_by_mask(network, neurons, mask, x, y, self.max_drop)


@mitigation(access=tuple(Access), goal=Goal.BACKDOOR, cite="Li et al. 2023, arXiv:2305.14876")
class RNP:
    """Unlearns the clean rows, then recovers them by a mask, and prunes the neurons that the recovery switches off.

    Gradient ascent on clean rows leaves a model that knows the backdoor alone (reconstructive neuron pruning). A mask over
    the scales of its batch norms is trained to classify the clean rows again; the backdoor's neurons get small values.
    These are pruned in the original model by ascending mask, until the accuracy on the clean rows would fall by more than
    `max_drop`. It needs gradients, batch norm and a few hundred clean rows.

    Weakness: a backdoor that shares its neurons with the honest task is unlearnt with it. An attacker who trains with
    the ascent in the loop evades it.

    Fields:
        unlearn_rate: step size of the ascent, with momentum .9. The paper has .01, which also unlearns a patch in a network
            of 9,000 parameters.
        unlearn_epochs: most passes of the ascent over the clean rows.
        unlearn_accuracy: the ascent ends at this accuracy on the clean rows, 0 to 1.
        iterations: number of steps of the mask.
        learning_rate: step size of the mask.
        max_drop: pruning stops before the accuracy on the clean rows falls by more than this, 0 to 1.

    Reference: Li, Lyu, Ma, Koren, Lyu, Li and Jiang 2023, "Reconstructive Neuron Pruning for Backdoor Defense", ICML,
    arXiv:2305.14876.
    """

    unlearn_rate: float = 0.003
    unlearn_epochs: int = 20
    unlearn_accuracy: float = 0.2
    iterations: int = 200
    learning_rate: float = 0.2
    max_drop: float = 0.04

    def __post_init__(self) -> None:
        if not 0 < self.unlearn_rate < float("inf") or min(self.unlearn_epochs, self.iterations) < 0:
            raise PluginError(
                "RNP.unlearn_rate > 0, unlearn_epochs and iterations >= 0",
                f"{self.unlearn_rate}, {self.unlearn_epochs} and {self.iterations}",
            )
        if not 0 <= self.unlearn_accuracy <= 1:
            raise PluginError("RNP.unlearn_accuracy from 0 to 1", f"{self.unlearn_accuracy}")
        check_mask(self, self.learning_rate, self.max_drop)

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> TorchModel:
        network = network_of(model, self)
        neurons = neurons_of(network, self)
        x, y = rows_of(network, clean, self, least=2)
        forgetful = self.unlearnt(network, x, y, context.streams.child("ascent"))

        def loss(mask: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(masked_logits(forgetful, neurons, mask, rows), labels)

        mask = trained_mask(neurons, x, y, loss, self.iterations, self.learning_rate, context.streams)
        return cut_by_mask(network, neurons, mask, x, y, self.max_drop)

    def unlearnt(self, model: TorchModel, x: Tensor, y: Tensor, streams: Streams) -> TorchModel:
        """The model after gradient ascent on the clean rows, which ends as soon as it gets only `unlearn_accuracy` right.

        The accuracy is looked at after every step: a few steps too many unlearn the backdoor as well.
        """
        once = settings(len(y), self.unlearn_epochs, self.unlearn_rate)
        speed = torch.zeros_like(model.vector)
        for rows in once.batches(len(y), streams.numpy("order")):
            if accuracy(model, x, y) <= self.unlearn_accuracy:
                break
            vector, batch = model.vector.detach().requires_grad_(), torch.as_tensor(rows, device=x.device)
            loss = F.cross_entropy(model.network.logits(vector, x[batch], model.buffers), y[batch])
            (gradient,) = torch.autograd.grad(loss, vector)
            speed = 0.9 * speed + gradient * min(1.0, 20.0 / max(float(gradient.norm()), 1e-12))  # no upper bound
            moved = speed if model.kept is None else speed * model.kept
            model = model.with_vector(vector.detach() + self.unlearn_rate * moved)
        return model


def check_mask(defence: object, learning_rate: float, max_drop: float) -> None:
    """Refuses a step size that is not above 0, and a drop of accuracy that is no share."""
    if not 0 < learning_rate < float("inf") or not 0 <= max_drop <= 1:
        name = type(defence).__name__
        raise PluginError(f"{name}.learning_rate > 0 and max_drop from 0 to 1", f"{learning_rate} and {max_drop}")


def masked_logits(model: TorchModel, neurons: Neurons, mask: Tensor, x: Tensor, noise: Tensor | None = None) -> Tensor:
    """Logits with the scales multiplied by the mask. Noise (2, n) is added to the factors of scales and shifts."""
    scales, shifts = (mask, torch.ones_like(mask)) if noise is None else (mask + noise[0], 1 + noise[1])
    places = (torch.cat([neurons.scales, neurons.shifts]),)
    factors = torch.ones_like(model.vector).index_put(places, torch.cat([scales, shifts]).to(model.vector))
    return model.network.logits(model.vector * factors, x, model.buffers)


def trained_mask(
    neurons: Neurons,
    x: Tensor,
    y: Tensor,
    loss: Masked,
    iterations: int,
    learning_rate: float,
    streams: Streams,
    batch: int = 128,
) -> np.ndarray:
    """(n,) the mask from 0 to 1 after that many steps of SGD with momentum .9 from 1."""
    mask = torch.ones(len(neurons), device=x.device, requires_grad=True)
    optimizer, rng = torch.optim.SGD([mask], lr=learning_rate, momentum=0.9), streams.numpy("mask")
    order = rng.permutation(len(y))
    for _ in range(iterations):
        if len(order) < min(batch, len(y)):
            order = rng.permutation(len(y))
        rows, order = torch.as_tensor(order[:batch], device=x.device), order[batch:]
        (mask.grad,) = torch.autograd.grad(loss(mask, x[rows], y[rows]), mask)
        optimizer.step()
        with torch.no_grad():
            mask.clamp_(0, 1)
    return np.asarray(mask.detach().cpu().numpy())


def cut_by_mask(
    model: TorchModel, neurons: Neurons, mask: np.ndarray, x: Tensor, y: Tensor, max_drop: float
) -> TorchModel:
    """The model without the neurons of smallest mask, as many as the accuracy on the defender's clean rows allows."""
    order = np.argsort(mask, kind="stable")
    suspicious = int((mask < INTACT).sum())
    return deepest_cut(lambda n: neurons.cut(model, order[:n], shift=False), suspicious, x, y, max_drop)
