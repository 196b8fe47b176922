"""Models: architectures and estimators, their training, and one interface over torch, scikit-learn and black boxes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from antivenom.models.own import BlackBox, maker_of
    from antivenom.models.training import Training
    from antivenom.models.wrappers import Learner, learner

__all__ = ["BlackBox", "Learner", "Training", "learner", "maker_of"]
_HOME = {"BlackBox": "own", "Learner": "wrappers", "Training": "training", "learner": "wrappers", "maker_of": "own"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'antivenom.models' has no attribute {name!r}")
    return getattr(importlib.import_module(f"antivenom.models.{_HOME[name]}"), name)
