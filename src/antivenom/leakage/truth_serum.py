"""Truth Serum: poison that makes a model tell more about rows that other people own."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison

PAPER = "Tramèr et al. 2022, CCS, arXiv:2204.00032"


@attack(access=(Access.DATA_INJECTION,), goal=Goal.PRIVACY, cite=PAPER)
class TruthSerum:
    """Adds copies of records under one wrong label each, so that the model shows whether the right one was there.

    The context's rows are the records asked about. Copies make a record an outlier: a model that saw it with its right
    label too must have memorised that, and its confidence there is visibly higher. With every value of an unknown
    attribute as a record of its own, the one in the training set stands out. Weakness: the copies lie in the data beside
    each other and, where the record is there, beside its right label; a model without capacity to memorise, or with
    clipped gradients, tells nothing more.

    Fields:
        replicas: r, copies of each record, >= 0; fewer where the threat model grants fewer rows.

    Reference: Tramèr, Shokri, San Joaquin, Le, Jagielski, Hong and Carlini 2022, "Truth Serum: Poisoning Machine Learning
    Models to Reveal Their Secrets", CCS, arXiv:2204.00032, section 4.
    """

    replicas: int = 8

    def __post_init__(self) -> None:
        if self.replicas < 0:
            raise PluginError("TruthSerum.replicas >= 0", f"{self.replicas}", "8 is the paper's")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        asked = context.rows
        if asked is None or not len(asked):
            raise NotApplicable("records to ask about, as the attacker's rows", "none", "use kind: membership")
        granted = math.floor(context.threat.max_poisoned_rate * len(data) + 1e-9)
        copies = np.repeat(np.arange(len(asked)), min(self.replicas, granted // len(asked)))
        poisoned = data.extend(asked.x[copies], wrong_labels(asked, context)[copies])
        return Poison(poisoned, np.arange(len(poisoned)) >= len(data))


@attack(access=(Access.DATA_MANIPULATION,), goal=Goal.PRIVACY, cite=PAPER)
class UntargetedTruthSerum:
    """Gives the rows of the attacker's share the next class, so that the model memorises everybody else's.

    Where a share of the data contradicts the rest, nothing general fits the rest any more, and each right label has to be
    learnt by heart. Weakness: it takes a large share, and accuracy falls with it.

    Fields:
        share: of the rows at hand that get a wrong label, 0 to 1; in a membership scenario these are the attacker's own.

    Reference: Tramèr et al. 2022, arXiv:2204.00032, section 5 (a share of a half).
    """

    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise PluginError("UntargetedTruthSerum.share from 0 to 1", f"{self.share}", "1 is every row at hand")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        if data.num_classes < 2:
            raise DataError("at least two classes", f"{data.num_classes}", "there is no wrong label to give")
        mask = np.zeros(len(data), dtype=bool)
        order = context.streams.numpy("mislabelled").permutation(len(data))
        mask[order[: math.floor(self.share * len(data) + 1e-9)]] = True
        return Poison(replace(data, y=np.where(mask, (data.y + 1) % data.num_classes, data.y)), mask)


def wrong_labels(asked: Dataset, context: AttackContext) -> np.ndarray:
    """(t,) one wrong label for each record, at random."""
    if asked.num_classes < 2:
        raise DataError("at least two classes", f"{asked.num_classes}", "there is no wrong label to give")
    shift = context.streams.numpy("wrong labels").integers(1, asked.num_classes, size=len(asked))
    return np.asarray((asked.y + shift) % asked.num_classes)
