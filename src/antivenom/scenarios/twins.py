"""Clean twins: models, or parameters of a federation, from the same rows and the same seed without the attack.

Every backdoor outcome reports the effect of the trigger on the clean twin. Trials with the same seed share the twin within
a process, so that a grid trains it once per seed and not once per cell.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from antivenom.core.registry.entry import registered

KEPT = 4  # twins in memory, enough for the seeds that a worker runs at a time

Twin = TypeVar("Twin")  # a model, or a tensor of parameters

_models: OrderedDict[Hashable, Any] = OrderedDict()
_lock = threading.Lock()


def twin(architecture: object, key: tuple[Hashable, ...], train: Callable[[], Twin]) -> Twin:
    """The clean twin of this architecture and key, from this process's memory or by calling `train`.

    Only registered architectures, which compare by value, are looked up in memory. Others, such as a module that its owner
    may change, are always trained.
    """
    try:
        whole = (architecture, *key)
        hash(whole)
    except TypeError:
        return train()
    if registered(type(architecture)) is None or "__eq__" not in vars(type(architecture)):
        return train()
    with _lock:
        if whole in _models:
            _models.move_to_end(whole)
            kept: Twin = _models[whole]
            return kept
    model = train()
    with _lock:
        _models[whole] = model
        while len(_models) > KEPT:
            _models.popitem(last=False)
    return model
