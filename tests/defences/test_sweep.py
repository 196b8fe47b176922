"""Detectors that look for small patches by queries, and for small perturbations by gradients, on models known by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.data import Dataset
from antivenom.defences import PatchSweep, SmallestPerturbation
from antivenom.models.network import Network
from antivenom.models.wrappers import BlackBoxModel, TorchModel


class Corner:
    """Answers class 1 with probability .9 if the two pixels of the lower right corner are 1, else class 0."""

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        wanted = (x[:, 0, -1, -2:] == 1).all(axis=1)
        return np.where(wanted[:, None], [0.1, 0.9], [0.8, 0.2])


def images(n: int = 6) -> Dataset:
    x = np.zeros((n, 1, 5, 5), dtype=np.float32)
    x[0, 0, 0, 0] = 1  # the rows reach from 0 to 1
    return Dataset(x, np.arange(n) % 2, ("a", "b"))


def test_the_sweep_finds_the_corner_and_its_trigger() -> None:
    model = BlackBoxModel(Corner(), 2)
    found = PatchSweep(size=2).recovered(model, images())
    assert found.statistics.values == pytest.approx([0.8, 0.9])
    assert found.sizes[1] == 4
    shown = found.triggers[1](np.zeros((1, 1, 5, 5), dtype=np.float32))
    assert shown[0, 0].sum() == 4
    assert model.predict(shown).tolist() == [1]
    assert PatchSweep(size=1).measured(model, images()).values[1] == pytest.approx(0.2)  # no single pixel does it


def test_a_column_of_a_table() -> None:
    class Rule:
        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return np.where((x[:, 2] > 4)[:, None], [0.0, 1.0], [1.0, 0.0])

    rows = Dataset(np.array([[0, 0, 0.0], [1, 2, 3], [1, 1, 5]]), np.array([0, 0, 1]), ("a", "b"))
    found = PatchSweep().recovered(BlackBoxModel(Rule(), 2), rows)
    assert found.statistics.values.tolist() == [1.0, 1.0]
    assert found.triggers[1](np.zeros((1, 3)))[0, 2] == 5


def test_a_class_that_all_rows_have_is_not_judged() -> None:
    rows = Dataset(images().x, np.zeros(6, dtype=int), ("a", "b"))
    found = PatchSweep(size=1).measured(BlackBoxModel(Corner(), 2), rows)
    assert found.reached.tolist() == [False, True]


def test_the_smallest_perturbation_of_a_linear_model() -> None:
    """Logits x and -x + 2 w: at x = 0, class 0 needs x > w, so that the norm of the smallest perturbation is w."""
    network = Network(nn.Linear(1, 2), (1,), 2)
    model = TorchModel(network, torch.tensor([1.0, -1.0, 0.0, 1.0]))  # class 0 wins where 2 x > 1
    rows = Dataset(np.array([[0.0], [0.0], [2.0]]), np.array([1, 1, 0]), ("a", "b"))
    found = SmallestPerturbation(steps=200, success=1.0).inverted(model, rows)
    assert found.reached[0]
    assert found.sizes[0] == pytest.approx(0.5, abs=0.1)
    assert SmallestPerturbation(steps=200, success=1.0).measured(model, rows).values[0] == pytest.approx(
        -np.log(found.sizes[0])
    )


def test_what_they_cannot_take_is_one_line() -> None:
    model = BlackBoxModel(Corner(), 2)
    with pytest.raises(DataError, match="clean rows for PatchSweep, got none"):
        PatchSweep().measured(model, images()[:0])
    frame = Dataset(pd.DataFrame({"a": [1.0, 2.0]}), np.array([0, 1]), ("a", "b"))
    with pytest.raises(NotApplicable, match="rows of numbers for PatchSweep"):
        PatchSweep().measured(model, frame)
    with pytest.raises(NotApplicable, match="a torch model for SmallestPerturbation"):
        SmallestPerturbation().measured(model, images())
    with pytest.raises(PluginError, match=r"PatchSweep\.size, rows and most >= 1"):
        PatchSweep(size=0)
    with pytest.raises(PluginError, match="references 0 or at least 2"):
        SmallestPerturbation(references=1)
