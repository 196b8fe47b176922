"""Acceptance without clean rows: margins and the weights of the head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import gamma
from torch import nn

from antivenom.core.errors import NotApplicable
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.defences import MMBD, WeightScreen
from antivenom.defences.acceptance.calibration import compared
from antivenom.defences.acceptance.margins import by_gamma
from antivenom.models.network import Network
from antivenom.models.wrappers import TorchModel


def dense(seed: int, planted: float = 0.0, classes: int = 8) -> TorchModel:
    """One dense layer of random weights. `planted` is added to three weights of class 2."""
    rng = np.random.default_rng(seed)
    module = nn.Linear(20, classes)
    with torch.no_grad():
        weights = rng.normal(size=(classes, 20))
        weights[2 % classes, :3] += planted
        module.weight.copy_(torch.tensor(weights))
        module.bias.zero_()
    network = Network(module, (20,), classes)
    return TorchModel(network, network.initial)


NO_ROWS = Dataset(np.zeros((0, 20)), np.zeros(0, dtype=int), tuple("abcdefgh"))


def test_the_largest_margins_of_a_linear_model() -> None:
    """Class 2 of two: the margin x w is largest where x is 1 for positive and 0 for negative weights."""
    model = dense(0, classes=2)
    weight = model.network.parameters(model.vector)["weight"]
    difference = (weight[1] - weight[0]).numpy()
    expected = [np.maximum(-difference, 0).sum(), np.maximum(difference, 0).sum()]
    rows = Dataset(np.zeros((0, 20)), np.zeros(0, dtype=int), ("a", "b"))
    assert MMBD(steps=200).margins(model, rows) == pytest.approx(expected, rel=0.05)


def test_a_planted_class_has_the_largest_margin() -> None:
    references = [dense(seed) for seed in range(1, 6)]
    verdict = compared(MMBD(), dense(0, planted=20.0), NO_ROWS, references)
    assert verdict.p_value == pytest.approx(1 / 6)
    assert verdict.classes is not None
    assert verdict.classes.scores.argmax() == 2
    assert verdict.classes.flags.tolist() == [i == 2 for i in range(8)]
    assert not compared(MMBD(), references[0], NO_ROWS, [dense(0), *references[1:]]).flag
    alone = by_gamma(MMBD().margins(dense(0, planted=20.0), NO_ROWS), 0.05)
    assert alone.p_value is None
    assert "uncalibrated" in alone.notes[0]


def test_the_p_value_of_the_paper() -> None:
    margins = np.array([1.0, 1.2, 0.9, 1.1, 5.0])
    shape, _, scale = gamma.fit(margins[:4], floc=0)
    verdict = by_gamma(margins, 0.05)
    assert verdict.classes is not None
    expected = 1 - gamma.cdf(1.0, shape, scale=scale) ** 5
    assert 10 ** -verdict.classes.scores[0] == pytest.approx(expected)
    assert verdict.classes.flags.tolist() == [False] * 4 + [True]
    assert not by_gamma(np.array([1.0, 5.0]), 0.05).flag
    assert not by_gamma(np.array([-1.0, -1.0, -1.0, -2.0]), 0.05).flag
    assert np.isfinite(by_gamma(np.array([1.0, 1.1, 1.2, 1e4]), 0.05).score)


def test_the_screen_of_weights_names_a_planted_row() -> None:
    verdict = compared(WeightScreen(), dense(0, planted=20.0), NO_ROWS, ())
    assert verdict.classes is not None
    assert verdict.classes.flags[2]
    assert verdict.classes.scores.argmax() == 2
    references = [dense(seed) for seed in range(1, 10)]
    ranked = compared(WeightScreen(), dense(0, planted=20.0), NO_ROWS, references)
    assert ranked.p_value == pytest.approx(0.1)
    assert ranked.classes is not None
    assert ranked.classes.scores.argmax() == 2


def test_a_head_without_a_row_for_each_class() -> None:
    class Averaged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :3] * self.only

    network = Network(Averaged(), (5,), 3)
    with pytest.raises(NotApplicable, match="a last layer with an output for each of 3 classes"):
        WeightScreen().measured(TorchModel(network, network.initial), NO_ROWS)


def test_margins_are_repeatable() -> None:
    one, other = (MMBD(steps=5).margins(dense(0), NO_ROWS, Streams(seed)) for seed in (0, 0))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, MMBD(steps=5).margins(dense(0), NO_ROWS, Streams(1)))
