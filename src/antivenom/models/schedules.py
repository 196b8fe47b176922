"""Learning-rate schedules: factors of the step size by `done`, the share of the steps that are done, 0 to below 1."""

from __future__ import annotations

import math

from antivenom.core.errors import PluginError
from antivenom.core.registry import schedule


@schedule(cite="Robbins and Monro 1951, Ann. Math. Stat. 22(3)")
class Constant:
    """A constant step size."""

    def __call__(self, done: float) -> float:
        return 1.0


@schedule(cite="Loshchilov and Hutter 2017, arXiv:1608.03983")
class Cosine:
    """The step size falls along half a cosine wave.

    Fields:
        end: factor of the step size at the end, 0 to 1.
    """

    end: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.end <= 1:
            raise PluginError("Cosine.end from 0 to 1", f"{self.end}")

    def __call__(self, done: float) -> float:
        return self.end + (1 - self.end) * half_cosine(done)


@schedule(cite="He et al. 2016, CVPR, arXiv:1512.03385, section 4.2")
class Steps:
    """The step size is multiplied by a factor at certain points of the training.

    Fields:
        at: these points as shares of all steps, rising, each above 0 and below 1.
        factor: the factor at each point, above 0.
    """

    at: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1

    def __post_init__(self) -> None:
        rising = list(self.at) == sorted({*self.at})
        if not rising or not all(0 < share < 1 for share in self.at) or not 0 < self.factor < math.inf:
            raise PluginError("Steps.at rising between 0 and 1, and factor above 0", f"{self.at} and {self.factor}")

    def __call__(self, done: float) -> float:
        return float(self.factor ** sum(done >= share for share in self.at))


@schedule(cite="Smith 2017, WACV, arXiv:1506.01186")
class Cyclic:
    """The step size rises and falls linearly several times.

    Fields:
        cycles: number of times.
        low: factor of the step size at the ends of each cycle, 0 to 1. In its middle the factor is 1.
    """

    cycles: int = 4
    low: float = 0.05

    def __post_init__(self) -> None:
        if self.cycles < 1 or not 0 <= self.low <= 1:
            raise PluginError("Cyclic.cycles >= 1 and low from 0 to 1", f"{self.cycles} and {self.low}")

    def __call__(self, done: float) -> float:
        place = self.cycles * done % 1
        return self.low + (1 - self.low) * (1 - abs(2 * place - 1))


def half_cosine(done: float) -> float:
    """(1 + cos(pi done)) / 2, which falls from 1 to 0 as `done` rises from 0 to 1.

    Reference: Loshchilov and Hutter 2017, arXiv:1608.03983.
    """
    return 0.5 * (1 + math.cos(math.pi * done))
