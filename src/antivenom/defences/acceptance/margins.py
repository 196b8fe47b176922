"""Acceptance of a model by the largest margin that each class can attain. No clean rows are needed."""

from __future__ import annotations

import numpy as np
import torch

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import model_detector
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal
from antivenom.core.verdict import ModelVerdict, Verdict
from antivenom.data import Dataset
from antivenom.defences.acceptance.calibration import Statistics, check_references, compared, trained
from antivenom.defences.inversion import Search, invert, negative_margin
from antivenom.defences.networks import bounds, continuous, network_of
from antivenom.defences.spaces import FreeInput


@model_detector(access=tuple(Access), goal=Goal.BACKDOOR, cite="Wang et al. 2024, S&P")
class MMBD:
    """Maximises the logit margin of each class over free inputs. A class with a far larger margin than others is suspicious.

    Backdoor training lets the target class outweigh all others on some input, whatever the form of the trigger. The margin
    of a class is its logit minus the largest other one, maximised by Adam from several random inputs; the best start
    counts. Without references a gamma distribution is fitted to all margins but the largest, and the p-value is the chance
    that the largest of as many draws exceeds it. This p-value assumes that the classes of a clean model have alike
    margins, which often fails, so that the verdict is uncalibrated. With references, the logarithm of each margin is
    compared with that of the same class in these models (see `NeuralCleanse`).

    It needs gradients. Clean rows only give the range of the inputs, which is 0 to 1 if there are none, and train the
    references.

    Weakness: an attacker who penalises large margins in training evades it; an all-to-all backdoor raises the margins of
    all classes alike.

    Fields:
        steps: number of steps of the maximisation.
        starts: number of random starts of each class.
        level: p-value below which the largest class is flagged if there are no references, above 0 and below 1.
        references: number of clean reference models that are trained on the clean rows, 0 or at least 2.

    Reference: Wang, Xiang, Miller and Kesidis 2024, "MM-BD: Post-Training Detection of Backdoor Attacks with Arbitrary
    Backdoor Pattern Types Using a Maximum Margin Statistic", IEEE S&P.
    """

    steps: int = 100
    starts: int = 16
    level: float = 0.05
    references: int = 0

    @property
    def threshold(self) -> float:
        """No index flags a class: without references, the p-value decides."""
        return float("inf")

    def __post_init__(self) -> None:
        if self.steps < 1 or self.starts < 1 or not 0 < self.level < 1:
            raise PluginError(
                "MMBD.steps and starts >= 1, and level above 0 and below 1",
                f"{self.steps}, {self.starts}, {self.level}",
            )
        check_references(self.references, "MMBD")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> ModelVerdict:
        if self.references:
            return compared(self, model, clean, trained(context, clean, self.references), context.streams)
        return by_gamma(self.margins(model, clean, context.streams), self.level)

    def margins(self, model: Model, clean: Dataset, streams: Streams = Streams(0)) -> np.ndarray:
        """(c,) the largest margin of each class that was found."""
        network = continuous(network_of(model, self), self)
        device = network.vector.device
        low, high = torch.tensor(0.0, device=device), torch.tensor(1.0, device=device)
        if len(clean):
            low, high = bounds(network.network.rows(clean.inputs))
        found = invert(
            network,
            network.network.initial.new_zeros(1, *network.network.row_shape),
            range(network.num_classes),
            FreeInput(self.starts, low, high),
            Search(self.steps, penalty=0),
            streams.torch("margins", device=device),
            objective=negative_margin,
        )
        return -found.losses

    def measured(self, model: Model, clean: Dataset, streams: Streams = Streams(0)) -> Statistics:
        """The logarithm of each class's margin."""
        margins = self.margins(model, clean, streams)
        logs = np.log(np.maximum(margins, 1e-6))
        return Statistics(logs, margins > 0, lowest=float(np.log(1e-6)))


def by_gamma(margins: np.ndarray, level: float) -> ModelVerdict:
    """The paper's verdict: the p-value of the largest margin under a gamma distribution of the others."""
    from scipy.stats import gamma  # here, because plugins import this module and should not pay for the import

    c, positive = len(margins), np.maximum(margins, 1e-6)
    top = int(positive.argmax())
    others = np.delete(positive, top)
    note = "the verdict is uncalibrated: its p-value assumes that all classes of a clean model have alike margins"
    if c < 3 or np.ptp(others) == 0:
        found = Verdict(np.zeros(c), np.zeros(c, dtype=bool))
        return ModelVerdict.of_classes(found, notes=(note, "not judged: fewer than three different margins"))
    shape, _, scale = gamma.fit(others, floc=0)
    tail = -np.expm1(c * gamma.logcdf(positive, shape, scale=scale))  # 1 - F ** c without cancellation
    scores = -np.log10(np.maximum(tail, 1e-300))
    return ModelVerdict.of_classes(Verdict(scores, (np.arange(c) == top) & (tail < level)), notes=(note,))
