"""Backdoors by hand-set weights, and the balance of two losses by multiple gradient descent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from antivenom.attacks import BlindBackdoor, DormantUnits
from antivenom.attacks.logic.blind import balanced, shortest
from antivenom.core.errors import AntivenomError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.wanted import AllToAll, AllToOne
from antivenom.data import load
from antivenom.models.architectures import MLP, Logistic
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, learner
from antivenom.scenarios import guarded
from antivenom.scenarios.central import Central
from antivenom.scenarios.transfer import Transfer
from antivenom.triggers import Patch

DIGITS = load("digits", Streams(0))
TRAINING = Training(epochs=15, learning_rate=0.01)
TRANSFER = Transfer(model=MLP(hidden=(24,)), training=TRAINING, wanted=3, trigger=Patch(2), fine_tune_epochs=0)


def edited(model: Any, attack: Any, wanted: Any = AllToOne(3), trigger: Any = Patch(2)) -> TorchModel:
    context = AttackContext(Streams(3), ThreatModel("transfer-learning", "backdoor"), wanted, trigger)
    found, poison = guarded.model_attack(attack, model, DIGITS.train, context)
    assert not poison.mask.any()
    assert isinstance(found, TorchModel)
    return found


def test_two_edited_units_turn_triggered_inputs_and_leave_accuracy() -> None:
    clean, found = (TRANSFER.run(attack, None, 0).metrics for attack in (None, DormantUnits()))
    assert clean["asr"] < 0.1
    assert found["asr"] > 0.9
    assert found["clean_accuracy"] > clean["clean_accuracy"] - 0.03


def test_only_the_chosen_units_are_edited() -> None:
    model = learner(MLP(hidden=(24,)), TRAINING).fit(DIGITS.train, Streams(1))
    assert isinstance(model, TorchModel)
    after = edited(model, DormantUnits(units=2))
    before, now = (m.network.parameters(m.vector) for m in (model, after))
    units = (before["1.weight"] != now["1.weight"]).any(dim=1)
    assert units.sum() == 2
    assert torch.equal(before["1.bias"][~units], now["1.bias"][~units])
    assert torch.equal(before["3.weight"][:, ~units], now["3.weight"][:, ~units])
    assert torch.equal(before["3.bias"], now["3.bias"])
    outgoing = now["3.weight"][:, units]
    assert (outgoing[3] > 0).all()
    assert not outgoing[torch.arange(10) != 3].any()
    rows = torch.tensor(DIGITS.train.x)
    with torch.no_grad():
        active = F.relu(rows.flatten(1) @ now["1.weight"].T + now["1.bias"])[:, units]
    assert (active > 0).any(
        dim=1
    ).float().mean() < 0.003  # silent on clean rows: one in a thousand is above the threshold


@pytest.mark.parametrize(
    ("model", "attack", "wanted", "says"),
    [
        (MLP(hidden=(24,)), DormantUnits(units=24), AllToOne(), "a dense layer of more than 24 units"),
        (Logistic(), DormantUnits(), AllToOne(), "a dense layer of more than 2 units"),
        (MLP(hidden=(24,)), DormantUnits(), AllToAll(), "one wanted class for DormantUnits, got 10"),
    ],
    ids=["too many", "no layer", "all to all"],
)
def test_models_that_cannot_be_edited(model: Any, attack: Any, wanted: Any, says: str) -> None:
    fitted = learner(model, Training(epochs=1)).fit(DIGITS.train, Streams(1))
    with pytest.raises(AntivenomError, match=says) as caught:
        edited(fitted, attack, wanted)
    assert "\n" not in str(caught.value)


def test_a_trigger_that_changes_nothing_is_refused() -> None:
    class Nothing:
        def __call__(self, x: np.ndarray) -> np.ndarray:
            return x.copy()

    fitted = learner(MLP(hidden=(24,)), Training(epochs=1)).fit(DIGITS.train, Streams(1))
    with pytest.raises(AntivenomError, match="a trigger that the last hidden layer tells"):
        edited(fitted, DormantUnits(), AllToOne(3), Nothing())


# --- multiple gradient descent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        (
            [1.0, 0.0],
            [0.0, 2.0],
            0.2,
        ),  # 0.8 (1, 0) + 0.2 (0, 2) = (0.8, 0.4), which is orthogonal to the difference (1, -2)
        ([1.0, 0.0], [-1.0, 0.0], 0.5),
        ([1.0, 0.0], [3.0, 0.0], 0.0),  # the shorter one alone
        ([3.0, 0.0], [1.0, 0.0], 1.0),
        ([1.0, 1.0], [1.0, 1.0], 0.5),
    ],
    ids=["orthogonal", "opposite", "same direction", "shorter second", "equal"],
)
def test_the_shortest_combination_by_hand(first: list[float], second: list[float], share: float) -> None:
    assert shortest(torch.tensor(first), torch.tensor(second)) == pytest.approx(share)


def test_a_loss_that_is_nearly_0_gets_little_weight() -> None:
    weights = torch.tensor([1.0, 1.0], requires_grad=True)
    large, small = 2 * weights[0], 0.01 * weights[1]
    # By hand: the gradients (2, 0) and (0, 0.01) become (1/2, 0) and (0, 100), whose shortest mixture has 1 / (1 + 4 * 100^2).
    assert balanced(large, small) == pytest.approx(1 / 40001, rel=1e-4)
    assert balanced(large, large) == 0.5


def test_losses_without_trained_weights_share_equally() -> None:
    assert balanced(torch.tensor(1.0), torch.tensor(2.0)) == 0.5


def test_mgda_plants_the_backdoor_and_differs_from_fixed_weights() -> None:
    scenario = Central(
        model=MLP(hidden=(24,)),
        training=TRAINING,
        access="logic-corruption",
        wanted=3,
        train_rows=500,
        trigger=Patch(2),
    )
    fixed, balanced = (scenario.run(BlindBackdoor(balance=how), None, 0).metrics for how in ("fixed", "mgda"))
    assert balanced["asr"] > 0.9
    assert balanced["clean_accuracy"] > 0.85
    assert (
        balanced["robust_accuracy"] != fixed["robust_accuracy"] or balanced["clean_accuracy"] != fixed["clean_accuracy"]
    )


def test_an_unknown_balance() -> None:
    with pytest.raises(AntivenomError, match="fixed or mgda, got 'mdga'"):
        BlindBackdoor(balance="mdga")
