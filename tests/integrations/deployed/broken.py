"""The client of the example, whose reply a node's configuration breaks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from digits.client_app import train
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.clientapp import ClientApp


def nan(content: Any) -> None:
    """One weight is NaN."""
    weights, biases = content["arrays"].to_numpy_ndarrays()
    weights = weights.copy()
    weights[3, 4] = np.nan
    content["arrays"] = ArrayRecord([weights, biases])


def other_keys(content: Any) -> None:
    """The arrays have other names."""
    content["arrays"] = ArrayRecord({f"other-{name}": array for name, array in content["arrays"].items()})


def garbage(content: Any) -> None:
    """The bytes of an array are no .npy file."""
    array = content["arrays"]["0"]
    content["arrays"]["0"] = Array(dtype=array.dtype, shape=array.shape, stype=array.stype, data=b"garbage")


def nan_claim(content: Any) -> None:
    """The number of examples is NaN."""
    content["metrics"]["num-examples"] = float("nan")


def huge(content: Any) -> None:
    """An array of 500 MB."""
    content["arrays"] = ArrayRecord([np.ones(125_000_000, np.float32), np.zeros(10, np.float32)])


BREAK = {each.__name__: each for each in (nan, other_keys, garbage, nan_claim, huge)}


def broken(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
    """Say that the node trains, wait if it is to be killed, and break the reply."""
    how = str(context.node_config["reply"])
    Path(str(context.node_config["says"])).touch()
    if how == "never":
        time.sleep(600)
    reply = call_next(message, context)
    if how in BREAK:
        BREAK[how](reply.content)
    return reply


app = ClientApp(mods=[broken])
app.train()(train)
