"""The central and transfer arrows: paired by seed, enforced, blind where they must be, and judged with the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

from antivenom.attacks import BadNets, BlindBackdoor, FlippedPoints, LabelFlipping, NoAttack, RIPPLe
from antivenom.core.errors import AntivenomError, DataError, ModelError, NotApplicable, ScenarioError, ThreatError
from antivenom.core.registry import architecture, attack, mitigation, model_detector, sanitizer
from antivenom.core.streams import Streams
from antivenom.core.verdict import ModelVerdict, Verdict
from antivenom.data import Dataset, Poison, load
from antivenom.defences import ActivationClustering, FinePruning, FlagAll, FlagNone, KNNSanitizer
from antivenom.models.architectures import MLP
from antivenom.models.estimators import RandomForest, Sklearn
from antivenom.models.training import Training
from antivenom.scenarios.central import Central
from antivenom.scenarios.transfer import Transfer
from antivenom.triggers import Patch, Stamp

QUICK = Training(epochs=8, batch_size=50, learning_rate=0.01)
FLIPS = Central(model=MLP(hidden=(16,)), training=QUICK, access="data-manipulation", goal="availability")  # type: ignore[arg-type]
PATCH = Central(model=MLP(hidden=(32,)), training=QUICK, wanted=2)
LOGIC = Central(model=MLP(hidden=(32,)), training=QUICK, wanted=2, access="logic-corruption")  # type: ignore[arg-type]
MOVED = Transfer(
    model=MLP(hidden=(32,)), training=Training(epochs=10, learning_rate=0.01), fine_tune_epochs=3, wanted=2
)


def test_a_defence_that_flags_nothing_changes_nothing() -> None:
    for scenario, name in ((FLIPS, LabelFlipping()), (PATCH, BadNets())):
        bare, idle = scenario.run(name, None, 3).metrics, scenario.run(name, FlagNone(), 3).metrics
        for metric in ("clean_accuracy", "asr", "poisoned_rows"):
            assert bare[metric] == pytest.approx(idle[metric], nan_ok=True, abs=0), metric


@pytest.mark.parametrize(
    ("scenario", "idle"),
    [
        (FLIPS, LabelFlipping(poisoned_rate=0)),
        (FLIPS, NoAttack()),
        (PATCH, BadNets(poisoned_rate=0)),
        (LOGIC, BlindBackdoor(share=0)),
    ],
)
def test_an_attack_of_no_strength_is_the_clean_twin(scenario: Central, idle: Any) -> None:
    twin, attacked = scenario.run(None, None, 1).metrics, scenario.run(idle, None, 1).metrics
    assert attacked["clean_accuracy"] == twin["clean_accuracy"]
    assert attacked["asr"] == pytest.approx(twin["asr"], nan_ok=True, abs=0)


def test_trials_repeat_and_seeds_differ() -> None:
    first = FLIPS.run(LabelFlipping(), None, 0).metrics
    assert FLIPS.run(LabelFlipping(), None, 0).metrics == pytest.approx(first, nan_ok=True, abs=0)
    assert FLIPS.run(LabelFlipping(), None, 1).metrics["clean_accuracy"] != first["clean_accuracy"]


def test_what_is_measured() -> None:
    found = PATCH.run(BadNets(poisoned_rate=0.1), KNNSanitizer(), 0).metrics
    rows = len(load("digits", Streams(0)).train) - PATCH.clean_rows
    assert found["poisoned_rows"] == int(0.1 * rows)
    assert found["poisoned_rate"] == found["poisoned_rows"] / rows
    assert found["test_rows"] == len(load("digits", Streams(0)).test)
    assert 0.08 < found["chance_accuracy"] < 0.13
    assert 0 <= found["detection_fpr"] < found["detection_tpr"] <= 1
    assert found["removed_rows"] > 0


def test_each_attack_bites_and_is_granted() -> None:
    assert PATCH.run(BadNets(), None, 0).metrics["asr"] > 0.8 > PATCH.run(None, None, 0).metrics["asr"] + 0.6
    assert LOGIC.run(BlindBackdoor(), None, 0).metrics["asr"] > 0.8
    assert LOGIC.run(BlindBackdoor(), None, 0).metrics["poisoned_rows"] == 0
    assert MOVED.run(RIPPLe(), None, 0).metrics["asr"] > MOVED.run(None, None, 0).metrics["asr"] + 0.4
    lost = (
        FLIPS.run(None, None, 0).metrics["clean_accuracy"]
        - FLIPS.run(LabelFlipping(0.7), None, 0).metrics["clean_accuracy"]
    )
    assert lost > 0.05


@pytest.mark.parametrize(
    ("scenario", "attack_", "said"),
    [
        (FLIPS, FlippedPoints(), "data-manipulation"),
        (PATCH, LabelFlipping(), "data-injection"),
        (PATCH, BlindBackdoor(), "data-injection"),
        (PATCH, RIPPLe(), "model attack"),
        (MOVED, BadNets(), "model attack"),
    ],
)
def test_an_attack_needs_its_access_level(scenario: Any, attack_: Any, said: str) -> None:
    with pytest.raises(NotApplicable, match=said):
        scenario.run(attack_, None, 0)


def test_a_budget_is_enforced() -> None:
    small = Central(model=MLP(hidden=(8,)), training=QUICK, max_poisoned_rate=0.05)
    with pytest.raises(ThreatError, match="max_poisoned_rate"):
        small.run(BadNets(poisoned_rate=0.1), None, 0)


SEEN: list[Dataset] = []


def test_a_sanitizer_sees_training_rows_in_no_telling_order_and_nothing_else(plugins: None) -> None:
    @sanitizer(goal="backdoor", cite="none")
    class Spy:
        """Remembers what it was given."""

        def __call__(self, data: Dataset, context: Any) -> Verdict:
            SEEN[:] = [data]
            assert set(vars(context)) == {"streams", "fit", "refit", "trusted"}
            return Verdict(np.zeros(len(data)), np.zeros(len(data), dtype=bool))

    PATCH.run(BadNets(poisoned_rate=0.2), Spy(), 0)
    split = load("digits", Streams(0))
    given = {row.tobytes() for row in SEEN[0].x}
    assert not given & ({row.tobytes() for row in split.test.x} - {row.tobytes() for row in split.train.x})
    patched = (SEEN[0].x[:, 0, -2:, -2:] == 1).all(axis=(1, 2))
    places = np.flatnonzero(patched) / len(patched)
    assert 0.4 < places.mean() < 0.6  # not the last ones


def test_trusted_rows_are_clean_and_not_trained_on(plugins: None) -> None:
    @mitigation(goal="backdoor", cite="none")
    class Keeper:
        """Remembers the trusted rows."""

        def __call__(self, model: Any, clean: Dataset, context: Any) -> Any:
            SEEN[:] = [clean]
            return model

    kept = PATCH.run(BadNets(), Keeper(), 0).metrics
    assert len(SEEN[0]) == PATCH.clean_rows
    assert kept["clean_accuracy"] == PATCH.run(BadNets(), None, 0).metrics["clean_accuracy"]
    train = {row.tobytes() for row in load("digits", Streams(0)).train.x}
    assert all(row.tobytes() in train for row in SEEN[0].x)


def test_model_detectors_report_and_change_nothing(plugins: None) -> None:
    @model_detector(goal="backdoor", cite="none")
    class Accuses:
        """Accuses class 2."""

        def __call__(self, model: Any, clean: Dataset, context: Any) -> ModelVerdict:
            return ModelVerdict.of_classes(Verdict(np.arange(10) == 2, np.arange(10) == 2))

    for scenario, bad in ((PATCH, BadNets()), (MOVED, RIPPLe())):
        found = scenario.run(bad, Accuses(), 0)
        assert (found.metrics["detected"], found.metrics["detection_tpr"], found.metrics["detection_fpr"]) == (1, 1, 0)
        assert found.metrics["asr"] == scenario.run(bad, None, 0).metrics["asr"]
        assert "only reports" in found.notes[0]
        assert scenario.run(None, Accuses(), 0).metrics["detection_fpr"] == 0.1


def test_a_random_forest_on_a_table() -> None:
    scenario = Central(
        data="breast-cancer", model=RandomForest(n_estimators=20), access="data-manipulation", goal="availability"
    )  # type: ignore[arg-type]
    clean = scenario.run(None, None, 0).metrics["clean_accuracy"]
    hurt = scenario.run(LabelFlipping(0.4), None, 0).metrics["clean_accuracy"]
    mended = scenario.run(LabelFlipping(0.4), KNNSanitizer(), 0).metrics["clean_accuracy"]
    assert clean > 0.9
    assert hurt < clean - 0.1
    assert mended > hurt + 0.05


@pytest.mark.parametrize("defence", [ActivationClustering(), FinePruning()])
def test_defences_that_need_gradients_refuse_a_forest(defence: Any) -> None:
    scenario = Central(data="breast-cancer", model=RandomForest(n_estimators=3), trigger=Stamp())
    with pytest.raises(NotApplicable, match="torch model"):
        scenario.run(BadNets(), defence, 0)


def test_logic_corruption_needs_a_training_loop_of_ours() -> None:
    with pytest.raises(AntivenomError) as caught:
        Central(data="breast-cancer", model=RandomForest(3), access="logic-corruption", trigger=Stamp()).run(
            BlindBackdoor(), None, 0
        )  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "run", "error", "said"),
    [
        ({"wanted": 10}, (None, None), ScenarioError, "target from 0 to 9"),
        ({"clean_rows": 5000}, (None, None), DataError, "clean_rows from 0 to"),
        ({"train_rows": 5000}, (None, None), DataError, "train_rows from 1 to"),
        ({"train_rows": 0}, (None, None), DataError, "train_rows from 1 to"),
        ({"clean_rows": 0}, (None, FinePruning()), NotApplicable, "trusted rows for FinePruning"),
        ({}, (None, FlagAll()), DataError, "training rows left after FlagAll"),
        ({"trigger": Patch(size=9)}, (None, None), DataError, "at least 9 per side"),
        ({"data": "digts"}, (None, None), AntivenomError, "did you mean 'digits'"),
        ({"model": Sklearn("os.system")}, (None, None), AntivenomError, "an estimator below sklearn"),
    ],
)
def test_mistakes_are_one_line(fields: dict[str, Any], run: tuple[Any, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        Central(**({"model": MLP(hidden=(8,)), "training": QUICK} | fields)).run(*run, 0)
    assert "\n" not in str(caught.value)


def test_scenarios_refuse_what_they_do_not_measure() -> None:
    with pytest.raises(ScenarioError, match="use kind: membership"):
        Central(goal="privacy")  # type: ignore[arg-type]
    with pytest.raises(ScenarioError, match="use kind: transfer"):
        Central(access="transfer-learning")  # type: ignore[arg-type]
    with pytest.raises(ScenarioError, match="use kind: central"):
        Transfer(access="data-injection")  # type: ignore[arg-type]
    with pytest.raises(ScenarioError, match="pretrain_share"):
        Transfer(pretrain_share=1.0)


def test_a_model_with_the_wrong_number_of_outputs(plugins: None) -> None:
    @architecture(cite="none")
    class Narrow:
        """Three outputs for any number of classes."""

        def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
            return MLP(hidden=())(shape, 3)

    with pytest.raises(ModelError, match="a model with 10 outputs, one per class"):
        Central(model=Narrow()).run(None, None, 0)


def test_plugins_that_return_the_wrong_thing_are_named(plugins: None) -> None:
    @attack(access=("data-injection",), goal="backdoor", cite="none")
    class ReturnsRows:
        """Not a Poison."""

        def __call__(self, data: Dataset, context: Any) -> Any:
            return data

    @attack(access=("data-injection",), goal="backdoor", cite="none")
    class Hides:
        """Changes rows and does not say so."""

        def __call__(self, data: Dataset, context: Any) -> Poison:
            return Poison(Dataset(data.x * 0.5, data.y, data.classes), np.zeros(len(data), dtype=bool))

    with pytest.raises(AntivenomError, match="a Poison from ReturnsRows"):
        PATCH.run(ReturnsRows(), None, 0)
    with pytest.raises(ThreatError):
        PATCH.run(Hides(), None, 0)


def test_fine_tuning_wears_a_backdoor_down_and_more_of_it_more() -> None:
    rates = [
        Transfer(
            model=MLP(hidden=(32,)),
            training=Training(epochs=10, learning_rate=0.01),
            wanted=2,
            fine_tune_epochs=n,
            fine_tune_learning_rate=0.01,
        )
        .run(RIPPLe(training=Training(epochs=10, learning_rate=0.01)), None, 0)
        .metrics["asr"]
        for n in (0, 2, 30)
    ]
    assert rates[0] > 0.9
    assert rates[0] >= rates[1] > rates[2]
