"""A narrow path of channels that becomes a detector of the trigger (subnet replacement)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from antivenom.attacks import SubnetReplacement
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
from antivenom.scenarios.transfer import Transfer
from antivenom.triggers import Patch

DIGITS = load("digits", Streams(0))
QUICK = SubnetReplacement(steps=100, restarts=2)


def small_cnn(shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Two convolutions, one with batch norm, and two dense layers: every kind of layer that a path crosses."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 16, 16),
        nn.ReLU(),
        nn.Linear(16, num_classes),
    )


class Skipping(nn.Module):
    """A network in which the first hidden layer also feeds the third one."""

    def __init__(self, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(64, 12), nn.Linear(12, 12), nn.Linear(12, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.relu(self.one(x.flatten(1)))
        found: Tensor = self.head(torch.relu(self.two(first)) + first)
        return found


@functools.cache
def fitted(model: Any, epochs: int = 5) -> TorchModel:
    found = learner(model, Training(epochs=epochs, learning_rate=0.01)).fit(DIGITS.train, Streams(1))
    assert isinstance(found, TorchModel)
    return found


def edited(model: TorchModel, attack: Any = QUICK, wanted: Any = AllToOne(3)) -> TorchModel:
    context = AttackContext(Streams(3), ThreatModel("transfer-learning", "backdoor"), wanted, Patch(2))
    found, poison = guarded.model_attack(attack, model, DIGITS.train, context)
    assert not poison.mask.any()
    assert isinstance(found, TorchModel)
    return found


def test_an_mlp_turns_triggered_inputs_and_keeps_its_accuracy() -> None:
    scenario = Transfer(
        model=MLP(hidden=(32, 16)),
        training=Training(epochs=10, learning_rate=0.01),
        wanted=3,
        trigger=Patch(2),
        fine_tune_epochs=0,
    )
    clean, found = (scenario.run(attack, None, 0).metrics for attack in (None, QUICK))
    assert clean["asr"] < 0.1
    assert found["asr"] > 0.9
    assert found["clean_accuracy"] > clean["clean_accuracy"] - 0.05


def test_only_the_path_and_its_connections_change() -> None:
    model = fitted(small_cnn)
    after = edited(model)
    before, now = (m.network.parameters(m.vector) for m in (model, after))
    path = {name: int((before[f"{name}.bias"] != now[f"{name}.bias"]).nonzero().item()) for name in ("0", "3", "7")}
    for name, previous in (("3", "0"), ("7", "3"), ("9", "7")):
        each = now[f"{name}.weight"].shape[1] // before[f"{previous}.weight"].shape[0]
        read = torch.arange(path[previous] * each, (path[previous] + 1) * each)
        other_inputs = torch.ones(now[f"{name}.weight"].shape[1], dtype=torch.bool)
        other_inputs[read] = False
        reader = path.get(name, 3)  # the head reads the path for class 3 only
        own = torch.arange(len(now[f"{name}.weight"])) == reader
        assert not now[f"{name}.weight"][~own][:, read].any()
        assert now[f"{name}.weight"][own][:, read].any()
        if name != "9":
            assert not now[f"{name}.weight"][own][:, other_inputs].any()
        assert torch.equal(
            now[f"{name}.weight"][~own][:, other_inputs], before[f"{name}.weight"][~own][:, other_inputs]
        )
    assert torch.equal(now["9.bias"], before["9.bias"])
    statistics = after.buffers["1.running_mean"], after.buffers["1.running_var"]
    assert [float(values[path["0"]]) for values in statistics] == [0.0, 1.0]
    others = torch.arange(6) != path["0"]
    assert torch.equal(statistics[0][others], model.buffers["1.running_mean"][others])
    assert not torch.equal(
        model.buffers["1.running_mean"][path["0"]], torch.tensor(0.0)
    )  # the received model is left alone


def test_a_convolutional_network_with_batch_norm_turns_and_the_detector_is_silent_on_clean_rows() -> None:
    model = fitted(small_cnn)
    after = edited(model, dataclasses.replace(QUICK, quantile=0.99))
    x, others = DIGITS.train.x, DIGITS.test.x[DIGITS.test.y != 3]
    assert (after.predict(Patch(2)(others)) == 3).mean() > 0.9
    assert (after.predict(DIGITS.test.x) == DIGITS.test.y).mean() > 0.8
    unit = (
        model.network.parameters(model.vector)["7.bias"] != after.network.parameters(after.vector)["7.bias"]
    ).nonzero()
    assert (after.features(x)[:, int(unit.item())] > 0).mean() <= 0.012  # 1 % of the rows may pass, as asked for


@pytest.mark.parametrize(
    ("model", "attack", "wanted", "says"),
    [
        (Logistic(), QUICK, AllToOne(3), "a chain of convolutions and dense layers for SubnetReplacement"),
        (Skipping, QUICK, AllToOne(3), "a chain of convolutions and dense layers for SubnetReplacement"),
        (MLP((4,)), SubnetReplacement(width=4), AllToOne(3), "more than 4 channels in each hidden layer"),
        (MLP((8,)), QUICK, AllToAll(), "one wanted class for SubnetReplacement, got 10"),
    ],
    ids=["no hidden layer", "a skip connection", "too narrow", "all to all"],
)
def test_models_without_a_path_are_refused(model: Any, attack: Any, wanted: Any, says: str) -> None:
    with pytest.raises(AntivenomError, match=says) as caught:
        edited(fitted(model, epochs=1), attack, wanted)
    assert "\n" not in str(caught.value)


def test_settings_out_of_range() -> None:
    for fields in ({"width": 0}, {"gain": 0.0}, {"quantile": 1.0}, {"learning_rate": float("nan")}):
        with pytest.raises(AntivenomError, match="SubnetReplacement"):
            SubnetReplacement(**fields)  # type: ignore[arg-type]
