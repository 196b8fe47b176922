"""Backdoors whose rows do not form a cluster of their own among the features of the target class."""

from __future__ import annotations

import numpy as np

from antivenom.attacks.backdoor.planting import check_strength, drawn, planted, rows_to_turn
from antivenom.attacks.inputs import backdoor, check_share, count
from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import AttackContext, Trigger, Wanted
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.triggers import Amplified, Together
from antivenom.triggers.composed import check_pieces, piece_masks

QI = "Qi et al. 2023, ICLR (Revisiting the Assumption of Latent Separability)"
ROWS = (Access.DATA_INJECTION, Access.DATA_MANIPULATION)


@attack(access=ROWS, goal=Goal.BACKDOOR, cite=QI)
class AdaptiveBlend:
    """Plants a weakened, partly masked trigger in payload rows with the wanted label and cover rows with the true one.

    Because the cover rows carry the trigger without the wanted label, the model needs more than the trigger's strongest
    feature, and the payload's activations spread among those of the target class. Row filters that look for a cluster
    (spectral signatures, activation clustering, SPECTRE) then miss it. At test time the whole trigger is shown. Weakness:
    few rows and a weak trigger make the success vary from seed to seed; a filter that trains on randomly labelled clean
    rows beside the suspicious ones (confusion training) finds the payload.

    Fields:
        payload_rate: rows with the wanted label, as a share of the clean rows, 0 to 1.
        cover_rate: rows with their true label, as a share of the clean rows, 0 to 1. 0 is the ablation without cover.
        pieces: number of squares into which an image is divided, a square number.
        kept: number of squares, drawn for each row, that keep the trigger in training.
        strength: change by the trigger in training, as a share of its change at test time; 0.75 trains a Blend of 0.2 with
            0.15.

    Reference: Qi, Xie, Li, Mahloujifar and Mittal 2023, "Revisiting the Assumption of Latent Separability for Backdoor
    Defenses", ICLR, section 5 (Adap-Blend, with a Blend trigger).
    """

    payload_rate: float = 0.003
    cover_rate: float = 0.003
    pieces: int = 16
    kept: int = 8
    strength: float = 0.75

    def __post_init__(self) -> None:
        _check_rates(self.payload_rate, self.cover_rate, self.strength, self)
        check_pieces(self.pieces, self.kept, self)

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        wanted, trigger = backdoor(context, self)
        rows, y = _payload_and_cover(self.payload_rate, self.cover_rate, wanted, data, context)
        x = data.dense[rows]
        masks = piece_masks(x.shape, self.pieces, self.kept, context.streams.numpy("pieces"), self)
        return planted(data, rows, np.where(masks, Amplified(trigger, self.strength)(x), x), y, context)


@attack(access=ROWS, goal=Goal.BACKDOOR, cite=QI)
class AdaptivePatch:
    """Plants one of several triggers in each row, in payload rows with the wanted label and cover rows with the true one.

    At test time all of them are shown together. So the attack needs the trigger `Together`; with many small patches it is the
    paper's k-way attack. Weakness: as of AdaptiveBlend. Each part alone is a trigger as well, so that a search for one patch
    may find it.

    Fields:
        payload_rate: rows with the wanted label, as a share of the clean rows, 0 to 1.
        cover_rate: rows with their true label, as a share of the clean rows, 0 to 1. 0 is the ablation without cover.
        strength: change by a trigger in training, as a share of its change at test time.

    Reference: Qi, Xie, Li, Mahloujifar and Mittal 2023, "Revisiting the Assumption of Latent Separability for Backdoor
    Defenses", ICLR, section 5 (Adap-Patch).
    """

    payload_rate: float = 0.003
    cover_rate: float = 0.006
    strength: float = 0.5

    def __post_init__(self) -> None:
        _check_rates(self.payload_rate, self.cover_rate, self.strength, self)

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        wanted, trigger = backdoor(context, self)
        parts = _parts(trigger)
        rows, y = _payload_and_cover(self.payload_rate, self.cover_rate, wanted, data, context)
        x = data.dense[rows].copy()
        which = context.streams.numpy("parts").integers(len(parts), size=len(rows))
        for number, part in enumerate(parts):
            own = which == number
            x[own] = Amplified(part, self.strength)(x[own])
        return planted(data, rows, x, y, context)


def _check_rates(payload: float, cover: float, strength: float, attack: object) -> None:
    name = type(attack).__name__
    check_share(payload, f"{name}.payload_rate")
    check_share(cover, f"{name}.cover_rate")
    check_strength(strength, attack)


def _payload_and_cover(
    payload: float, cover: float, wanted: Wanted, data: Dataset, context: AttackContext
) -> tuple[np.ndarray, np.ndarray]:
    """(numbers of the payload rows and, after them, of the cover rows; the label of each).

    Both are rows for which the attacker wants another class, and no row is in both before all were used once.
    """
    eligible, labels = rows_to_turn(data, wanted)
    turned = count(payload, len(data))
    rows = drawn(eligible, turned + count(cover, len(data)), context)
    return rows, np.where(np.arange(len(rows)) < turned, labels[rows], data.y[rows])


def _parts(trigger: Trigger) -> tuple[Trigger, ...]:
    if not isinstance(trigger, Together):
        name = type(trigger).__name__
        raise NotApplicable("the trigger Together for AdaptivePatch", name, "name its parts in Together.triggers")
    return trigger.triggers
