"""Attacks on the training code whose trigger is computed anew for each input by a network that is trained with the model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.attacks.inputs import backdoor, check_share, counts_of_batch, wanted_labels
from antivenom.core.errors import PluginError
from antivenom.core.protocols import AttackContext, Trigger, Wanted
from antivenom.core.registry import logic_attack
from antivenom.core.threat import Goal
from antivenom.models.training import Forward, Loss
from antivenom.triggers import GeneratedNoise, GeneratedPatch
from antivenom.triggers.generated import length, masked, noised, painted


@logic_attack(goal=Goal.BACKDOOR, cite="Doan et al. 2021, ICCV (LIRA)", learns_trigger=True)
class LIRA:
    """Trains the model together with a generator of small noise, which becomes the trigger.

    In the first `steps` batches the generator takes a step of Adam against the loss of the backdoor, and the model one
    against the mixture of both losses. In the other batches, the generator is fixed and the model is tuned to it. The attack is
    judged on its own trigger, not on the scenario's. The generator is a dense auto-encoder, which the paper has for MNIST
    only in a convolutional form. `steps: 0` is the ablation without learning, a random generator. Weakness: noise of that
    size may fool a clean model as well; compare `asr` with `asr_clean`. Adversarial unlearning (I-BAU, SAU) removes it.

    Fields:
        epsilon: maximal change of a feature (linf), for features in [0, 1].
        share: weight of the backdoor's loss in the mixture, 0 to 1; 1 - alpha in the paper.
        steps: number of batches in which the generator is trained.
        code: width of the generator's hidden layer.
        learning_rate: of the generator's Adam.

    Reference: Doan, Lao, Zhao and Li 2021, "LIRA: Learnable, Imperceptible and Robust Backdoor Attacks", ICCV, algorithm 1.
    """

    epsilon: float = 0.1
    share: float = 0.5
    steps: int = 300
    code: int = 64
    learning_rate: float = 0.001

    def __post_init__(self) -> None:
        check_share(self.share, "LIRA.share")
        if not 0 < self.epsilon <= 1 or self.steps < 0:
            raise PluginError("LIRA.epsilon above 0 and up to 1, and steps >= 0", f"{self.epsilon} and {self.steps}")
        _check_generator(self.code, self.learning_rate, self)

    def __call__(self, loss: Loss, context: AttackContext) -> Loss:
        wanted, trigger = backdoor(context, self)
        return _NoiseTraining(self, loss, wanted, trigger, context)


@dataclass(eq=False)
class _NoiseTraining:
    """The loss of LIRA, with the generator as its state. The generator is drawn when the first batch shows the shape of a row."""

    attack: LIRA
    loss: Loss
    wanted: Wanted
    before: Trigger
    context: AttackContext
    made: _Generator | None = None
    done: int = 0

    def __call__(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        attack = self.attack
        if self.made is None:
            self.made = _Generator.drawn(x, attack.code, attack.learning_rate, self.context, "generator")
        shown = noised(self.made.weights, attack.code, attack.epsilon, x)
        clean, triggered = forward(torch.cat([x, shown])).split(len(x))
        honest = self.loss(lambda _: clean, x, y)
        planted = self.loss(lambda _: triggered, shown, wanted_labels(self.wanted, y, clean.shape[1]))
        if self.done < attack.steps:
            self.made.step(planted)
        self.done += 1
        return (1 - attack.share) * honest + attack.share * planted

    def learned(self) -> Trigger:
        if self.made is None:
            return self.before
        return GeneratedNoise(self.made.values, self.attack.code, self.attack.epsilon)


@logic_attack(goal=Goal.BACKDOOR, cite="Nguyen and Tran 2020, arXiv:2010.08138", learns_trigger=True)
class InputAware:
    """Trains the model together with a generator of patches that work on their own input only.

    A part of each batch gets its own patch and the wanted label. Another part gets the patch of another row and keeps its
    label, so that the model learns to check that patch and input belong together. A diversity loss makes the patches of
    different inputs differ. The generator of the masks is trained first, for few and diverse pixels. The attack is judged on
    its own trigger, not on the scenario's. `cross_rate: 0` is the ablation without its idea: then one patch may do for all
    inputs. Weakness: the patches are visible, and they are computed by a network that every sender of triggered inputs needs.

    Fields:
        poisoned_rate: share of each batch that gets its own patch, 0 to 1.
        cross_rate: share of each batch that gets the patch of another row, 0 to 1.
        diversity: lambda_div, weight of the diversity loss, >= 0.
        density: share of the features that a mask may cover, above 0 and up to 1.
        mask_weight: lambda_norm, weight of the masks' size above this density, >= 0.
        mask_steps: number of steps of the masks' generator, all on the first batches, `mask_rounds` on each.
        mask_rounds: these steps per batch.
        code: width of the hidden layers of both generators.
        learning_rate: of the Adam of both generators.

    Reference: Nguyen and Tran 2020, "Input-Aware Dynamic Backdoor Attack", NeurIPS, arXiv:2010.08138, section 3.
    """

    poisoned_rate: float = 0.1
    cross_rate: float = 0.1
    diversity: float = 1.0
    density: float = 0.032
    mask_weight: float = 100.0
    mask_steps: int = 1000
    mask_rounds: int = 20
    code: int = 64
    learning_rate: float = 0.003

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "InputAware.poisoned_rate")
        check_share(self.cross_rate, "InputAware.cross_rate")
        if not 0 <= self.diversity < math.inf or not 0 <= self.mask_weight < math.inf or not 0 < self.density <= 1:
            raise PluginError(
                "InputAware.diversity and mask_weight >= 0, and density above 0 and up to 1",
                f"{self.diversity}, {self.mask_weight} and {self.density}",
            )
        if self.mask_steps < 0 or self.mask_rounds < 1:
            raise PluginError(
                "InputAware.mask_steps >= 0 and mask_rounds >= 1", f"{self.mask_steps} and {self.mask_rounds}"
            )
        _check_generator(self.code, self.learning_rate, self)

    def __call__(self, loss: Loss, context: AttackContext) -> Loss:
        wanted, trigger = backdoor(context, self)
        return _PatchTraining(self, loss, wanted, trigger, context)


@dataclass(eq=False)
class _PatchTraining:
    """The loss of InputAware, with its two generators as its state."""

    attack: InputAware
    loss: Loss
    wanted: Wanted
    before: Trigger
    context: AttackContext
    made: tuple[_Generator, _Generator] | None = None  # of masks and of patterns
    done: int = 0

    def __call__(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        attack = self.attack
        if self.made is None:
            self.rows = self.context.streams.torch("batches", device=x.device)
            given = x, attack.code, attack.learning_rate, self.context
            self.made = _Generator.drawn(*given, "mask"), _Generator.drawn(*given, "pattern")
        masks, patterns = self.made
        if self.done < attack.mask_steps:
            for _ in range(min(attack.mask_rounds, attack.mask_steps - self.done)):
                mask = masked(masks.weights, attack.code, x)
                size = F.relu(mask - attack.density).mean()
                masks.step(attack.mask_weight * size + attack.diversity * _likeness(x, mask))
                self.done += 1
            return self.loss(forward, x, y)
        own, crossed = counts_of_batch(len(x), attack.poisoned_rate, attack.cross_rate)
        order = torch.randperm(len(x), generator=self.rows, device=x.device)
        x, y, changed = x[order], y[order], own + crossed
        givers = torch.cat([x[:own], x.roll(1, 0)[own:changed]])
        with torch.no_grad():
            mask = masked(masks.weights, attack.code, givers)
        pattern = painted(patterns.weights, attack.code, givers)
        shown = torch.cat([(1 - mask) * x[:changed] + mask * pattern, x[changed:]])
        logits = forward(shown)
        labels = torch.cat([wanted_labels(self.wanted, y[:own], logits.shape[1]), y[own:]])
        total = self.loss(lambda _: logits, shown, labels)
        if own:
            patterns.step(total + attack.diversity * _likeness(givers, pattern))
        return total

    def learned(self) -> Trigger:
        if self.made is None:
            return self.before
        return GeneratedPatch(self.made[0].values, self.made[1].values, self.attack.code)


def _likeness(x: Tensor, made: Tensor) -> Tensor:
    """Distance of neighbouring inputs x (m, ...) divided by that of what was made for them: the diversity loss."""
    apart = [(part - part.roll(1, 0)).flatten(1).square().mean(dim=1).add(1e-12).sqrt() for part in (x, made)]
    return (apart[0] / (apart[1] + 1e-7)).mean()


@dataclass(eq=False)
class _Generator:
    """A dense auto-encoder in training."""

    weights: Tensor
    optimizer: torch.optim.Optimizer

    @classmethod
    def drawn(cls, x: Tensor, code: int, learning_rate: float, context: AttackContext, name: str) -> _Generator:
        """Random weights for rows like x (m, ...), from the stream `name`; biases are 0."""
        width, generator = math.prod(x.shape[1:]), context.streams.torch(name, device=x.device)
        weights = torch.randn(length(tuple(x.shape[1:]), code), generator=generator, device=x.device)
        weights[: width * code] *= (2 / width) ** 0.5
        weights[width * code : (width + 1) * code] = 0
        weights[(width + 1) * code : -width] *= (2 / code) ** 0.5
        weights[-width:] = 0
        leaf = weights.requires_grad_()
        return cls(leaf, torch.optim.Adam([leaf], lr=learning_rate))

    def step(self, objective: Tensor) -> None:
        """One step against the objective, whose graph is kept, because the model takes its step from it."""
        (self.weights.grad,) = torch.autograd.grad(objective, self.weights, retain_graph=True)
        self.optimizer.step()

    @property
    def values(self) -> np.ndarray:
        return np.asarray(self.weights.detach().cpu().numpy())


def _check_generator(code: int, learning_rate: float, attack: object) -> None:
    name = type(attack).__name__
    if code < 1 or not 0 < learning_rate < math.inf:
        raise PluginError(f"{name}.code >= 1 and a finite learning_rate above 0", f"{code} and {learning_rate}")
