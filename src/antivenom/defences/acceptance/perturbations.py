"""Acceptance of a model by the smallest perturbation that, added to every row, gives it each class."""

from __future__ import annotations

from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import model_detector
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal
from antivenom.core.verdict import ModelVerdict
from antivenom.data import Dataset
from antivenom.defences.acceptance.calibration import Recovery, Statistics, check_search, halved
from antivenom.defences.inversion import Inverted, Search, invert
from antivenom.defences.networks import bounds, continuous, network_of, rows_of
from antivenom.defences.spaces import Ball


@model_detector(access=tuple(Access), goal=Goal.BACKDOOR, cite="Xiang et al. 2022, TNNLS")
class SmallestPerturbation:
    """Searches the smallest perturbation that, added to every clean row, turns them into each class.

    It finds triggers that `NeuralCleanse` expresses badly, such as blends and waves, which change every pixel a little. All
    classes are inverted in one batch; the statistic of a class is the logarithm of the perturbation's Euclidean norm, and
    only small norms count. References, uncalibrated verdicts and classes that are not reached are as in `NeuralCleanse`.
    The published method fits a distribution to the norms over all pairs of classes instead, and has no references.

    It needs gradients and a few clean rows.

    Weakness: triggers that differ from input to input, such as warps, and backdoors that work for one source class alone.
    An attacker who adds the norm to the training loss evades it.

    Fields:
        steps: number of steps of the inversion.
        rows: maximal number of clean rows that are used.
        penalty: weight of the norm in the loss at the start, >= 0; every class adapts its own weight.
        rate: step size of Adam.
        success: share of the rows that the perturbation must turn into the class, above 0 and up to 1.
        threshold: index above which a class is flagged if there are no references.
        references: number of clean reference models that are trained, 0 or at least 2.

    Reference: Xiang, Miller and Kesidis 2022, "Detection of Backdoors in Trained Classifiers Without Access to the Training
    Set", IEEE Transactions on Neural Networks and Learning Systems, arXiv:1908.10498.
    """

    steps: int = 100
    rows: int = 32
    penalty: float = 0.05
    rate: float = 0.05
    success: float = 0.9
    threshold: float = 2.0
    references: int = 0

    def __post_init__(self) -> None:
        check_search(self.rows, self.threshold, self.references, "SmallestPerturbation")
        self._search()

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> ModelVerdict:
        return halved(self, model, clean, context, self.rows)

    def inverted(self, model: Model, clean: Dataset) -> Inverted:
        """The smallest perturbation of each class, its norm, and the share of the clean rows that it turns into the class."""
        network = continuous(network_of(model, self), self)
        x, y = rows_of(network, clean[: self.rows], self)
        low, high = bounds(x)
        space = Ball(float((high - low).max()) * x[0].numel() ** 0.5, low, high)
        return invert(network, x, range(network.num_classes), space, self._search(), y=y)

    def recovered(self, model: Model, clean: Dataset) -> Recovery:
        """The smallest perturbation of each class; its statistic is the logarithm of the norm, negated."""
        found = self.inverted(model, clean)
        return Recovery.by_size(found, found.leaves[0][0].numel() ** 0.5, "perturbation")

    def measured(self, model: Model, clean: Dataset, streams: Streams = Streams(0)) -> Statistics:
        return self.recovered(model, clean).statistics

    def _search(self) -> Search:
        return Search(self.steps, self.rate, self.success, self.penalty)
