"""Trigger inversion: the smallest change of inputs that makes a model predict each class."""

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
from antivenom.defences.spaces import MaskAndPattern


@model_detector(access=tuple(Access), goal=Goal.BACKDOOR, cite="Wang et al. 2019, S&P")
class NeuralCleanse:
    """Searches the smallest mask and pattern that turn clean rows into each class. A class with a tiny mask is suspicious.

    All classes are inverted in one batch. The statistic of a class is the logarithm of its mask's L1 norm; only small masks
    count. With reference models, the statistic is compared with that of the same class in these models, and a clean model
    is flagged with a probability of at most 1 / (references + 1), if it was trained like them. Without references, it is
    compared with the median over the classes, as in the paper. Then the verdict is uncalibrated: with ten classes the index
    of a clean model often exceeds 2, because some classes are naturally close to others. A class for which no mask works
    is not reached: it is reported and not judged.

    It needs gradients and a few clean rows. References are trained in the user's pipeline on the clean rows that the
    inversion does not use; `compared` takes given ones. They should be trained like the model, on as many rows.

    Weakness: triggers that are not masks, such as warps, triggers that depend on the input, and triggers that work on one
    source class alone are missed. An attacker who adds the size of the recovered mask to the training loss evades it.

    Fields:
        steps: number of steps of the inversion.
        rows: maximal number of clean rows that are used.
        penalty: weight of the mask's L1 norm in the loss at the start, >= 0; every class adapts its own weight.
        success: share of the rows that a trigger must turn into the class, above 0 and up to 1.
        threshold: index above which a class is flagged if there are no references.
        references: number of clean reference models that are trained, 0 or at least 2.

    Reference: Wang, Yao, Shan, Li, Viswanath, Zheng and Zhao 2019, "Neural Cleanse: Identifying and Mitigating Backdoor
    Attacks in Neural Networks", IEEE S&P.
    """

    steps: int = 100
    rows: int = 32
    penalty: float = 0.01
    success: float = 0.98
    threshold: float = 2.0
    references: int = 0

    def __post_init__(self) -> None:
        check_search(self.rows, self.threshold, self.references, "NeuralCleanse")
        self._search()

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> ModelVerdict:
        return halved(self, model, clean, context, self.rows)

    def inverted(self, model: Model, clean: Dataset) -> Inverted:
        """The smallest trigger of each class, its size, and the share of the clean rows that it turns into the class."""
        network = continuous(network_of(model, self), self)
        x, y = rows_of(network, clean[: self.rows], self)
        space = MaskAndPattern(*bounds(x), first=0.5)
        return invert(network, x, range(network.num_classes), space, self._search(), y=y)

    def recovered(self, model: Model, clean: Dataset) -> Recovery:
        """The smallest trigger of each class; its statistic is the logarithm of the mask's size, negated."""
        found = self.inverted(model, clean)
        return Recovery.by_size(found, found.leaves[0][0].numel(), "mask")

    def measured(self, model: Model, clean: Dataset, streams: Streams = Streams(0)) -> Statistics:
        return self.recovered(model, clean).statistics

    def _search(self) -> Search:
        return Search(self.steps, success=self.success, penalty=self.penalty)
