"""A client detector that looks at the length of updates."""

from __future__ import annotations

import torch

from antivenom.core.errors import PluginError
from antivenom.core.protocols import ServerView
from antivenom.core.registry import client_detector
from antivenom.core.verdict import Verdict
from antivenom.fast import kernels


@client_detector(goal=("availability", "targeted", "backdoor"), cite="Sun et al. 2019, arXiv:1911.07963")
class NormBound:
    """Flags an agent whose update is longer than a bound, or than a multiple of the round's median length.

    The score is the length over the median length. Weakness: an attacker who knows the bound projects onto it
    (NormBounded), and honest agents with odd shards send long updates, too.

    Fields:
        bound: the largest L2 norm that passes; None uses the median alone.
        factor: the largest multiple of the median norm that passes; ignored with a bound.

    Reference: Sun et al. 2019, arXiv:1911.07963.
    """

    bound: float | None = None
    factor: float = 3.0

    def __post_init__(self) -> None:
        if (self.bound is not None and not self.bound > 0) or not self.factor > 0:
            raise PluginError("bound and factor above 0", f"{self.bound} and {self.factor}")

    def __call__(self, view: ServerView, state: None) -> tuple[Verdict, None]:
        norms = kernels.norms(view.updates).cpu().numpy()
        middle = float(torch.tensor(norms).quantile(0.5)) if len(norms) else 0.0
        scores = norms / middle if middle else norms
        return Verdict(scores, norms > self.bound if self.bound is not None else scores > self.factor), None
