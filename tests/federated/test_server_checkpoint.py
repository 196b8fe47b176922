"""A server's state can be saved, and is loaded without running any code from the file."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import ServerView
from antivenom.core.registry import Kind, entries
from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.federated import (
    CRFL,
    FLANDERS,
    NNM,
    WBC,
    CenteredClipping,
    Chain,
    ClippedClustering,
    FLDetector,
    FoolsGold,
    Mean,
    Server,
    ServerState,
)
from antivenom.federated.aggregation import has_memory

STREAMS = Streams(3)
ROUNDS = [torch.randn(6, 8, generator=STREAMS.torch("updates", number)) for number in range(8)]
REMEMBER = (
    CenteredClipping(tau=1.0),
    ClippedClustering(),
    FoolsGold(),
    WBC(),
    Chain((NNM(f=1),), CenteredClipping(tau=0.5)),
    CRFL(rule=FoolsGold()),
)


def steps(server: Server, numbers: range) -> list[Tensor]:
    starts = [torch.full((8,), float(number)) for number in numbers]
    ids = np.arange(6)  # numpy's numbers must not get into the state
    return [server.step(n + 1, s, ROUNDS[n], ids).aggregate for n, s in zip(numbers, starts, strict=True)]  # type: ignore[arg-type]


def test_every_rule_with_memory_is_tested_here() -> None:
    made = [entry.cls() for entry in entries(Kind.AGGREGATOR) if entry.origin == "antivenom"]
    assert {type(rule) for rule in made if has_memory(rule)} <= {type(rule) for rule in REMEMBER}


@pytest.mark.parametrize("rule", REMEMBER, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize(
    "detector", [FLDetector(start=2, window=3), FLANDERS(f=1, sample=5)], ids=lambda each: type(each).__name__
)
def test_a_server_goes_on_from_its_checkpoint(rule: Any, detector: Any) -> None:
    whole, first, second = (Server(rule, (detector,), streams=STREAMS) for _ in range(3))
    expected = steps(whole, range(8))
    steps(first, range(5))
    file = io.BytesIO()
    torch.save(vars(first.state), file)
    file.seek(0)
    second.state = ServerState(**torch.load(file, weights_only=True))
    assert second.state.detectors[0] is not None
    assert all(torch.equal(*pair) for pair in zip(steps(second, range(5, 8)), expected[5:], strict=True))


class Remembers:
    """A rule and a detector whose state is what it is told to be."""

    has_memory = True

    def __init__(self, state: object) -> None:
        self.state = state

    def step(self, updates: Tensor, weights: Tensor, view: ServerView, state: object) -> tuple[Tensor, object]:
        return updates.mean(dim=0), self.state

    def __call__(self, view: ServerView, state: object) -> tuple[Verdict, object]:
        n = len(view.updates)
        return Verdict(np.zeros(n), np.zeros(n, dtype=bool)), self.state


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda: np.zeros(3), "ndarray"),
        (lambda: {"a": [(1, np.float64(2.0))]}, "float64"),
        (lambda: {np.int64(1): 2.0}, "int64"),
        (lambda: Streams(0), "Streams"),
        (lambda: (torch.zeros(2), {1, 2}), "set"),
    ],
    ids=["array", "a number inside", "a key", "an object", "a set"],
)
@pytest.mark.parametrize("side", ["rule", "detector"])
def test_a_state_that_a_checkpoint_could_not_hold_is_refused(make: Callable[[], object], got: str, side: str) -> None:
    plugin: Any = Remembers(make())
    server = Server(plugin) if side == "rule" else Server(Mean(), (plugin,))
    with pytest.raises(
        PluginError, match=f"a state of tensors and plain values from Remembers, got {got}: keep tensors"
    ):
        server.step(1, torch.zeros(8), ROUNDS[0], range(6))


def test_plain_states_pass() -> None:
    kept = {"seen": (1, 2.0, None, True, "x"), 3: [torch.zeros(2), {}]}
    server = Server(Remembers(kept), (Remembers(kept),))  # type: ignore[arg-type]
    server.step(1, torch.zeros(8), ROUNDS[0], range(6))
    assert server.state == ServerState(kept, (kept,))
