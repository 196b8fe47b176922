"""The search for the worst attack: paired, complete, honest about luck and about failures."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from antivenom.core.errors import NotApplicable, ScenarioError
from antivenom.core.outcome import Outcome
from antivenom.core.threat import HARMS, Goal
from antivenom.federated import ALIE, IPM, AccuracyCheck, LineSearch, Median, Scaled, SignFlip
from antivenom.federated.agents.adaptive import Centre
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios.federated import Federated
from antivenom.scenarios.search import OMNISCIENT, Attempt, default_families, worst_case


@dataclasses.dataclass(frozen=True)
class Valley:
    """A scenario whose harm is largest at factor 2.2; seeds from 100 on are kinder, and ALIE cannot be run."""

    goal: Goal = Goal.AVAILABILITY

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        if isinstance(attack, ALIE):
            raise NotApplicable("something", "ALIE", "leave it out")
        factor = 0.0 if attack is None else getattr(attack, "factor", 1.0)
        lost = 0.0 if attack is None else 0.5 * math.exp(-(math.log(factor / 2.2) ** 2))
        lost = lost / 2 if seed >= 100 else lost
        return Outcome({"clean_accuracy": 0.9 - lost - 0.01 * seed % 0.1, "chance_accuracy": 0.1})


def search(**options: Any) -> Any:
    return worst_case(
        None,
        Valley(),
        families=[Scaled(IPM()), SignFlip(), ALIE()],
        factors=(0.3, 1.0, 3.0),
        seeds=(0, 1),
        **options,  # type: ignore[arg-type]
    )


def test_the_worst_is_found_refined_and_confirmed_on_fresh_seeds() -> None:
    found = search(refine=3, confirm=(100, 101))
    assert isinstance(found.attack, Scaled)
    assert found.attack.factor == pytest.approx(2.2, rel=0.15)
    assert abs(math.log(found.attack.factor / 2.2)) < abs(math.log(3 / 2.2))  # nearer than the grid
    assert found.harm == pytest.approx(0.5 / 0.8, rel=0.03)
    assert found.confirmed == pytest.approx(found.harm / 2, rel=0.1)
    assert found.ranking()[0] == (found.attack, found.harm)
    assert [harm for _, harm in found.ranking()] == sorted((harm for _, harm in found.ranking()), reverse=True)


def test_every_trial_is_listed_and_reported() -> None:
    told: list[tuple[int, int, Attempt]] = []
    found = search(refine=1, confirm=(100,), progress=lambda *report: told.append(report))
    assert tuple(attempt for _, _, attempt in told) == found.attempts
    assert [done for done, _, _ in told] == list(range(1, len(told) + 1))
    assert all(done <= planned for done, planned, _ in told)
    stages = [attempt.stage for attempt in found.attempts]
    assert stages.count("twin") == 3  # seeds 0 and 1, and the fresh one
    assert stages.count("search") == 2 * (3 + 1 + 1)
    assert stages.count("refine") == 2  # half-way to 1; beyond 3 there is nothing
    assert stages.count("confirm") == 1
    failed = [attempt for attempt in found.attempts if attempt.error]
    assert {type(attempt.attack) for attempt in failed} == {ALIE}
    assert all(math.isnan(attempt.harm) for attempt in failed)


def test_when_everything_fails_nothing_wins() -> None:
    found = worst_case(None, Valley(), families=[ALIE()], seeds=(0,))  # type: ignore[arg-type]
    assert found.attack is None
    assert math.isnan(found.harm)
    assert found.ranking() == []


def test_a_seed_cannot_choose_and_confirm() -> None:
    with pytest.raises(ScenarioError, match="other seeds for confirmation"):
        search(confirm=(1, 2))


def test_harm_by_hand() -> None:
    twin = {"clean_accuracy": 0.9, "chance_accuracy": 0.1, "asr": 0.05, "targets_hit": 0.2}
    own = {"clean_accuracy": 0.5, "asr": 0.75, "targets_hit": 0.9}

    def harm_done(goal: str, own: dict[str, float], twin: dict[str, float]) -> float:
        return Goal(goal).metric.value(own, twin)

    assert harm_done("availability", own, twin) == pytest.approx(0.5)
    assert harm_done("availability", {"clean_accuracy": 0.0}, twin) == 1.0
    assert harm_done("backdoor", own, twin) == pytest.approx(0.7)
    assert harm_done("targeted", own, twin) == pytest.approx(0.7)
    assert math.isnan(harm_done("backdoor", {}, twin))


def test_the_default_families_serve_their_goal_and_know_the_rule() -> None:
    from antivenom.scenarios.federated import _agent

    for goal in HARMS:
        for family in default_families(goal, Median()):
            assert _agent(family, goal) is family
    tuned = [family for family in default_families(Goal.AVAILABILITY, Median()) if isinstance(family, LineSearch)]
    assert {family.rule for family in tuned} == {Median()}
    assert not any(isinstance(f, LineSearch) for f in default_families(Goal.AVAILABILITY, AccuracyCheck()))
    # z of ALIE is searched: its own, from n and f, is about 0 for few attackers
    assert Scaled(ALIE(z=1.0), centre=Centre.BENIGN) in default_families(Goal.AVAILABILITY, Median())


def test_against_the_mean_a_larger_scale_is_worse() -> None:
    federation = dataclasses.replace(
        OMNISCIENT.federation, rounds=3, training=Training(epochs=1, batch_size=20, learning_rate=5e-3)
    )
    scenario = Federated(model=MLP(hidden=(16,)), federation=federation, goal=Goal.AVAILABILITY)
    found = worst_case(
        None, scenario, families=[Scaled(IPM(1.0))], factors=(0.1, 10.0), seeds=(0,), refine=0, confirm=(100,)
    )
    assert found.attack.factor == 10.0
    assert found.harm > 0.8
    assert found.confirmed > 0.8
