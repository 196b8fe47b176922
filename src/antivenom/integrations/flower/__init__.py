"""A defence around any Flower strategy, and malicious clients for red teams. Needs flwr (extra `flower`).

    from antivenom.integrations.flower import Defended

    strategy = Defended(FedAvg())

The names below are looked up when they are first used, because a client's process starts once for each message and must not
import what only the server needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from antivenom.core.errors import PluginError

if TYPE_CHECKING:
    from antivenom.integrations.flower.defended import Defended
    from antivenom.integrations.flower.federation import FlowerModel, FlowerRows, FlowerTraining
    from antivenom.integrations.flower.limits import Limits
    from antivenom.integrations.flower.wire import layout_of

__all__ = ["Defended", "FlowerModel", "FlowerRows", "FlowerTraining", "Limits", "layout_of"]

_MODULES = {
    "Defended": "defended",
    "FlowerModel": "federation",
    "FlowerRows": "federation",
    "FlowerTraining": "federation",
    "Limits": "limits",
    "layout_of": "wire",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "flwr":
            raise
        raise PluginError(
            "the package flwr", "an installation without it", "pip install 'antivenom[flower]'"
        ) from error
