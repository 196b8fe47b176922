"""A sanitizer that confuses the model about clean rows, so that only poison is still fitted."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.inputs import check_share, stratified, trusted_rows
from antivenom.defences.sanitizers.latent import ROWS, fitted, torch_model
from antivenom.defences.sanitizers.losses import losses

HELD_OUT = 0.3  # share of the trusted rows that give the threshold and are not trained on


@sanitizer(access=ROWS, goal=Goal.BACKDOOR, cite="Qi et al. 2023, USENIX Security, arXiv:2205.13616")
class ConfusionTraining:
    """Trains on the suspicious rows together with trusted rows under random labels, and flags the rows that are still fitted.

    The random labels destroy what the model knows of clean rows and leave the link between trigger and label, which the
    trusted rows do not have. Rounds follow each other; each trains on the suspicious rows with the smallest losses so far.
    Rows are flagged whose loss is smaller than that of nearly all trusted rows that were held out of the training. Weakness:
    it needs a few hundred trusted rows and long training, and it misses poison that the model fits as slowly as clean rows,
    such as clean-label poison.

    Fields:
        share: share of the held-out trusted rows whose loss is below the threshold, 0 to 1.
        rounds: number of rounds.
        kept: share of the suspicious rows on which the last round trains, above 0 and up to 1. The rounds before approach
            it geometrically.
        epochs: passes of each round over these rows and as many confusing ones.
        weight: number of confusing rows for each suspicious row, > 0.

    Reference: Qi, Xie, Wang, Wu, Mahloujifar and Mittal 2023, "Towards A Proactive ML Approach for Detecting Backdoor Poison
    Samples", USENIX Security, arXiv:2205.13616. There the losses of two batches are weighted; here rows are repeated.
    """

    share: float = 0.05
    rounds: int = 4
    kept: float = 0.1
    epochs: int = 2
    weight: float = 2.0

    def __post_init__(self) -> None:
        check_share(self.share, "ConfusionTraining.share")
        if self.rounds < 1 or not 0 < self.kept <= 1 or self.epochs < 1 or not self.weight > 0:
            raise PluginError(
                "ConfusionTraining.rounds and epochs >= 1, kept above 0 up to 1 and weight > 0",
                f"{self.rounds} and {self.epochs}, {self.kept} and {self.weight}",
            )

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        trusted, model = trusted_rows(context, self), fitted(self, data, context)
        order = stratified(trusted.y, context.streams.numpy("held out"))
        held = order[: max(data.num_classes, int(HELD_OUT * len(trusted)))]
        used = np.setdiff1d(order, held)
        if not len(used):
            raise DataError(
                f"more than {data.num_classes} trusted rows for ConfusionTraining",
                f"{len(trusted)}",
                "hold out more rows",
            )
        rng, rows = context.streams.numpy("labels"), np.arange(len(data))
        for round in range(1, self.rounds + 1):
            for _ in range(self.epochs):  # new labels in each epoch, so that none of them is learnt
                asked = rng.choice(used, max(1, int(self.weight * len(rows))))
                labels = rng.integers(0, data.num_classes, len(asked))
                mixed = data[rows].extend(trusted[asked].x, labels)
                model = torch_model(context.refit(model, mixed, 1), self)
            found = losses(model, data)
            kept = max(1, int(self.kept ** (round / self.rounds) * len(data)))
            rows = np.argsort(found, kind="stable")[:kept]
        limit = np.quantile(losses(model, trusted[held]), self.share)
        return Verdict(-found, found < limit)
