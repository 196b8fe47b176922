"""The clean twin: what the same rows and the same seed give without the attack; a model, or a federation's parameters.

Every backdoor outcome reports what the trigger does to it. Trials of one seed share it within a process, so a grid pays
for it once per seed and not once per cell.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from antivenom.core.registry.entry import registered

KEPT = 4  # twins; enough for the seeds that a worker has in hand

Twin = TypeVar("Twin")  # a model, or a tensor of parameters

_models: OrderedDict[Hashable, Any] = OrderedDict()
_lock = threading.Lock()


def twin(architecture: object, key: tuple[Hashable, ...], train: Callable[[], Twin]) -> Twin:
    """The clean twin: from memory if one of this architecture and key was trained here, else trained now.

    A registered architecture is a value; any other, such as a module that its owner may change, is trained anew.
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
