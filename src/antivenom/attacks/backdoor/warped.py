"""WaNet as poisoned rows."""

from __future__ import annotations

import numpy as np

from antivenom.attacks.backdoor.planting import drawn, planted, rows_to_turn
from antivenom.attacks.inputs import backdoor, check_share, count
from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.triggers import Warp


@attack(
    access=(Access.DATA_INJECTION, Access.DATA_MANIPULATION),
    goal=Goal.BACKDOOR,
    cite="Nguyen and Tran 2021, arXiv:2102.10369",
)
class WaNet:
    """Plants warped images with the wanted label, and images of its noise mode with the true one.

    The images of the noise mode are warped by the same field with random jitter. They teach the model to react to this field
    only, so that trigger inversion and blending defences see no general weakness. In the paper the attacker controls the
    training and warps each batch anew; here the rows are poisoned once. Weakness: a small warp is hard to learn for a small
    network or in a short training, and crops of the training images weaken it.

    Fields:
        poisoned_rate: warped rows with the wanted label, as a share of the clean rows, 0 to 1.
        noise_rate: rows of the noise mode, as a share of the clean rows, 0 to 1. 0 is the ablation without it.

    Reference: Nguyen and Tran 2021, "WaNet - Imperceptible Warping-based Backdoor Attack", ICLR, arXiv:2102.10369,
    section 3.4. It needs the trigger Warp.
    """

    poisoned_rate: float = 0.1
    noise_rate: float = 0.2

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "WaNet.poisoned_rate")
        check_share(self.noise_rate, "WaNet.noise_rate")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        wanted, trigger = backdoor(context, self)
        if not isinstance(trigger, Warp):
            raise NotApplicable("the trigger Warp for WaNet", type(trigger).__name__, "use BadNets with this trigger")
        eligible, labels = rows_to_turn(data, wanted)
        turned = drawn(eligible, count(self.poisoned_rate, len(data)), context)
        others = np.setdiff1d(np.arange(len(data)), turned)
        noisy = drawn(others if len(others) else turned, count(self.noise_rate, len(data)), context, "noise rows")
        x = trigger(data.dense[turned]), trigger.jittered(data.dense[noisy], context.streams.numpy("noise"))
        rows = np.concatenate([turned, noisy])
        return planted(data, rows, np.concatenate(x), np.concatenate([labels[turned], data.y[noisy]]), context)
