"""Targeted poison that consists of mislabelled copies of the target."""

from __future__ import annotations

import numpy as np

from antivenom.attacks.inputs import rows_per_target, targets
from antivenom.core.errors import PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison


@attack(access=(Access.DATA_INJECTION,), goal=Goal.TARGETED, cite="Chen et al. 2017, arXiv:1712.05526")
class InputInstanceKey:
    """Adds copies of each target, with a little noise, under the label that the attacker wants for it.

    Weakness: the copies lie among rows of another class, so a look at labels or a nearest-neighbour filter detects them.

    Fields:
        copies: rows added for each target, >= 1; fewer if the threat model grants fewer.
        noise: standard deviation of the Gaussian noise on images, in the unit of their pixels; other rows get no noise.

    Reference: Chen, Liu, Li, Lu and Song 2017, "Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning",
    arXiv:1712.05526, section 4.1 (input-instance-key strategies).
    """

    copies: int = 5
    noise: float = 0.02

    def __post_init__(self) -> None:
        if self.copies < 1 or not 0 <= self.noise < float("inf"):
            raise PluginError("InputInstanceKey.copies >= 1 and noise >= 0", f"{self.copies} and {self.noise}")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        chosen, wanted = targets(context, self)
        rows = np.repeat(np.arange(len(chosen)), rows_per_target(self.copies, chosen, data, context))
        x = chosen[rows].x
        if data.is_image and self.noise:
            noise = context.streams.numpy("noise").normal(0, self.noise, x.shape)
            x = np.clip(x + noise, data.dense.min(), data.dense.max()).astype(np.float32)
        poisoned = data.extend(x, wanted[rows])
        return Poison(poisoned, np.arange(len(poisoned)) >= len(data))
