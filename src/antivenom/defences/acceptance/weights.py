"""Acceptance of a model by the weights of its head alone."""

from __future__ import annotations

import numpy as np
import torch

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import model_detector
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal
from antivenom.core.verdict import ModelVerdict
from antivenom.data import Dataset
from antivenom.defences.acceptance.calibration import Statistics, check_references, compared, trained
from antivenom.defences.inputs import median_and_spread
from antivenom.defences.networks import network_of


@model_detector(
    access=tuple(Access), goal=Goal.BACKDOOR, cite="DFBScanner 2025 (idea); Fields et al. 2021, NeurIPS workshop"
)
class WeightScreen:
    """Looks for a class whose row of the head's weight matrix is unlike those of the other classes.

    A backdoor gives the target class weights on features that no other class uses, which shifts the distribution of its
    row. For each row the screen takes the mean, the deviation, the largest weight and the sum of the positive weights,
    and the class's statistic is the largest distance of one of them above the median over the classes, in robust standard
    deviations. It takes milliseconds and needs neither rows nor gradients. With references, the statistic is compared
    with that of the same class in these models (see `NeuralCleanse`); without them the verdict is uncalibrated.

    Weakness: with few classes the medians are unsure, and honest heads differ. An attacker who matches the rows'
    statistics, or who edits earlier layers only, is missed.

    Fields:
        threshold: index above which a class is flagged if there are no references.
        references: number of clean reference models that are trained on the clean rows, 0 or at least 2.

    Reference: the idea of DFBScanner (2025), an own choice of statistics; Fields, Samragh, Javaheripi, Koushanfar and
    Javidi 2021, "Trojan Signatures in DNN Weights", arXiv:2109.02836.
    """

    threshold: float = 3.5
    references: int = 0

    def __post_init__(self) -> None:
        if self.threshold <= 0:
            raise PluginError("WeightScreen.threshold > 0", f"{self.threshold}")
        check_references(self.references, "WeightScreen")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> ModelVerdict:
        return compared(self, model, clean, trained(context, clean, self.references))

    def measured(self, model: Model, clean: Dataset, streams: Streams = Streams(0)) -> Statistics:
        """The largest distance of a statistic of each class's row from the median; the clean rows play no part."""
        rows = self.head(model)
        distances = []
        for found in (rows.mean(1), rows.std(1), rows.max(1), np.maximum(rows, 0).sum(1)):
            middle, spread = median_and_spread(found)
            distances.append((found - middle) / max(spread, 1e-9 + 1e-6 * abs(middle)))
        return Statistics(np.max(distances, axis=0), np.ones(len(rows), dtype=bool))

    def head(self, model: Model) -> np.ndarray:
        """(c, features) the weights of the head."""
        network = network_of(model, self)
        name = f"{network.network.head().name}.weight".lstrip(".")
        weights = network.network.parameters(network.vector) | network.network.frozen
        found = weights.get(name)
        if found is None or len(found) != network.num_classes:
            got = "none" if found is None else f"shape {tuple(found.shape)}"
            raise NotApplicable(f"a head with a row of weights for each of {network.num_classes} classes", got)
        return np.asarray(torch.flatten(found, 1).detach().cpu().numpy(), dtype=np.float64)
