"""The figures of a federation's rounds show what its attacker wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from antivenom.auditing.executors import serial
from antivenom.auditing.plan import plan_of
from antivenom.auditing.records import Store
from antivenom.auditing.report.rounds import rounds
from antivenom.auditing.run import audit
from antivenom.auditing.summary import summarise
from antivenom.auditing.trial import run_trial

TEXT = """
version: 1
seeds: 2
scenarios:
  - kind: federated
    goal: {goal}
    federation: {{num_agents: 4, rounds: 2, training: {{epochs: 1, batch_size: 50}}}}
    model: {{name: MLP, hidden: [8]}}
    attacks: [{attack}]
"""


@pytest.mark.parametrize(
    ("goal", "attack", "head", "said"),
    [
        ("availability", "SignFlip", "global accuracy", "Test accuracy by defence ends at"),
        ("backdoor", "ModelReplacement", "attack success rate", "Attack success rate ends at"),
        ("targeted", "ExplicitBoosting", "target confidence", "Target confidence ends at"),
    ],
)
def test_each_goal_has_its_own_curve(tmp_path: Path, goal: str, attack: str, head: str, said: str) -> None:
    plan = plan_of(TEXT.format(goal=goal, attack=attack), "goals")
    with Store(tmp_path, write=True) as store:
        assert len(list(audit(plan, store, serial, run_trial, "antivenom audit goals"))) == 4
        (figure,) = rounds(summarise(store.plan(), store.trials()))["shown"]
    assert figure["heads"][0] == head
    assert said in figure["figure"]
    assert len(figure["rows"]) == 2
    assert "not measured" not in {row[0] for row in figure["rows"]}
    others = {"attack success rate", "target confidence", "targets hit"} - {head}
    assert not (others - ({"targets hit"} if goal == "targeted" else set())) & set(figure["heads"])
