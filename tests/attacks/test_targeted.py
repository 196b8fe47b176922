"""Targeted poison: the judge draws the targets, the attacker sees those and no other test row, and each attack bites."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from antivenom.attacks import FeatureCollision, InputInstanceKey, RIPPLe
from antivenom.attacks.targeted.collision import features
from antivenom.core.errors import AntivenomError, NotApplicable
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.wanted import FromTo, Rows
from antivenom.data import Dataset, Poison, load
from antivenom.models.architectures import MLP
from antivenom.models.network import Network
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, learner
from antivenom.scenarios.central import Central
from antivenom.scenarios.targets import draw_targets
from antivenom.scenarios.transfer import Transfer

SMALL: dict[str, Any] = {
    "model": MLP(hidden=(32,)),
    "training": Training(epochs=10, learning_rate=0.01),
    "train_rows": 600,
    "goal": "targeted",
}
CENTRAL = Central(**SMALL, wanted=FromTo(4, 9), num_targets=3)
SEEN: dict[str, Any] = {}


def context(targets: Dataset, labels: tuple[int, ...]) -> AttackContext:
    threat = ThreatModel("data-injection", "targeted")
    return AttackContext(Streams(3), threat, Rows(tuple(range(len(labels))), labels), targets=targets)


def test_targets_are_drawn_from_the_test_rows_and_taken_out_of_them() -> None:
    test = load("digits", Streams(0)).test
    targets, rest = draw_targets(test, FromTo(4, 9), 3, Streams(0))
    assert (targets.rows.y == 4).all()
    assert targets.labels.tolist() == [9, 9, 9]
    assert len(rest) == len(test) - 3
    kept = {row.tobytes() for row in rest.x}
    assert not any(row.tobytes() in kept for row in targets.rows.x)
    named, _ = draw_targets(test, Rows((5, 2), ((test.y[5] + 1) % 10, (test.y[2] + 1) % 10)), 1, Streams(0))
    assert np.array_equal(named.rows.x, test.x[[5, 2]])


def test_the_attacker_sees_the_targets_and_no_other_test_row(plugins: None) -> None:
    @attack(access=("data-injection",), goal="targeted", cite="none")
    class Looks:
        """Remembers what it is shown."""

        def __call__(self, data: Dataset, context: AttackContext) -> Poison:
            SEEN["context"] = context
            return Poison.none(data)

    CENTRAL.run(Looks(), None, 0)
    view = SEEN["context"]
    assert len(view.targets) == 3
    assert view.wanted(view.targets.y, 10).tolist() == [9, 9, 9]
    assert view.trigger is None
    assert view.rows is None


def test_instance_keys_are_disturbed_copies_with_the_wanted_label() -> None:
    data = load("digits", Streams(0)).train[:100]
    targets = data[data.y == 4][:2]
    poison = InputInstanceKey(copies=3, noise=0.0)(data, context(targets, (9, 1)))
    added = poison.data[poison.mask]
    assert added.y.tolist() == [9, 9, 9, 1, 1, 1]
    assert np.array_equal(added.x, targets.x[[0, 0, 0, 1, 1, 1]])
    noisy = InputInstanceKey(copies=3, noise=0.1)(data, context(targets, (9, 1))).data[100:]
    assert 0.01 < np.abs(noisy.x - added.x).mean() < 0.1
    assert noisy.x.min() >= data.x.min()
    assert noisy.x.max() <= data.x.max()


def test_collisions_have_the_wanted_classs_label_and_the_targets_features() -> None:
    data = load("digits", Streams(0)).train[:300]
    target = data[data.y == 4][:1]
    frogs = FeatureCollision(poisons=5, opacity=0.0)
    poison = frogs(data, context(target, (9,)))
    added, start = (
        poison.data[poison.mask],
        FeatureCollision(poisons=5, opacity=0.0, steps=0)(data, context(target, (9,))),
    )
    assert (added.y == 9).all()
    model = learner(frogs.surrogate, frogs.training).fit(data, Streams(3).child("surrogate"))
    assert isinstance(model, TorchModel)
    goal = features(model, torch.tensor(target.x))
    near, far = (
        float(((features(model, torch.tensor(rows.x)) - goal) ** 2).sum()) for rows in (added, start.data[start.mask])
    )
    assert near < 0.2 * far
    assert np.abs(added.x - start.data.x[300:]).mean() < 0.2  # still near the rows of the wanted class


def test_features_enter_the_layer_that_runs_last_not_the_one_declared_last() -> None:
    class HeadFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.body = nn.Linear(8, 10), nn.Linear(64, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.relu(self.body(x.flatten(1))))

    module = HeadFirst()
    network = Network(module, (1, 8, 8), 10)
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = features(TorchModel(network, network.initial), x)
    assert torch.allclose(found, torch.relu(module.body(x.flatten(1))))
    assert torch.autograd.grad(found.sum(), x)[0].shape == x.shape


@pytest.mark.parametrize(("bad", "rise"), [(InputInstanceKey(copies=10), 0.3), (FeatureCollision(poisons=30), 0.02)])
def test_each_attack_moves_its_targets(bad: Any, rise: float) -> None:
    """Collisions move a model that is trained from scratch far less than one whose features are frozen."""
    clean, hurt = CENTRAL.run(None, None, 0).metrics, CENTRAL.run(bad, None, 0).metrics
    assert hurt["target_confidence"] > clean["target_confidence"] + rise
    assert hurt["targets"] == 3
    assert hurt["clean_accuracy"] > clean["clean_accuracy"] - 0.1


def test_a_pretrained_model_can_be_poisoned_for_chosen_inputs() -> None:
    moved = Transfer(**SMALL, wanted=FromTo(4, 9), num_targets=2, fine_tune_epochs=2)
    bad = RIPPLe(training=Training(epochs=10, learning_rate=0.01))
    clean, hurt = moved.run(None, None, 0).metrics, moved.run(bad, None, 0).metrics
    assert clean["targets_hit"] == 0
    assert hurt["targets_hit"] == 1


def test_what_targeted_poison_needs() -> None:
    data = load("digits", Streams(0)).train[:50]
    empty = AttackContext(Streams(0), ThreatModel("data-injection", "targeted"))
    for bad in (InputInstanceKey(), FeatureCollision()):
        with pytest.raises(NotApplicable, match="target inputs for"):
            bad(data, empty)
    with pytest.raises(AntivenomError, match="1000 test rows to target"):
        Central(**SMALL, num_targets=1000).run(None, None, 0)
