"""Triggers on torch tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from antivenom.core.protocols import Trigger


def on_tensor(trigger: Trigger, x: Tensor) -> Tensor:
    """The inputs (m, ...) with the trigger in them, on their device.

    Differentiable in x if the trigger has an `on_tensor` of its own; otherwise the inputs pass through numpy once.
    """
    own = getattr(trigger, "on_tensor", None)
    if own is not None:
        found: Tensor = own(x)
        return found
    return x.new_tensor(np.asarray(trigger(x.detach().cpu().numpy())))
