"""A federation under every goal: what is drawn, what the attacker holds, what the judge measures, what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from antivenom.audit.trial import Trial
from antivenom.core.errors import DataError, NotApplicable, ScenarioError
from antivenom.core.protocols import AgentView, Sent, Targets
from antivenom.core.registry import agent, describe
from antivenom.core.threat import Goal, Knowledge
from antivenom.federated import (
    DBA,
    IPM,
    AlternatingMinimization,
    Delayed,
    ExplicitBoosting,
    Federation,
    LineSearch,
    Median,
    SignFlip,
)
from antivenom.federated.answers import accuracy
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios import federated
from antivenom.scenarios.federated import Federated
from antivenom.scenarios.rounds import RoundJudge
from antivenom.triggers import Patch

FEDERATION = Federation(
    num_agents=5,
    rounds=3,
    training=Training(epochs=2, batch_size=20, learning_rate=5e-3),
    knowledge=Knowledge.OMNISCIENT,
)
QUICK = Federated(model=MLP(hidden=(16,)), federation=FEDERATION, goal=Goal.AVAILABILITY)


def test_availability_is_accuracy_lost_against_the_clean_twin() -> None:
    clean, attacked, defended = (
        QUICK.run(a, rule, 0) for a, rule in ((None, None), (IPM(5.0), None), (IPM(5.0), Median()))
    )
    assert attacked.metrics["clean_accuracy"] < 0.3 < clean.metrics["clean_accuracy"] - 0.2
    assert defended.metrics["clean_accuracy"] > clean.metrics["clean_accuracy"] - 0.2
    assert np.isnan(clean.metrics["target_confidence"])
    assert "asr" not in clean.metrics
    assert clean.metrics["test_rows"] == defended.metrics["test_rows"]


class Corner:
    """A network that answers class 0 when the bottom right pixel is lit, else the class of a row's mark."""

    def logits(self, vector: Tensor, x: Tensor, buffers: Any = None) -> Tensor:
        lit = x[:, 0, -1, -1] > 0.5
        answers = torch.where(lit & (x[:, 0, 0, 1] < 0.5), 0, (10 * x[:, 0, 0, 0]).round().long())
        return 10 * torch.nn.functional.one_hot(answers, 10).float()


def marked() -> Any:
    """Twelve rows: class and mark 0, 1, 2 in turn; in the last two another pixel makes the network deaf."""
    from antivenom.data import Dataset

    x = np.zeros((12, 1, 4, 4), dtype=np.float32)
    y = np.arange(12) % 3
    x[:, 0, 0, 0] = y / 10
    x[10:, 0, 0, 1] = 1
    return Dataset(x, y, tuple("0123456789"), "marked")


def judged(source: int | None) -> float:
    rows = marked()
    nothing = Targets(torch.zeros(0, 1, 4, 4), torch.zeros(0), torch.zeros(0), target=0, trigger=Patch(size=1))
    judge = RoundJudge(Corner(), nothing, rows, "cpu", source)  # type: ignore[arg-type]
    played = type("Played", (), {"end": torch.zeros(1)})()
    assert accuracy(judge.network, played.end, judge.x, judge.y) == 1.0
    return dict(judge._global(played))["asr"]  # type: ignore[arg-type]


def test_asr_by_hand() -> None:
    assert judged(None) == pytest.approx(6 / 8)  # eight rows are not of class 0; rows 10 and 11 are deaf
    assert judged(1) == pytest.approx(3 / 4)
    assert judged(2) == pytest.approx(3 / 4)


def test_a_backdoor_is_measured_every_round() -> None:
    backdoor = dataclasses.replace(QUICK, goal=Goal.BACKDOOR, target=3)
    outcome = backdoor.run(None, None, 0)
    assert len(outcome.curves["asr"]) == 3
    assert outcome.metrics["asr"] == outcome.curves["asr"][-1] < 0.2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"goal": "havoc"}, "expected goal: availability, targeted or backdoor"),
        ({"goal": "backdoor", "source": 0}, "expected a target that differs"),
        ({"goal": "backdoor", "source": 3, "target": 3}, "expected a target that differs"),
        ({"goal": "targeted", "edge_cases": 5}, "expected edge_cases with goal: targeted and a source"),
        ({"goal": "backdoor", "edge_cases": 5, "source": 7}, "expected edge_cases with goal: targeted"),
        ({"goal": "targeted", "edge_cases": -1, "source": 7}, "expected edge_cases"),
    ],
)
def test_what_cannot_be_wanted(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        Federated(**fields)


def test_an_unknown_target_class_is_one_line() -> None:
    with pytest.raises(ScenarioError, match="expected target from 0 to 9"):
        dataclasses.replace(QUICK, goal=Goal.BACKDOOR, target=12).run(None, None, 0)


@pytest.mark.parametrize(
    ("goal", "attack", "message"),
    [
        (Goal.AVAILABILITY, ExplicitBoosting(), "ExplicitBoosting, whose goal is targeted"),
        (Goal.BACKDOOR, SignFlip(), "SignFlip, whose goal is availability"),
        (Goal.TARGETED, DBA(), "DBA, whose goal is backdoor"),
        (Goal.AVAILABILITY, Delayed(AlternatingMinimization()), "AlternatingMinimization, whose goal is targeted"),
    ],
)
def test_an_agent_that_wants_something_else_is_refused(goal: Goal, attack: Any, message: str) -> None:
    with pytest.raises(NotApplicable, match=message):
        dataclasses.replace(QUICK, goal=goal).run(attack, None, 0)


def test_a_rule_inside_an_agent_is_no_agent() -> None:
    assert QUICK.run(LineSearch(IPM(1.0), Median(), evaluations=3), Median(), 0).metrics["clean_accuracy"] > 0


def test_edge_cases_are_the_tail_and_only_the_attackers(plugins: None, monkeypatch: pytest.MonkeyPatch) -> None:
    held, shared, judged = [], [], []

    @agent(goal="targeted", cite="none")
    class Watches:
        def __call__(self, view: AgentView) -> Tensor:
            held.append(view.targets)
            return torch.zeros(len(view.shards), view.network.dimension)

    real = federated.RoundJudge

    class Listens(real):  # type: ignore[misc, valid-type]
        def __init__(self, network: Any, targets: Targets, *rest: Any) -> None:
            judged.append(targets)
            super().__init__(network, targets, *rest)

    real_shards = Federation.shards

    def shards(self: Federation, data: Any, *rest: Any) -> Any:
        shared.append(data)
        return real_shards(self, data, *rest)

    monkeypatch.setattr(federated, "RoundJudge", Listens)
    monkeypatch.setattr(Federation, "shards", shards)
    scenario = Federated(
        model=MLP(hidden=(16,)), federation=FEDERATION, source=7, edge_cases=6, num_targets=4, only_right=False
    )
    scenario.run(Watches(), None, 0)
    tail, wanted = held[0], judged[0]
    assert len(tail) == 6
    assert len(wanted) == 4
    assert set(tail.y.tolist()) == set(wanted.y.tolist()) == {7}
    (aim,) = set(tail.wanted.tolist())
    assert set(wanted.wanted.tolist()) == {aim} != {7}
    (rows,) = shared
    sevens = rows.flat[rows.y == 7]
    middle = sevens.mean(axis=0)
    apart = np.linalg.norm(tail.x.flatten(1).numpy() - middle, axis=1)
    assert apart.min() > np.sort(np.linalg.norm(sevens - middle, axis=1))[-1] - 0.1  # those left lie further in
    assert not (tail.x.flatten(1).numpy()[:, None] == sevens[None]).all(axis=2).any()


def test_too_many_edge_cases_are_one_line() -> None:
    with pytest.raises(DataError, match="expected 5000 training rows of class 7"):
        Federated(source=7, edge_cases=5000).run(None, None, 0)


def test_a_trial_is_rebuilt_from_its_specification() -> None:
    plain = Trial(Federated(), None, None, 0)
    changed = Federated(goal=Goal.BACKDOOR, trigger=Patch(size=3))
    assert describe(changed)["trigger"]["size"] == 3
    again = Trial.from_spec(Trial(changed, None, None, 0).spec)
    assert again.scenario == changed
    assert Trial.from_spec(plain.spec).scenario == Federated()


@dataclasses.dataclass(frozen=True)
class Cheats:
    """A trigger that shows an image of the target class instead of the input."""

    image: Any = dataclasses.field(repr=False, compare=False)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.repeat(self.image[None], len(x), axis=0)


def test_the_judge_shows_the_scenarios_trigger_and_reports_another_one_beside_it(plugins: None) -> None:
    @agent(goal="backdoor", cite="none")
    class Boasts:
        """Sends honest updates, and shows an image of the target."""

        def step(self, view: AgentView, state: None) -> Sent:
            x, y = view.shards[0]
            image = x[int((y == view.targets.target).nonzero()[0])].numpy()
            return Sent(view.all_honest(), state, Cheats(image))

    federation = Federation(num_agents=4, rounds=4, training=Training(epochs=2, learning_rate=5e-3))
    scenario = Federated(goal="backdoor", federation=federation, train_rows=400)  # type: ignore[arg-type]
    found, twin = scenario.run(Boasts(), None, 0), scenario.run(None, None, 0)
    assert found.metrics["own_asr"] == 1.0
    assert max(found.metrics["asr"], twin.metrics["asr"]) < 0.2
    assert min(found.metrics["robust_accuracy"], twin.metrics["robust_accuracy"]) > 0.3
    assert found.metrics["triggered_rows"] == twin.metrics["triggered_rows"] > 100
    assert any("trigger of its own" in note for note in found.notes)
