"""Small real data, models and contexts with which the contract calls plugins."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from antivenom.core.errors import PluginError
from antivenom.core.protocols import (
    AttackContext,
    DefenceContext,
    Model,
    Trigger,
)
from antivenom.core.registry import Entry
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset, load
from antivenom.data.schema import Schema
from antivenom.models.architectures import MLP, TinyTransformer
from antivenom.models.estimators import Sklearn
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, learner
from antivenom.scenarios.pipeline import Pipeline
from antivenom.triggers import Patch, Together, Token, Warp

SEED = 7
TRAINING = Training(epochs=2, batch_size=20, learning_rate=0.005)
Check = Callable[[], object]
_T = TypeVar("_T")


def unchanged(entry: Entry, inputs: tuple[Tensor, ...], call: Callable[[], _T]) -> _T:
    """The result of the call, after a check that it left its input tensors unchanged."""
    before = [tensor.clone() for tensor in inputs]
    result = call()
    if not all(map(torch.equal, before, inputs)):
        raise PluginError(f"{entry.name} to leave its inputs alone", "a changed input", "work on a copy")
    return result


def images_and_table() -> Iterator[Dataset]:
    """120 images and 120 rows of a table."""
    for name in ("digits", "breast-cancer"):
        yield load(name, Streams(SEED)).train[:120]


def any_rows() -> Iterator[Dataset]:
    """These two, a sparse table of words in texts, and a regression. A plugin works on each or refuses it with an error."""
    yield from images_and_table()
    table = load("breast-cancer", Streams(SEED)).train[:120]
    frequent = table.dense > np.median(table.dense, axis=0)
    yield dataclasses.replace(table, x=sp.csr_array(frequent.astype(np.float32)))
    yield load("diabetes", Streams(SEED)).train[:120]


def texts() -> Dataset:
    """120 token rows of 8 words. Words from 20 on occur in class 1 only."""
    rng = Streams(SEED).numpy("texts")
    y = np.arange(120) % 2
    rows = rng.integers(2, 20, (120, 8)) + 18 * y[:, None]
    return Dataset(rows, y, ("low", "high"), "texts", schema=Schema.tokens([f"w{i}" for i in range(40)], 8))


def raw_texts() -> Dataset:
    """A DataFrame with one column of raw text."""
    words = pd.DataFrame({"text": [f"{'good' if i % 2 else 'bad'} film, seen {i} times" for i in range(40)]})
    return Dataset.from_arrays(words, np.arange(40) % 2)


def frame() -> Dataset:
    """120 rows of a DataFrame, whose columns are called c0, c1 and so on."""
    table = load("breast-cancer", Streams(SEED)).train[:120]
    names = [f"c{i}" for i in range(table.shape[0])]
    return Dataset(pd.DataFrame(table.dense, columns=names), table.y, table.classes)


def small_model(data: Dataset) -> TorchModel:
    fitted = learner(MLP(hidden=(16,)), TRAINING).fit(data, Streams(SEED).child("model"))
    assert isinstance(fitted, TorchModel)
    return fitted


def text_model(data: Dataset) -> TorchModel:
    """A fitted network for the rows of `texts`."""
    fitted = learner(TinyTransformer(vocabulary=40, width=8, heads=2), TRAINING).fit(data, Streams(SEED).child("model"))
    assert isinstance(fitted, TorchModel)
    return fitted


class Normed:
    """An architecture with batch norm, which some mitigations need."""

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        width = math.prod(shape)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(width, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, num_classes)
        )


def normed_model(data: Dataset) -> TorchModel:
    """A fitted network with batch norm."""
    fitted = learner(Normed(), TRAINING).fit(data, Streams(SEED).child("model"))
    assert isinstance(fitted, TorchModel)
    return fitted


def some_triggers(entry: Entry) -> tuple[Trigger, ...]:
    """Triggers with which an attack is called: a backdoor may need one of a certain form and refuse others."""
    return (Patch(), Warp(), Together(), Token(1, presence=True)) if Goal.BACKDOOR in entry.goals else (Patch(),)


def attack_context(
    threat: ThreatModel, rows: Dataset | None = None, data: Dataset | None = None, trigger: Trigger = Patch()
) -> AttackContext:
    """An attacker's context. A targeted attack gets the first three rows of class 1 in `data` as targets."""
    streams = Streams(SEED).sealed("attack")
    if threat.goal is Goal.BACKDOOR:
        return AttackContext(streams, threat, AllToOne(), trigger, rows=rows)
    if threat.goal is Goal.TARGETED and data is not None:
        return AttackContext(streams, threat, AllToOne(), targets=data[data.y == 1][:3], rows=rows)
    return AttackContext(streams, threat, rows=rows)


def defence_context(data: Dataset, trusted: bool = True) -> DefenceContext:
    """A context whose last 40 rows are trusted. The model is a network for dense classes, and otherwise from scikit-learn."""
    estimator = "Ridge" if data.is_regression else "LogisticRegression"
    torch_fits = not data.is_sparse and not data.is_regression
    model = MLP(hidden=(16,)) if torch_fits else Sklearn(f"sklearn.linear_model.{estimator}")
    return Pipeline(model, TRAINING, "cpu", Streams(SEED)).context(data[-40:] if trusted else None)


def threats(entry: Entry, *levels: Access) -> Iterator[ThreatModel]:
    for access in levels or entry.access or tuple(Access):
        for goal in entry.goals:
            yield ThreatModel(access, goal)


def answers(model: Model, data: Dataset) -> np.ndarray:
    return np.asarray(model.predict_proba(data.x))
