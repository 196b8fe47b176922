"""Accuracies of many parameters at once equal those of one after another."""

from __future__ import annotations

import pytest
import torch

from antivenom.core.lockstep import in_step
from antivenom.core.streams import Streams
from antivenom.federated import answers
from antivenom.federated.answers import accuracies, accuracy
from antivenom.models.architectures import MLP, SmallCNN
from antivenom.models.network import build

SHAPE = (1, 16, 16)


def measured(architecture, seed: int, device: str):
    """A network, three of its parameters (good, not finite, none right by design) and rows that the first knows half of."""
    streams = Streams(seed)
    network = build(architecture, SHAPE, 4, streams).to(device)
    x = torch.randn(40, *SHAPE, generator=streams.torch("x"), dtype=torch.float64).to(device)
    first = network.initial.double()
    known = network.logits(first, x).argmax(dim=1)
    y = torch.where(torch.arange(40, device=device) < 20, known, (known + 1) % 4)
    return network, torch.stack([first, first * torch.nan, -first]), x, y


@pytest.mark.parametrize("architecture", [MLP((6,)), SmallCNN(dense=8)], ids=repr)
def test_stacked_equals_one_by_one(architecture, device, monkeypatch):
    network, vectors, x, y = measured(architecture, 1, device)
    apart = answers._one_by_one([(network, vector, x, y) for vector in vectors])
    assert apart[:2] == [0.5, 0.0]
    assert apart == [accuracy(network, vector, x, y) for vector in vectors]
    assert accuracies(network, vectors, x, y) == apart
    assert answers._stacked([(network, vector, x, y) for vector in vectors]) == apart
    monkeypatch.setattr(answers, "ROOM", 5000)  # a few rows at a time
    assert answers._stacked([(network, vector, x, y) for vector in vectors]) == apart


@pytest.mark.parametrize("way", ["_one_by_one", "_stacked"])
def test_trials_in_step_are_measured_together(way, monkeypatch, device):
    trials = [measured(MLP((6,)), seed, device) for seed in range(4)]
    expected = [accuracies(*trial) for trial in trials]
    found = []

    def counted(some):
        found.append(len(some))
        return getattr(answers, way)(some)

    monkeypatch.setattr(answers, "_way", lambda network, x: counted)
    assert list(in_step([lambda trial=trial: accuracies(*trial) for trial in trials], 4)) == expected
    assert found == [12]
