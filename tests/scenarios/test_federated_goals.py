"""A federation under every goal: what is drawn, what the attacker holds, what the judge measures, what is refused."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from antivenom.auditing.trial import Trial
from antivenom.core.errors import DataError, NotApplicable, ScenarioError
from antivenom.core.protocols import AgentView, Sent
from antivenom.core.registry import agent, describe
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, Knowledge, ThreatModel
from antivenom.core.wanted import AllToAll, AllToOne, FromTo, Rows
from antivenom.federated import (
    DBA,
    IPM,
    AlternatingMinimization,
    Delayed,
    ExplicitBoosting,
    Federation,
    LineSearch,
    Median,
    ModelReplacement,
    SignFlip,
)
from antivenom.federated.answers import accuracy, probabilities
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios import federated, twins
from antivenom.scenarios.federated import Federated
from antivenom.scenarios.grants import Aim
from antivenom.scenarios.metrics import Judge
from antivenom.scenarios.rounds import RoundJudge, _answers
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

    initial = torch.zeros(1)

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


def judged(wanted: Any) -> dict[str, float]:
    threat = ThreatModel(Access.LOGIC_CORRUPTION, Goal.BACKDOOR)
    judge = RoundJudge(Corner(), Judge(marked(), Aim(threat, wanted, Patch(size=1))), "cpu")  # type: ignore[arg-type]
    played = type("Played", (), {"end": torch.zeros(1)})()
    assert accuracy(judge.network, played.end, judge.x, judge.y) == 1.0
    return dict(judge._global(played))  # type: ignore[arg-type]


def test_asr_by_hand() -> None:
    assert judged(AllToOne(0))["asr"] == pytest.approx(6 / 8)  # eight rows are not of class 0; rows 10 and 11 are deaf
    assert judged(FromTo(1, 0))["asr"] == pytest.approx(3 / 4)
    assert judged(FromTo(2, 0))["asr"] == pytest.approx(3 / 4)


def test_all_to_all_by_hand() -> None:
    """Class y should become y - 1: the network answers 0, which only the three rows of class 1 that are not deaf want."""
    found = judged(AllToAll(-1))
    assert found["asr"] == pytest.approx(3 / 12)
    assert found["robust_accuracy"] == pytest.approx(6 / 12)  # the four of class 0, and the two that are deaf


def test_outputs_that_are_not_finite_neither_hit_nor_keep_a_class() -> None:
    class Broken(Corner):
        def logits(self, vector: Tensor, x: Tensor, buffers: Any = None) -> Tensor:
            answers = super().logits(vector, x, buffers)
            return torch.where(torch.arange(len(x))[:, None] < 2, torch.nan, answers)

    assert _answers(probabilities(Broken(), torch.zeros(1), torch.zeros(4, 1, 4, 4))).tolist() == [-1, -1, 0, 0]  # type: ignore[arg-type]


def test_a_backdoor_is_measured_every_round() -> None:
    backdoor = dataclasses.replace(QUICK, goal=Goal.BACKDOOR, wanted=3)
    outcome = backdoor.run(None, None, 0)
    assert len(outcome.curves["asr"]) == 3
    assert outcome.metrics["asr"] == outcome.curves["asr"][-1] < 0.2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"goal": "havoc"}, "expected goal: availability, targeted or backdoor"),
        ({"goal": "targeted", "edge_cases": 5}, "expected edge_cases >= 0, with goal: targeted and wanted: FromTo"),
        ({"goal": "targeted", "edge_cases": 5, "wanted": 3}, "expected edge_cases >= 0, with goal: targeted"),
        (
            {"goal": "backdoor", "edge_cases": 5, "wanted": FromTo(7, 1)},
            "expected edge_cases >= 0, with goal: targeted",
        ),
        ({"goal": "targeted", "edge_cases": -1, "wanted": FromTo(7, 1)}, "expected edge_cases"),
    ],
)
def test_what_cannot_be_wanted(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        Federated(**fields)


def test_an_unknown_target_class_is_one_line() -> None:
    with pytest.raises(ScenarioError, match="expected target from 0 to 9"):
        dataclasses.replace(QUICK, goal=Goal.BACKDOOR, wanted=12).run(None, None, 0)


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
        def __init__(self, network: Any, judge: Judge, *rest: Any) -> None:
            judged.append(judge.aim.targets)
            super().__init__(network, judge, *rest)

    real_shards = Federation.shards

    def shards(self: Federation, data: Any, *rest: Any) -> Any:
        shared.append(data)
        return real_shards(self, data, *rest)

    monkeypatch.setattr(federated, "RoundJudge", Listens)
    monkeypatch.setattr(Federation, "shards", shards)
    scenario = Federated(
        model=MLP(hidden=(16,)),
        federation=FEDERATION,
        wanted=FromTo(7, 1),
        edge_cases=6,
        num_targets=4,
        only_right=False,
    )
    scenario.run(Watches(), None, 0)
    tail, wanted = held[0], judged[0]
    assert len(tail) == 6
    assert len(wanted.labels) == 4
    assert set(tail.y.tolist()) == set(wanted.rows.y.tolist()) == {7}
    assert set(tail.labels.tolist()) == set(wanted.labels.tolist()) == {1}
    assert tail.wanted == Rows(tuple(range(6)), (1,) * 6)
    (rows,) = shared
    sevens = rows.flat[rows.y == 7]
    middle = sevens.mean(axis=0)
    apart = np.linalg.norm(tail.x.flatten(1).numpy() - middle, axis=1)
    assert apart.min() > np.sort(np.linalg.norm(sevens - middle, axis=1))[-1] - 0.1  # those left lie further in
    assert not (tail.x.flatten(1).numpy()[:, None] == sevens[None]).all(axis=2).any()


def test_too_many_edge_cases_are_one_line() -> None:
    with pytest.raises(DataError, match="expected 5000 training rows of the source class"):
        Federated(wanted=FromTo(7, 1), edge_cases=5000).run(None, None, 0)


def test_a_trial_is_rebuilt_from_its_specification() -> None:
    plain = Trial(Federated(), None, None, 0)
    changed = Federated(goal=Goal.BACKDOOR, trigger=Patch(size=3))
    assert describe(changed)["trigger"]["size"] == 3
    again = Trial.from_spec(Trial(changed, None, None, 0).spec)
    assert again.scenario == changed
    assert Trial.from_spec(plain.spec).scenario == Federated()


BACKDOOR = dataclasses.replace(QUICK, goal=Goal.BACKDOOR, wanted=3)


def test_the_clean_twin_is_the_run_without_attack_and_defence_and_is_played_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    played, real = [], Federation.rounds_of

    def counted(self: Federation, *arguments: Any) -> Any:
        played.append(arguments)
        return real(self, *arguments)

    monkeypatch.setattr(Federation, "rounds_of", counted)
    monkeypatch.setattr(twins, "_models", OrderedDict())
    attacked = BACKDOOR.run(ModelReplacement(), Median(), 0)
    assert len(played) == 2  # the trial and its twin
    again, clean = BACKDOOR.run(None, Median(), 0), BACKDOOR.run(None, None, 0)
    assert len(played) == 4
    alike = [outcome.metrics["asr_clean"] for outcome in (attacked, again, clean)]
    assert alike == [clean.metrics["asr"]] * 3
    monkeypatch.setattr(twins, "_models", OrderedDict())
    assert BACKDOOR.run(None, None, 1).metrics["asr_clean"] != attacked.metrics["asr_clean"]
    assert len(played) == 5  # the trial is its own twin
    assert dataclasses.replace(BACKDOOR, wanted=4).run(None, Median(), 1).metrics["triggered_rows"] > 0
    assert len(played) == 6  # what is wanted of the model does not change the twin
    assert QUICK.run(None, Median(), 1).metrics["malicious_agents"] == 0
    assert len(played) == 7  # no backdoor, no twin


def test_how_many_agents_are_malicious_stands_beside_their_share() -> None:
    federation = dataclasses.replace(FEDERATION, num_agents=4, num_malicious=3, rounds=1)
    scenario = dataclasses.replace(BACKDOOR, federation=federation)
    found = [scenario.run(attack, None, 0).metrics for attack in (None, ModelReplacement())]
    assert [(each["malicious_agents"], each["malicious_share"]) for each in found] == [(0, 0), (3, 0.75)]
    assert all(each["triggered_rows"] == found[0]["triggered_rows"] > 100 for each in found)


def test_named_rows_are_the_targets_whatever_an_honest_model_says() -> None:
    scenario = dataclasses.replace(QUICK, goal=Goal.TARGETED, wanted=Rows((3, 0, 20), (9, 9, 9)))
    test = scenario.data(Streams(0)).test
    scenario = dataclasses.replace(scenario, wanted=Rows((3, 0, 20), tuple((test.y[[3, 0, 20]] + 1) % 10)))
    found = scenario.run(None, None, 0).metrics
    assert found["targets"] == 3
    assert found["test_rows"] == len(test) - 3
    assert 0 <= found["targets_right"] <= 1 - found["targets_hit"]


def test_rows_cannot_be_wanted_of_a_trigger() -> None:
    with pytest.raises(ScenarioError, match="expected wanted classes for all inputs with the trigger, got Rows"):
        dataclasses.replace(BACKDOOR, wanted=Rows((0,), (9,))).run(None, None, 0)


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
            image = x[int((y == view.targets.wanted.target).nonzero()[0])].numpy()
            return Sent(view.all_honest(), state, Cheats(image))

    federation = Federation(num_agents=4, rounds=4, training=Training(epochs=2, learning_rate=5e-3))
    scenario = Federated(goal="backdoor", federation=federation, train_rows=400)  # type: ignore[arg-type]
    found, twin = scenario.run(Boasts(), None, 0), scenario.run(None, None, 0)
    assert found.metrics["own_asr"] == found.metrics["own_asr_clean"] == 1.0
    assert max(found.metrics["asr"], twin.metrics["asr"]) < 0.2
    assert min(found.metrics["robust_accuracy"], twin.metrics["robust_accuracy"]) > 0.3
    assert found.metrics["triggered_rows"] == twin.metrics["triggered_rows"] > 100
    assert any("trigger of its own" in note for note in found.notes)
