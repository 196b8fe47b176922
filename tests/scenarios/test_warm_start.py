"""A federation that starts warm: honest rounds before round 1, which no curve shows."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Any

import pytest
import torch

from antivenom.auditing.trial import Trial
from antivenom.core.errors import ScenarioError
from antivenom.core.streams import Streams
from antivenom.core.threat import Goal
from antivenom.federated import Federation, FewerEpochs, Median, ModelReplacement
from antivenom.federated.clients import Client, one_by_one
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios import twins
from antivenom.scenarios.federated import Federated

TRAINING = Training(epochs=1, batch_size=50, learning_rate=5e-3)
FEDERATION = Federation(num_agents=4, rounds=2, training=TRAINING)
COLD = Federated(model=MLP(hidden=(8,)), federation=FEDERATION, goal=Goal.AVAILABILITY)
WARM = dataclasses.replace(COLD, warm_start=2)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments of every federation that is played, with an empty memory of twins."""
    seen, real = list[Any](), Federation.rounds_of

    def recorded(self: Federation, *arguments: Any) -> Any:
        seen.append((self, *arguments))
        return real(self, *arguments)

    monkeypatch.setattr(Federation, "rounds_of", recorded)
    monkeypatch.setattr(twins, "_models", OrderedDict())
    return seen


def test_it_is_honest_averaging_of_all_agents_whatever_the_attack_and_the_defence(played: list[Any]) -> None:
    outcome = WARM.run(FewerEpochs(), Median(), 0)
    (before, network, shards, *_), (federation, started, *rest) = played
    vector = network.initial
    for number in (1, 2):
        own = Streams(0).child("warm start", "round", number)
        clients = [Client(network, vector, *shards.of_agent(a), TRAINING, own.child("agent", a)) for a in range(4)]
        vector = one_by_one(clients).mean(dim=0)
    torch.testing.assert_close(started.initial, vector, rtol=0, atol=1e-5)
    assert (before.rounds, federation.rounds) == (2, 2)
    assert FewerEpochs() in rest
    assert len(outcome.curves["accuracy"]) == outcome.metrics["rounds"] == 2


def test_it_starts_where_training_has_come_to_and_draws_the_same_targets(played: list[Any]) -> None:
    cold, warm = (
        dataclasses.replace(scenario, goal=Goal.TARGETED).run(None, None, 0)
        for scenario in (COLD, dataclasses.replace(WARM, warm_start=8))
    )
    assert warm.curves["accuracy"][0] > cold.curves["accuracy"][0] + 0.2
    (_, cold_network, _, cold_targets, *_), _, (*_,) = played
    (_, _, _, warm_targets, *_) = played[2]
    assert torch.equal(cold_targets.x, warm_targets.x)
    assert torch.equal(cold_targets.labels, warm_targets.labels)
    assert torch.equal(cold_network.initial, played[1][1].initial)  # both from the same initial weights


def test_the_clean_twin_starts_warm_too(played: list[Any]) -> None:
    backdoor = dataclasses.replace(WARM, goal=Goal.BACKDOOR, wanted=3)
    attacked, clean = backdoor.run(ModelReplacement(), None, 0), backdoor.run(None, None, 0)
    assert attacked.metrics["asr_clean"] == clean.metrics["asr"]
    warm, trial, twin, again = played
    assert warm[1].initial is not trial[1].initial
    assert trial[1].initial is twin[1].initial is again[1].initial  # the warm start is played once per seed


def test_it_is_part_of_a_trials_identity() -> None:
    cold, warm = (Trial(scenario, None, None, 0) for scenario in (COLD, WARM))
    assert cold.key != warm.key
    assert Trial.from_spec(warm.spec).scenario == WARM


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ScenarioError, match="expected warm_start >= 0, got -1"):
        dataclasses.replace(COLD, warm_start=-1)
