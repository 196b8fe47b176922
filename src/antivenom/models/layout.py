"""The tensors of a network by name and role: trained parameters, frozen parameters, and buffers."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from antivenom.core.errors import ModelError

HALF = (torch.float16, torch.bfloat16)


class Role(enum.StrEnum):
    """How training treats a tensor."""

    TRAINED = "trained"  # a parameter in the flat vector
    FROZEN = "frozen"  # a parameter with requires_grad=False; training does not change it
    BUFFER = "buffer"  # a floating-point buffer, such as running statistics or a constant pixel mean
    COUNTER = "counter"  # an integer buffer, such as the number of batches seen


@dataclass(frozen=True)
class Layout:
    """Names, shapes, types and roles of a network's tensors, parameters first. A shared parameter is listed once.

    Fields:
        names: names from `named_parameters` and `named_buffers`.
        shapes: shape of each tensor.
        dtypes: type of each tensor.
        roles: role of each tensor.
        tied: whether a tensor has more than one name.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    dtypes: tuple[torch.dtype, ...]
    roles: tuple[Role, ...]
    tied: bool = False

    @classmethod
    def of(cls, module: nn.Module) -> Layout:
        """The layout of a module.

        Raises:
            ModelError: no trainable parameters, or parameters of complex numbers.
        """
        parameters = list(module.named_parameters())
        buffers = list(module.named_buffers())
        if not any(p.requires_grad for _, p in parameters):
            got = "only frozen ones" if parameters else "none"
            raise ModelError(f"parameters to train in {type(module).__name__}", got, "set requires_grad on some")
        for name, parameter in parameters:
            if not parameter.is_floating_point() and parameter.requires_grad:
                raise ModelError("real parameters", f"{parameter.dtype} in {name}", "split them into real tensors")
        roles = [Role.TRAINED if p.requires_grad else Role.FROZEN for _, p in parameters]
        roles += [Role.BUFFER if b.is_floating_point() else Role.COUNTER for _, b in buffers]
        both = [*parameters, *buffers]
        aliases = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
        return cls(
            tuple(name for name, _ in both),
            tuple(tensor.shape for _, tensor in both),
            tuple(tensor.dtype for _, tensor in both),
            tuple(roles),
            len(aliases) > len(both),
        )

    def named(self, *roles: Role) -> dict[str, torch.Size]:
        """Names and shapes of the tensors with one of these roles, in order."""
        found = zip(self.names, self.shapes, self.roles, strict=True)
        return {name: shape for name, shape, role in found if role in roles}

    @property
    def types(self) -> dict[str, torch.dtype]:
        """The type of each tensor by name."""
        return dict(zip(self.names, self.dtypes, strict=True))

    @cached_property
    def has_half(self) -> bool:
        """Whether a trained parameter is float16 or bfloat16."""
        pairs = zip(self.dtypes, self.roles, strict=True)
        return any(dtype in HALF and role is Role.TRAINED for dtype, role in pairs)

    @property
    def precision(self) -> torch.dtype | None:
        """The common type of all floating-point parameters, or None if they differ."""
        kinds = {
            dtype
            for dtype, role in zip(self.dtypes, self.roles, strict=True)
            if role in (Role.TRAINED, Role.FROZEN) and dtype.is_floating_point
        }
        return kinds.pop() if len(kinds) == 1 else None
