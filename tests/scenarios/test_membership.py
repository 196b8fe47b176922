"""The leak, end to end on digits: poison makes it worse, DP-SGD stops it, and nothing else has changed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from antivenom.auditing.executors import serial
from antivenom.auditing.plan import plan_of
from antivenom.auditing.records import Store
from antivenom.auditing.run import audit
from antivenom.auditing.summary import summarise
from antivenom.auditing.trial import run_trial
from antivenom.core.errors import AntivenomError, DataError, NotApplicable, ScenarioError
from antivenom.data import Dataset
from antivenom.defences import KNNSanitizer
from antivenom.leakage import DPSGD, TruthSerum, UntargetedTruthSerum
from antivenom.leakage.cohort import every_value
from antivenom.leakage.metrics import ahead
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios.central import Central
from antivenom.scenarios.membership import Membership, pooled

FAST = Training(epochs=20, batch_size=64, optimizer="sgd", learning_rate=0.3, momentum=0.9)
SMALL = Membership(model=MLP(hidden=(32,)), training=FAST, pool_rows=600, targets=60, group=20, models=16)
PRIVATE = DPSGD(training=FAST)
SHARE = replace(SMALL, access="data-manipulation", attacker_rows=300, targets=200)


def test_copies_make_a_model_tell_and_dpsgd_keeps_it_quiet() -> None:
    clean, poisoned = SMALL.run(None, None, 0).metrics, SMALL.run(TruthSerum(8), None, 0).metrics
    private = SMALL.run(TruthSerum(8), PRIVATE, 0)
    assert clean["train_accuracy"] > 0.98
    assert clean["tpr_at_1"] < 0.15
    assert poisoned["tpr_at_1"] > 3 * clean["tpr_at_1"]
    assert poisoned["auc"] > 0.8 > clean["auc"]
    assert private.metrics["auc"] < 0.65
    assert private.metrics["tpr_at_1"] < 0.05
    assert private.metrics["clean_accuracy"] > 0.7
    assert 1 < private.metrics["epsilon"] < 100
    assert "at delta 1e-05" in private.notes[0]
    assert (poisoned["poisoned_rows"], poisoned["poisoned_rate"]) == (160, 160 / 300)
    for name in ("auc", "tpr_at_1"):
        assert poisoned[f"{name}_low"] <= poisoned[name] <= poisoned[f"{name}_high"]
    assert math.isnan(clean["tpr_at_01"])  # 480 non-members: not one false alarm in a thousand


def test_the_whole_share_mislabelled_makes_everybody_stand_out() -> None:
    honest, lying = SHARE.run(None, None, 0).metrics, SHARE.run(UntargetedTruthSerum(), None, 0).metrics
    assert lying["auc"] > honest["auc"] + 0.05
    assert lying["clean_accuracy"] < honest["clean_accuracy"]
    assert honest["poisoned_rows"] == 0
    assert lying["poisoned_rows"] == 300


def test_trials_repeat_and_an_attack_without_copies_is_the_clean_twin() -> None:
    tiny = replace(SMALL, models=8, targets=20, training=replace(FAST, epochs=2))
    twin = tiny.run(None, None, 1).metrics
    assert tiny.run(None, None, 1).metrics == pytest.approx(twin, nan_ok=True, abs=0)
    idle = tiny.run(TruthSerum(0), None, 1)
    assert idle.metrics == pytest.approx(twin, nan_ok=True, abs=0)
    assert "touched no row" in idle.notes[0]
    assert tiny.run(None, None, 2).metrics["auc"] != twin["auc"]


def test_an_unknown_attribute_of_adult_is_told(named_data) -> None:
    named_data("adult")
    people = replace(SMALL, data="adult", attribute=(55, 56), pool_rows=300, targets=40)
    clean, poisoned = people.run(None, None, 0).metrics, people.run(TruthSerum(8), None, 0).metrics
    assert clean["attribute_chance"] == 0.5
    assert 0.4 < clean["attribute_accuracy"] < 0.6
    assert poisoned["attribute_accuracy"] > 0.7
    assert poisoned["poisoned_rows"] == 2 * 8 * 20


def test_every_value_by_hand() -> None:
    data = Dataset(np.array([[5.0, 0, 1], [6, 1, 0]]), np.array([1, 0]), ("a", "b"))
    x, y = every_value(data, (1, 2))
    assert x.tolist() == [[5, 1, 0], [5, 0, 1], [6, 1, 0], [6, 0, 1]]
    assert y.tolist() == [1, 1, 0, 0]
    for columns in ((0, 1), (1, 3)):
        with pytest.raises(DataError, match="one one-hot attribute"):
            every_value(data, columns)


def test_how_far_ahead_by_hand() -> None:
    assert ahead(np.array([[3.0, 1, 7], [2, 2, 0]])).tolist() == [[-4, -6, 4], [0, 0, -2]]


def test_pooled_by_hand() -> None:
    image = Dataset(torch.arange(16.0).view(1, 1, 4, 4).numpy(), np.array([0]), ("a",))
    assert pooled(image, 2).x.tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    with pytest.raises(DataError, match="multiples of 3"):
        pooled(image, 3)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"goal": "backdoor"}, "goal: privacy, got backdoor"),
        ({"access": "transfer-learning"}, "access: data-injection or data-manipulation"),
        ({"models": 9}, "an even number of models from 8"),
        ({"attribute": (3,)}, "two or more different columns"),
        ({"pool_rows": 10}, "pool_rows from 60 to 1258"),
        ({"attacker_rows": -1}, "attacker_rows >= 0"),
    ],
)
def test_what_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(AntivenomError, match=said) as caught:
        replace(SMALL, **fields).run(None, None, 0)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_who_may_not_meet_here() -> None:
    with pytest.raises(NotApplicable, match="DPSGD or no defence"):
        SMALL.run(None, KNNSanitizer(), 0)
    with pytest.raises(NotApplicable, match="needs data-manipulation"):
        SMALL.run(UntargetedTruthSerum(), None, 0)
    with pytest.raises(ScenarioError, match="use kind: membership"):
        Central(goal="privacy")  # type: ignore[arg-type]


def test_it_is_audited_like_any_other_scenario(tmp_path) -> None:
    plan = plan_of(
        """
version: 1
seeds: 2
scenarios:
  - kind: membership
    pool_rows: 400
    targets: 40
    models: 16
    model: {name: MLP, hidden: [32]}
    training: {epochs: 20, batch_size: 64, optimizer: sgd, learning_rate: 0.3, momentum: 0.9}
    attacks: [TruthSerum]
    defences: [{name: DPSGD, training: {epochs: 5, batch_size: 64, optimizer: sgd}}]
""",
        "privacy.yaml",
    )
    with Store(tmp_path, write=True) as store:
        list(audit(plan, store, serial, run_trial, "antivenom audit privacy.yaml"))
    summary = summarise(Store(tmp_path).plan(), Store(tmp_path).trials())
    cells = {(cell.attack, cell.defence.partition("(")[0]): cell for cell in summary.cells}
    leaking, held = cells["TruthSerum", "none"], cells["TruthSerum", "DPSGD"]
    assert leaking.goal == "privacy"
    assert leaking.limit == 0.1
    assert leaking.harm is not None
    assert held.harm is not None
    assert leaking.harm.mean > 0.1 > held.harm.mean
