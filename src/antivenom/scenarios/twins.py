"""Clean twins: models of the same pipeline on the same rows without the attack, with the same seed.

Every backdoor outcome reports the effect of the trigger on the clean twin. Trials with the same seed share the twin within
a process, so that a grid trains it once per seed and not once per cell.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from antivenom.core.protocols import Model
from antivenom.core.registry.entry import registered

KEPT = 4  # models in memory, enough for the seeds that a worker runs at a time

_models: OrderedDict[Hashable, Model] = OrderedDict()
_lock = threading.Lock()


def twin(architecture: object, key: tuple[Hashable, ...], train: Callable[[], Model]) -> Model:
    """The clean model of this architecture and key, from this process's memory or by calling `train`.

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
            return _models[whole]
    model = train()
    with _lock:
        _models[whole] = model
        while len(_models) > KEPT:
            _models.popitem(last=False)
    return model
