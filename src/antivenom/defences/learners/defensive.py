"""A robust learner that plants a backdoor of its own, which overrules the attacker's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import robust_learner
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.defences.changed import Changed
from antivenom.defences.inputs import require_images, trusted_rows
from antivenom.defences.learners.isolation import ABL, network_for
from antivenom.triggers import Patch


@robust_learner(
    access=(Access.DATA_INJECTION, Access.DATA_MANIPULATION),
    goal=Goal.BACKDOOR,
    cite="Liu, Sangiovanni-Vincentelli and Yue 2023, ICCV, arXiv:2307.15539",
)
class NAB:
    """Non-adversarial backdoor: stamps suspicious rows, corrects their labels, and stamps every input at prediction time.

    The rows that are learnt first, as `ABL` finds them, get a patch and the label that a model trained on the trusted rows
    gives them. The network is then trained on all rows. It learns that the patch overrules whatever the suspicious rows have
    in common, such as the attacker's trigger. The patch is put on each input before the model answers. It needs a torch
    network, images, and trusted rows.

    Weakness: poison that is not learnt first is not stamped, and its backdoor stays. An attacker who writes the same patch
    into poisoned rows takes it over. With few trusted rows many corrected labels are wrong, and accuracy falls.

    Fields:
        suspicious: share of the rows that is stamped, above 0 and below 1.
        size: side of the patch in pixels, from 1.
        isolating: epochs of the training that finds the suspicious rows, from 1.

    Reference: Liu, Sangiovanni-Vincentelli and Yue 2023, "Beating Backdoor Attack at Its Own Game", ICCV, arXiv:2307.15539.
    There the corrected labels come from clean rows, as here, or from clusters of self-supervised features.
    """

    suspicious: float = 0.05
    size: int = 2
    isolating: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.suspicious < 1 or self.size < 1 or self.isolating < 1:
            got = f"{self.suspicious}, {self.size} and {self.isolating}"
            raise PluginError("NAB.suspicious above 0 and below 1, size and isolating >= 1", got)

    def __call__(self, data: Dataset, context: DefenceContext) -> Model:
        require_images(data, self, "use ABL")
        trusted, (network, x, y) = trusted_rows(context, self), network_for(self, data, context)
        order = np.argsort(ABL(isolating=self.isolating).losses(network, x, y, context), kind="stable")
        rows = order[: max(1, int(self.suspicious * len(data)))]
        stamp = Patch(self.size, float(data.dense.max()), "top-left")
        images, labels = data.dense.copy(), data.y.copy()
        labels[rows] = context.fit(trusted, "labels").predict(images[rows])
        images[rows] = stamp(images[rows])
        return Changed(context.fit(replace(data, x=images, y=labels), "stamped"), stamp)
