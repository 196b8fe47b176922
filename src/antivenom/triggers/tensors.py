"""Triggers on torch tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from antivenom.core.protocols import Trigger


def on_tensor(trigger: Trigger, x: Tensor) -> Tensor:
    """Apply a trigger to inputs x (m, ...) on their device.

    The result is differentiable in x if the trigger has its own `on_tensor`. Otherwise the inputs pass through numpy, and
    no gradient reaches x.
    """
    own = getattr(trigger, "on_tensor", None)
    if own is not None:
        found: Tensor = own(x)
        return found
    return x.new_tensor(np.asarray(trigger(x.detach().cpu().numpy())))
