"""What rules and detectors require of a federation, checked when it starts, and their access to it in a round."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import Need, Needs, ServerView
from antivenom.core.streams import Streams
from antivenom.models.layout import Role
from antivenom.models.network import Network

_MISSING = {
    Need.LAYERS: (
        "the layers of the model",
        "parameters without a layout",
        "give the server the network or its layout",
    ),
    Need.NETWORK: ("the network", "parameters without one", "give the server the network"),
    Need.ROOT_ROWS: ("root rows of the server", "none", "set validation_rows in the scenario"),
    Need.IDS: ("clients that can be told apart", "updates without ids", "pass the ids"),
    Need.PAST: ("a server that remembers", "one without memory", "keep the state between rounds"),
}


def needs_of(plugin: object) -> frozenset[Need]:
    """The requirements of a rule, reducer or detector, and of those that it contains."""
    own = plugin.needs if isinstance(plugin, Needs) else frozenset[Need]()
    return own.union(*(needs_of(part) for part in _parts(plugin)))


def _parts(plugin: object) -> Iterable[object]:
    if isinstance(plugin, tuple):
        return plugin
    if not dataclasses.is_dataclass(plugin) or isinstance(plugin, type):
        return ()
    held = (getattr(plugin, field.name) for field in dataclasses.fields(plugin))
    return (each for each in held if isinstance(each, tuple) or dataclasses.is_dataclass(each))


def require(plugin: object, given: Iterable[Need]) -> None:
    """Refuse a plugin with a requirement that is not given.

    Raises:
        NotApplicable: the first need that is not met, by name.
    """
    missing = sorted(needs_of(plugin) - frozenset(given))
    if missing:
        expected, got, remedy = _MISSING[missing[0]]
        raise NotApplicable(f"{expected} for {name_of(plugin)}", got, remedy)


def network_of(view: ServerView | None, plugin: object) -> Network:
    """The network that the server sees.

    Raises:
        NotApplicable: a bare matrix, or a server that holds parameters only.
    """
    if view is None or view.network is None:
        expected, got, remedy = _MISSING[Need.NETWORK]
        got = "a bare matrix" if view is None else got
        raise NotApplicable(f"{expected} for {name_of(plugin)}", got, remedy)
    return view.network


def streams_of(view: ServerView | None) -> Streams:
    """The server's randomness in this round. Of a bare matrix it is fresh in every call, so that no client can know it.

    For repeatable results outside a federation, pass a `ServerView` with streams of your own.
    """
    return Streams.fresh() if view is None else view.streams


def layers_of(view: ServerView | None, d: int, plugin: object) -> list[torch.Size]:
    """The shapes of the weights and biases that the d coordinates belong to, in their order.

    Raises:
        NotApplicable: a bare matrix, or a server that knows no layers.
        PluginError: the updates hold more or less than the trained parameters.
    """
    layout = None if view is None else view.layout
    if layout is None and view is not None and view.network is not None:
        layout = view.network.layout
    if layout is None:
        expected, got, remedy = _MISSING[Need.LAYERS]
        raise NotApplicable(f"{expected} for {name_of(plugin)}", "a bare matrix" if view is None else got, remedy)
    shapes = list(layout.named(Role.TRAINED).values())
    size = sum(shape.numel() for shape in shapes)
    if size != d:
        raise PluginError(
            f"updates of the {size} trained parameters for {name_of(plugin)}",
            f"{d} numbers each",
            "leave frozen parameters, running statistics and counters out of the updates",
        )
    return shapes


def name_of(plugin: object) -> str:
    """The plugin's name in messages: that of its class, or of the function."""
    return getattr(plugin, "__name__", type(plugin).__name__)
