"""Truth Serum: poison that makes a model reveal more about the rows of other people."""

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
    """Adds copies of target records with a wrong label, so that the model reveals whether it was trained on a record.

    The targets are the rows of the context. The copies make a target an outlier. A model that was also trained on it with
    its true label had to memorise that label, and its confidence is visibly higher. To infer an unknown attribute, each
    of its values becomes a target of its own. Weakness: the copies are identical rows in the data, some with the label of
    the true record beside them. A model that cannot memorise, or with clipped gradients, reveals no more than before.

    Fields:
        replicas: r, copies of each record, >= 0; fewer if the threat model grants fewer rows.

    Reference: Tramèr, Shokri, San Joaquin, Le, Jagielski, Hong and Carlini 2022, "Truth Serum: Poisoning Machine Learning
    Models to Reveal Their Secrets", CCS, arXiv:2204.00032, section 4.
    """

    replicas: int = 8

    def __post_init__(self) -> None:
        if self.replicas < 0:
            raise PluginError("TruthSerum.replicas >= 0", f"{self.replicas}")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        asked = context.rows
        if asked is None or not len(asked):
            raise NotApplicable("target records, as the rows of the context", "none", "use kind: membership")
        granted = math.floor(context.threat.max_poisoned_rate * len(data) + 1e-9)
        copies = np.repeat(np.arange(len(asked)), min(self.replicas, granted // len(asked)))
        poisoned = data.extend(asked.x[copies], wrong_labels(asked, context)[copies])
        return Poison(poisoned, np.arange(len(poisoned)) >= len(data))


@attack(access=(Access.DATA_MANIPULATION,), goal=Goal.PRIVACY, cite=PAPER)
class UntargetedTruthSerum:
    """Gives the attacker's share of the rows the next class, so that the model memorises the rows of everyone else.

    If a large share of the data contradicts the rest, the model cannot generalise and has to memorise each true label.
    Weakness: it needs a large share of the data, and accuracy falls.

    Fields:
        share: share of the rows that get a wrong label, 0 to 1; in a membership scenario, of the attacker's own rows.

    Reference: Tramèr et al. 2022, arXiv:2204.00032, section 5 (a share of a half).
    """

    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise PluginError("UntargetedTruthSerum.share from 0 to 1", f"{self.share}")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        if data.num_classes < 2:
            raise DataError("at least two classes", f"{data.num_classes}")
        mask = np.zeros(len(data), dtype=bool)
        order = context.streams.numpy("mislabelled").permutation(len(data))
        mask[order[: math.floor(self.share * len(data) + 1e-9)]] = True
        return Poison(replace(data, y=np.where(mask, (data.y + 1) % data.num_classes, data.y)), mask)


def wrong_labels(asked: Dataset, context: AttackContext) -> np.ndarray:
    """One random wrong label for each record, (t,)."""
    if asked.num_classes < 2:
        raise DataError("at least two classes", f"{asked.num_classes}")
    shift = context.streams.numpy("wrong labels").integers(1, asked.num_classes, size=len(asked))
    return np.asarray((asked.y + shift) % asked.num_classes)
