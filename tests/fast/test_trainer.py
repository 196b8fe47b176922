"""A model is trained by compiled code where it can be, with the numbers of the loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from antivenom.attacks import BadNets
from antivenom.core.streams import Streams
from antivenom.data import load
from antivenom.defences import FinePruning
from antivenom.fast import available, dense, trainer
from antivenom.fast.trainer import train_fastest
from antivenom.models.architectures import MLP
from antivenom.models.training import Forward, Training, cross_entropy
from antivenom.models.wrappers import TorchLearner, TorchModel, loop
from antivenom.scenarios import pipeline, twins
from antivenom.scenarios.central import Central
from antivenom.scenarios.transfer import Transfer

TRAINING = Training(epochs=3, learning_rate=0.005)
CENTRAL = Central(model=MLP(hidden=(16,)), training=TRAINING, train_rows=400)
TRANSFER = Transfer(model=MLP(hidden=(16,)), training=TRAINING, fine_tune_epochs=2, train_rows=400)
compiles = pytest.mark.skipif(not available(), reason="numba is absent")


def refused(*_: object, **__: object) -> None:
    raise AssertionError("the loop was called")


@compiles
@pytest.mark.parametrize("training", [TRAINING, Training(epochs=2, optimizer="sgd", momentum=0.5, batch_size=32)])
@pytest.mark.parametrize("model", [MLP(hidden=(16,)), MLP(hidden=(16, 8), dropout=0.3)])
def test_a_fit_is_that_of_the_loop_and_can_be_continued(
    model: MLP, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = load("digits", Streams(0)).train[:203]  # the last batch is smaller
    fits = []
    for by in (loop, train_fastest):
        if by is train_fastest:
            monkeypatch.setattr(trainer, "loop", refused)
        learner = TorchLearner(model, training, trainer=by)
        first = learner.fit(rows, Streams(3))
        fits.append((first, learner.fit(rows, Streams(4), start=first)))
    for slow, fast in zip(*fits, strict=True):
        torch.testing.assert_close(fast.vector, slow.vector, rtol=1e-3, atol=1e-5)


@compiles
@pytest.mark.parametrize(
    ("scenario", "attack", "defence"),
    [(CENTRAL, BadNets(poisoned_rate=0.1), FinePruning()), (TRANSFER, None, None)],
)
def test_a_trial_has_the_outcome_of_the_loop(
    scenario: Central | Transfer, attack: object, defence: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = scenario.run(attack, defence, seed=1)
    monkeypatch.setattr(pipeline, "train_fastest", loop)
    twins._models.clear()
    slow = scenario.run(attack, defence, seed=1)
    assert fast.metrics == pytest.approx(slow.metrics, abs=1e-4)
    assert fast.notes == slow.notes == ()


def corrupted(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
    return 2 * cross_entropy(forward, x, y)


def test_a_corrupted_loss_and_pruned_weights_are_trained_by_the_loop() -> None:
    rows = load("digits", Streams(0)).train[:100]
    slow, fast = (TorchLearner(MLP(hidden=(8,)), TRAINING, trainer=by) for by in (loop, train_fastest))
    pruned: list[TorchModel] = []
    for learner in (slow, fast):
        model = learner.fit(rows, Streams(0), corrupted)
        smaller = model.scaled(dict.fromkeys(model.channels()[:3], 0.0))
        pruned += [model, learner.fit(rows, Streams(1), start=smaller)]
    assert torch.equal(pruned[0].vector, pruned[2].vector)
    assert torch.equal(pruned[1].vector, pruned[3].vector)
    assert not pruned[3].vector[~pruned[3].kept].any()


def test_a_trial_says_that_compiled_code_was_absent_where_it_would_have_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dense, "available", lambda: False)
    expected = (
        "the model was trained without compiled code, which is slower: "
        "numba and llvmlite cannot be imported (pip install 'antivenom[fast]')",
    )
    assert CENTRAL.run(None, None, seed=0).notes == expected
    assert TRANSFER.run(None, None, seed=0).notes == expected
    decaying = Training(epochs=1, weight_decay=0.1)
    assert Central(model=MLP(hidden=(8,)), training=decaying, train_rows=200).run(None, None, seed=0).notes == ()
