"""Trigger inversion: the smallest change of inputs that makes a model predict each class."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import model_detector
from antivenom.core.threat import Access, Goal
from antivenom.core.verdict import ModelVerdict, Verdict
from antivenom.data import Dataset
from antivenom.models.wrappers import TorchModel
from antivenom.triggers import Recovered

REACHED = 0.9  # a recovered trigger works if the model gives its class to this share of the clean rows


@model_detector(access=tuple(Access), goal=Goal.BACKDOOR, cite="Wang et al. 2019, S&P")
class NeuralCleanse:
    """Searches the smallest mask and pattern that turn clean rows into each class. A class with a tiny mask is suspicious.

    All classes are inverted in one batch. The anomaly index of a class is the distance of the logarithm of its mask's L1
    norm below the median over all classes, in robust standard deviations. A class for which no mask works has the index 0.
    Weakness: with ten classes, the index of a clean model often exceeds 2, because some classes are naturally close to
    others. Triggers that are not masks, such as warps, are missed.

    Fields:
        steps: number of steps of the inversion.
        rows: maximal number of clean rows that are used.
        penalty: weight of the mask's L1 norm in the loss, >= 0.
        threshold: index above which a class is flagged.

    Reference: Wang, Yao, Shan, Li, Viswanath, Zheng and Zhao 2019, "Neural Cleanse: Identifying and Mitigating Backdoor
    Attacks in Neural Networks", IEEE S&P.
    """

    steps: int = 150
    rows: int = 32
    penalty: float = 0.02
    threshold: float = 2.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.rows < 1 or self.penalty < 0 or self.threshold <= 0:
            raise PluginError(
                "NeuralCleanse.steps and rows >= 1, penalty >= 0 and threshold > 0",
                f"{self.steps}, {self.rows}, {self.penalty} and {self.threshold}",
            )

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> ModelVerdict:
        triggers, reached = self.recovered(model, clean)
        sizes = np.array([np.abs(trigger.mask).sum() for trigger in triggers])
        index = np.zeros(len(sizes))
        if reached.any():
            logs = np.log(sizes[reached] + 1e-6)
            middle = np.median(logs)
            spread = 1.4826 * np.median(np.abs(logs - middle))  # MAD, scaled to the deviation of a normal distribution
            index[reached] = np.maximum(middle - logs, 0) / max(spread, 1e-6)
        return ModelVerdict.of_classes(Verdict(index, index > self.threshold))

    def recovered(self, model: Model, clean: Dataset) -> tuple[list[Recovered], np.ndarray]:
        """One trigger for each class, and (c,) bool, whether the model gives its class to REACHED of the clean rows."""
        if not isinstance(model, TorchModel):
            raise NotApplicable("a torch model for NeuralCleanse", type(model).__name__, "it needs gradients")
        x = torch.tensor(clean.dense[: self.rows], device=model.vector.device)
        c, shape = model.num_classes, x.shape[1:]
        low, high = float(x.min()), float(x.max())
        wide = (1, *shape[1:]) if len(shape) == 3 else tuple(shape)
        raw_mask = torch.full((c, *wide), -3.0, device=x.device, requires_grad=True)
        raw_pattern = torch.zeros(c, *shape, device=x.device, requires_grad=True)
        optimizer = torch.optim.Adam([raw_mask, raw_pattern], lr=0.1)
        wanted = torch.arange(c, device=x.device).repeat_interleave(len(x))

        def answers() -> tuple[Tensor, Tensor]:
            mask, pattern = raw_mask.sigmoid(), low + (high - low) * raw_pattern.sigmoid()
            shown = (1 - mask[:, None]) * x + mask[:, None] * pattern[:, None]  # (c, rows, *shape)
            return model.network.logits(model.vector, shown.flatten(0, 1), model.buffers), mask

        for _ in range(self.steps):
            logits, mask = answers()
            loss = F.cross_entropy(logits, wanted) * c + self.penalty * mask.sum()
            raw_mask.grad, raw_pattern.grad = torch.autograd.grad(loss, [raw_mask, raw_pattern])
            optimizer.step()
        with torch.no_grad():
            logits, mask = answers()
            right = (logits.argmax(1) == wanted).view(c, -1).float().mean(dim=1)
            pattern = low + (high - low) * raw_pattern.sigmoid()
        masks, patterns = mask.expand(c, *shape).cpu().numpy(), pattern.cpu().numpy()
        return [Recovered(m, p) for m, p in zip(masks, patterns, strict=True)], right.cpu().numpy() >= REACHED
