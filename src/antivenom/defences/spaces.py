"""Trigger spaces: the forms of trigger among which trigger inversion searches, for k problems (such as classes) at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from antivenom.core.protocols import Trigger
from antivenom.triggers import Perturbation, Recovered

Leaves = tuple[Tensor, ...]  # the tensors that are optimised; the first axis of each is the problem


class Space(Protocol):
    """A family of triggers whose free numbers are tensors with the k problems as their first axis."""

    @property
    def isotropic(self) -> bool:
        """Whether all numbers of a problem must have one step size."""
        ...

    def start(self, k: int, shape: tuple[int, ...], generator: torch.Generator) -> Leaves:
        """The numbers of the first k triggers for rows of that shape."""
        ...

    def shown(self, leaves: Leaves, x: Tensor) -> Tensor:
        """Inputs (k, b, *shape): every row of x (b, *shape) with each of the k triggers."""
        ...

    def size(self, leaves: Leaves) -> Tensor:
        """(k,) the size of each trigger, which the search keeps small."""
        ...

    def projected(self, leaves: Leaves) -> Leaves:
        """The numbers moved back to the allowed ones."""
        ...

    def trigger(self, leaves: Leaves, i: int) -> Trigger:
        """The trigger of problem i as a plugin, which the judge and the report can use."""
        ...


@dataclass(frozen=True)
class MaskAndPattern:
    """A part of the input is replaced: (1 - mask) x + mask pattern. Its size is the sum of the mask (L1 norm).

    The mask of an image has one value for each pixel, so that the channels are replaced together.

    Fields:
        low: smallest value of the pattern, a number or one for each column.
        high: largest value of the pattern.
        first: the value of the mask at the start of the search, above 0 and below 1.
    """

    low: Tensor
    high: Tensor
    first: float = 0.05

    isotropic: ClassVar[bool] = False

    def start(self, k: int, shape: tuple[int, ...], generator: torch.Generator) -> Leaves:
        pixels = (1, *shape[1:]) if len(shape) == 3 else shape
        first = torch.tensor(self.first, device=self.low.device).logit()
        raw_mask = first.expand(k, *pixels).clone()
        return raw_mask, torch.zeros(k, *shape, device=self.low.device)

    def _parts(self, leaves: Leaves) -> tuple[Tensor, Tensor]:
        raw_mask, raw_pattern = leaves
        return raw_mask.sigmoid(), self.low + (self.high - self.low) * raw_pattern.sigmoid()

    def shown(self, leaves: Leaves, x: Tensor) -> Tensor:
        mask, pattern = self._parts(leaves)
        return (1 - mask[:, None]) * x + (mask * pattern)[:, None]

    def size(self, leaves: Leaves) -> Tensor:
        return leaves[0].sigmoid().flatten(1).sum(1)

    def projected(self, leaves: Leaves) -> Leaves:
        return leaves

    def trigger(self, leaves: Leaves, i: int) -> Trigger:
        mask, pattern = self._parts(leaves)
        return Recovered(mask[i].expand_as(pattern[i]).cpu().numpy(), pattern[i].cpu().numpy())


@dataclass(frozen=True)
class Ball:
    """One perturbation is added to every row, with a norm of at most `radius`; the sums are clipped to the data's range.

    Fields:
        radius: the largest norm.
        low: smallest value of an input.
        high: largest value of an input.
        norm: 2 for the Euclidean norm, inf for the largest absolute value.
    """

    radius: float
    low: Tensor
    high: Tensor
    norm: float = 2

    isotropic: ClassVar[bool] = True

    def start(self, k: int, shape: tuple[int, ...], generator: torch.Generator) -> Leaves:
        return (torch.zeros(k, *shape, device=self.low.device),)

    def shown(self, leaves: Leaves, x: Tensor) -> Tensor:
        return torch.clamp(x + leaves[0][:, None], self.low, self.high)

    def size(self, leaves: Leaves) -> Tensor:
        # The gradient of the norm at 0 is 0 here, where torch's own has no finite value for some norms.
        flat = leaves[0].flatten(1)
        return flat.abs().amax(1) if self.norm == torch.inf else (flat.square().sum(1) + 1e-12).sqrt()

    def projected(self, leaves: Leaves) -> Leaves:
        (delta,) = leaves
        if self.norm == torch.inf:
            return (delta.clamp(-self.radius, self.radius),)
        norms = delta.flatten(1).norm(dim=1).clamp(min=1e-12)
        return (delta * (self.radius / norms).clamp(max=1).view(-1, *[1] * (delta.dim() - 1)),)

    def trigger(self, leaves: Leaves, i: int) -> Trigger:
        return Perturbation(leaves[0][i].cpu().numpy(), float(self.low.min()), float(self.high.max()))


@dataclass(frozen=True)
class FreeInput:
    """Whole inputs are searched, from several random starts, without any clean row. Their size is always 0.

    Fields:
        starts: number of inputs for each problem.
        low: smallest value of an input, a number or one for each column.
        high: largest value of an input.
    """

    starts: int
    low: Tensor
    high: Tensor

    isotropic: ClassVar[bool] = False

    def start(self, k: int, shape: tuple[int, ...], generator: torch.Generator) -> Leaves:
        drawn = torch.rand(k, self.starts, *shape, generator=generator, device=self.low.device)
        return (drawn.clamp(1e-3, 1 - 1e-3).logit(),)

    def shown(self, leaves: Leaves, x: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * leaves[0].sigmoid()

    def size(self, leaves: Leaves) -> Tensor:
        return leaves[0].new_zeros(len(leaves[0]))

    def projected(self, leaves: Leaves) -> Leaves:
        return leaves

    def trigger(self, leaves: Leaves, i: int) -> Trigger:
        found = self.shown(leaves, leaves[0])[i, 0].cpu().numpy()
        return Recovered(torch.ones(found.shape).numpy(), found)
